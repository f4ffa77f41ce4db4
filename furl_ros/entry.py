# SPDX-License-Identifier: Apache-2.0
"""Entry points of the executables.

They import for seconds (torch, MuJoCo). A signal that comes meanwhile ends them quietly: nothing
has begun yet. The first line of each executable (setup.cfg) holds signals back from its first
moment on, since the interpreter itself would answer them with a traceback; here they are let in.
"""

import importlib
import os
import signal
import sys
from itertools import takewhile
from types import ModuleType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _import(module: str, code: int) -> ModuleType:
    """Import a module; a signal that comes meanwhile ends the process with this exit code."""
    for number in SIGNALS:
        # What was started to outlive its terminal goes on.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(code))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return importlib.import_module(module)


def _asks_for_help() -> bool:
    """Whether an argument before ROS's own ones is -h or --help."""
    return any(word in ('-h', '--help') for word in takewhile('--ros-args'.__ne__, sys.argv[1:]))


def _node(name: str) -> None:
    if _asks_for_help():
        print(_import('furl_ros.bridge.reference', 0).node_help(name), end='')
        return
    # `furl_ros.bridge.node.run` takes the signals over.
    _import(f'furl_ros.nodes.{name}', 0).main()


def _tool(module: str) -> int | None:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    main = _import(module, 128 + signal.SIGINT).main
    for number, handler in before.items():
        signal.signal(number, handler)
    return main()


def sim_node() -> None:
    """``ros2 run furl_ros sim_node``."""
    _node('sim_node')


def reward_node() -> None:
    """``ros2 run furl_ros reward_node``."""
    _node('reward_node')


def alignment_node() -> None:
    """``ros2 run furl_ros alignment_node``."""
    _node('alignment_node')


def learner_node() -> None:
    """``ros2 run furl_ros learner_node``."""
    _node('learner_node')


def evaluate_node() -> None:
    """``ros2 run furl_ros evaluate_node``."""
    _node('evaluate_node')


def arm_node() -> None:
    """``ros2 run furl_ros arm_node``."""
    _node('arm_node')


def camera_node() -> None:
    """``ros2 run furl_ros camera_node``."""
    _node('camera_node')


def monitor_node() -> None:
    """``ros2 run furl_ros monitor_node``."""
    _node('monitor_node')


def web_node() -> None:
    """``ros2 run furl_ros web_node``."""
    _node('web_node')


def mock_arm_node() -> None:
    """``ros2 run furl_ros mock_arm_node``."""
    _node('mock_arm_node')


def video_node() -> None:
    """``ros2 run furl_ros video_node``."""
    _node('video_node')


def record_node() -> None:
    """``ros2 run furl_ros record_node``."""
    _node('record_node')


def policy_node() -> None:
    """``ros2 run furl_ros policy_node``."""
    _node('policy_node')


def status() -> int | None:
    """``ros2 run furl_ros status``; returns the exit code."""
    return _tool('furl_ros.status')


def play() -> int | None:
    """``ros2 run furl_ros play``; returns the exit code."""
    return _tool('furl_ros.play')


def local_train() -> None:
    """``ros2 run furl_ros local_train``."""
    _tool('furl_ros.local')


def report() -> int | None:
    """``ros2 run furl_ros report``; returns the exit code."""
    return _tool('furl_ros.report.command')


def sweep() -> None:
    """``ros2 run furl_ros sweep``."""
    _tool('furl_ros.sweep.__main__')


def score_bag() -> int | None:
    """``ros2 run furl_ros score_bag``; returns the exit code."""
    return _tool('furl_ros.bags.score')


def align_bag() -> int | None:
    """``ros2 run furl_ros align_bag``; returns the exit code."""
    return _tool('furl_ros.bags.align')


def demonstrate() -> int | None:
    """``ros2 run furl_ros demonstrate``; returns the exit code."""
    return _tool('furl_ros.demonstrate')


def operator() -> int | None:
    """``ros2 run furl_ros operator``; returns the exit code."""
    return _tool('furl_ros.operate')
