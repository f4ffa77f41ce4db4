# SPDX-License-Identifier: Apache-2.0
"""Shared memory that Fast DDS leaves behind where a process was killed.

Each process has segments of its own, megabytes large, that others may read. It holds the lock of a
file beside each of them, `<segment>_el`, from before the segment is made until after it is removed.
A lock that can be taken has no owner any more: the rule of Fast DDS itself (RobustExclusiveLock)
and of its cleaner, `fastdds shm clean`, which does not come by pip.

The ports of Fast DDS are left alone: they are small, their names recur, and it renews those
without an owner when it opens them.
"""

import contextlib
import fcntl
import os
import re
from pathlib import Path

# Of Fast DDS 2 and 3. Memory that other software keeps in the same folder has other names.
_LOCK = re.compile(r'((?:fastrtps|fastdds)_[0-9a-f]{16})_el')


def remove_ownerless(folder: Path = Path('/dev/shm')) -> int:
    """Remove this user's segments that no process owns, and give back their bytes.

    Who still reads such a segment keeps its memory until it closes it.

    Args:
        folder: where Fast DDS keeps its segments; nothing is removed where there is none.
    """
    freed = 0
    with contextlib.suppress(FileNotFoundError):
        for entry in list(folder.iterdir()):
            if name := _LOCK.fullmatch(entry.name):
                # Another process may remove the same ones.
                with contextlib.suppress(OSError):
                    freed += _remove_if_ownerless(folder / name[1], entry)
    return freed


def _remove_if_ownerless(segment: Path, lock: Path) -> int:
    # A file of another user cannot be removed, but by root, who could remove too much.
    if not _is_ours(lock) or (os.path.lexists(segment) and not _is_ours(segment)):
        return 0
    file = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Has its owner gone, and another one made it anew, between opening and locking?
        if not os.path.samestat(os.fstat(file), os.stat(lock)):
            return 0
        # The lock is held until its file is gone. Fast DDS, about to take it for a segment that it
        # is to make, looks afterwards whether it is still there, and takes another name if it is
        # held.
        size = segment.stat().st_blocks * 512 if segment.exists() else 0
        segment.unlink(missing_ok=True)
        lock.unlink()
        return size
    finally:
        os.close(file)


def _is_ours(path: Path) -> bool:
    return path.lstat().st_uid == os.geteuid()
