# SPDX-License-Identifier: Apache-2.0
"""The stand-in arm beside a bench, as the machine of its own that a robot is."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fault_run import END_LIMIT

# To draw 640x480 thirty times a second takes more of a slow core than it takes to learn.
WIDTH, HEIGHT = 320, 240
REGION = {'cameras': {'table': {'roi': [40, 0, 240, 240]}}}
"""Of config/robot.yaml what pictures of this size change."""
NICE = -10  # where this user may: before all else on the machine


def go_first(pid: int = 0) -> None:
    """Let a process (0: this thread) go before all else on the machine, where this user may."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, pid, NICE)


@contextlib.contextmanager
def mock_arm(log: Path, **settings: Any) -> Iterator[None]:
    """Run mock_arm_node with these parameters; what it says goes into a file."""
    settings = {'width': WIDTH, 'height': HEIGHT} | settings
    words = [word for name, value in settings.items() for word in ('-p', f'{name}:={value}')]
    with open(log, 'w') as out:
        process = subprocess.Popen(
            ['ros2', 'run', 'furl_ros', 'mock_arm_node', '--ros-args', *words],
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # A software renderer's threads cost more than they gain where all cores are taken.
            env=os.environ | {'LP_NUM_THREADS': '0'},
        )
    # What learns beside the robot does not slow it down.
    go_first(process.pid)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(END_LIMIT)
