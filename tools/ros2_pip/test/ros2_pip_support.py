# SPDX-License-Identifier: Apache-2.0
"""What the tests of the stand-in share. Import it first: it makes the stand-in importable."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1]
if str(SOURCE) not in sys.path:
    sys.path.insert(0, str(SOURCE))

from ros2_pip.guard import find_real_ros2  # noqa: E402  (found by the lines above)

if find_real_ros2(sys.path) is not None:
    pytest.skip('the real ROS 2 launch is installed', allow_module_level=True)

TIMEOUT_S = 20.0


class Command:
    """A command that runs in the background while its output is collected."""

    def __init__(self, argv: Sequence[str], **kwargs) -> None:
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
            **kwargs,
        )
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()

    @property
    def output(self) -> str:
        """What was printed so far."""
        with self._news:
            return ''.join(self._lines)

    def wait_for(self, text: str) -> None:
        """Wait until the output contains a text."""
        end = time.monotonic() + TIMEOUT_S
        with self._news:
            while text not in ''.join(self._lines):
                left = end - time.monotonic()
                assert left > 0.0, f'{text!r} did not come:\n{"".join(self._lines)}'
                self._news.wait(min(left, 0.2))

    def finish(self) -> int:
        """Wait for the end and return the exit code."""
        code = self.process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        return code

    def kill(self) -> None:
        """End it, whatever happens."""
        if self.process.poll() is None:
            self.process.kill()
        self.finish()


def environment() -> dict[str, str]:
    """Return the environment for subprocesses."""
    paths = [str(SOURCE), *filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep))]
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(paths), 'PYTHONUNBUFFERED': '1'}


def ros2_argv(*arguments: str) -> list[str]:
    """Return the command line of the stand-in's `ros2`."""
    return [sys.executable, '-m', 'ros2_pip', *arguments]
