# SPDX-License-Identifier: Apache-2.0
"""Entry points of the executables.

A node imports for seconds (torch, MuJoCo). A signal that comes meanwhile ends it quietly: nothing
has begun yet. Later `furl_ros.bridge.node.run` takes the signals over.
"""

import importlib
import os
import signal
from types import FrameType


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(0)


def _start(node: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    importlib.import_module(f'furl_ros.nodes.{node}').main()


def sim_node() -> None:
    """``ros2 run furl_ros sim_node``."""
    _start('sim_node')


def reward_node() -> None:
    """``ros2 run furl_ros reward_node``."""
    _start('reward_node')


def alignment_node() -> None:
    """``ros2 run furl_ros alignment_node``."""
    _start('alignment_node')


def learner_node() -> None:
    """``ros2 run furl_ros learner_node``."""
    _start('learner_node')


def mock_arm_node() -> None:
    """``ros2 run furl_ros mock_arm_node``."""
    _start('mock_arm_node')
