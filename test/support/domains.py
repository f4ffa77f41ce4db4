# SPDX-License-Identifier: Apache-2.0
"""ROS domains that nobody else on this machine has: no other suite, worker, or running graph."""

import fcntl
import os
import stat
from pathlib import Path

MOST = 100  # the ports of Fast DDS end soon after
FOLDER = Path(f'/tmp/furl_ros-{os.getuid()}')  # where tools/lib/domains.sh keeps its locks, too
_newest = os.getpid() % MOST


class Domain(int):
    """The number of a ROS domain, which is ours as long as this object lives.

    Attributes:
        lock: file descriptor; a child that is given it holds the domain, too.
    """

    lock: int

    def __del__(self) -> None:
        os.close(self.lock)


def take_domain() -> Domain:
    """A ROS domain that is nobody's, 1 to 99: domain 0 is left to people.

    Raises:
        RuntimeError: the folder of the locks is somebody else's, or all are taken.
    """
    global _newest
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    if FOLDER.stat().st_uid != os.getuid() or not stat.S_ISDIR(FOLDER.lstat().st_mode):
        raise RuntimeError(f'{FOLDER} is not a folder of this user: remove it')
    # The next one, not the same again: its processes may still be leaving.
    for number in ((_newest + ahead) % MOST for ahead in range(1, MOST + 1)):
        if number == 0:
            continue
        lock = os.open(FOLDER / str(number), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        # Whoever looks for a running graph is not to find us.
        os.ftruncate(lock, 0)
        os.write(lock, b'a test\n')
        domain = Domain(number)
        domain.lock, _newest = lock, number
        return domain
    raise RuntimeError(f'all ROS domains from 1 to {MOST - 1} are taken: see {FOLDER}')
