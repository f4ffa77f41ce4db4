# SPDX-License-Identifier: Apache-2.0
"""Locks between processes, as files: whoever dies lets go."""

import contextlib
import fcntl
import os
import socket
import time
from pathlib import Path

_POLL = 0.1  # seconds


class Lock:
    """One holder at a time of a file, which stays there when it is let go.

    Args:
        path: the file; made, with its folder, when missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def acquire(self, patience: float = 0.0) -> bool:
        """Take the lock; False when another process holds it for longer than this, in seconds.

        Raises:
            OSError: the file cannot be made.
        """
        end = time.monotonic() + patience
        while not self._try():
            if time.monotonic() >= end:
                return False
            time.sleep(_POLL)
        return True

    @property
    def holder(self) -> str:
        """Who holds the lock, or held it last, in words; '' where nobody said so."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return self.path.read_text()
        return ''

    def release(self) -> None:
        """Let go."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _try(self) -> bool:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The file that was locked may have been deleted meanwhile.
            if os.path.samestat(os.fstat(file), os.stat(self.path)):
                os.truncate(file, 0)
                os.write(file, f'process {os.getpid()} on {socket.gethostname()}'.encode())
                self._file, file = file, -1
        except (BlockingIOError, FileNotFoundError):
            pass
        finally:
            if file >= 0:
                os.close(file)
        return self._file is not None
