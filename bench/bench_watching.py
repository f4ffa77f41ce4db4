# SPDX-License-Identifier: Apache-2.0
"""A graph that trains and what looks at it, for measurements and pictures."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile

from furl_interfaces.msg import TrainingStatus
from furl_ros.bridge.leaving import leave
from furl_ros.bridge.qos import LATCHED

START_LIMIT = 300.0  # seconds
FAREWELL = 100.0  # seconds


class Launched:
    """A launch file that runs, in a process group of its own.

    A context manager; its end is that of Ctrl-C.

    Args:
        file: name of the launch file.
        log: where its output goes.
        arguments: of the launch.
    """

    def __init__(self, file: str, log: Path, **arguments: Any) -> None:
        words = [f'{name}:={value}' for name, value in arguments.items()]
        self._log = log
        with open(log, 'w') as output:
            self._process = subprocess.Popen(
                ['ros2', 'launch', 'furl_ros', file, *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> 'Launched':
        return self

    def __exit__(self, *_: object) -> None:
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGINT)
        try:
            self._process.wait(FAREWELL)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def wait_for(self, pattern: str) -> re.Match:
        """Wait until its output has a match of a regular expression.

        Raises:
            SystemExit: it ended before, or has said nothing like it for too long.
        """
        end = time.monotonic() + START_LIMIT
        while not (found := re.search(pattern, self._log.read_text())):
            self.check()
            if time.monotonic() > end:
                raise SystemExit(f'{pattern!r} did not come:\n{self._log.read_text()[-2000:]}')
            time.sleep(0.2)
        return found

    def check(self) -> None:
        """Raise SystemExit when it has ended."""
        if self._process.poll() is not None:
            raise SystemExit(f'the launch has ended:\n{self._log.read_text()[-2000:]}')


class StatusListener:
    """The training_status of the graph in this domain; a context manager.

    Attributes:
        status: the newest one; None before the first.
    """

    def __init__(self, graph: Launched) -> None:
        self.status: TrainingStatus | None = None
        self._graph = graph

    def __enter__(self) -> 'StatusListener':
        rclpy.init()
        self._node = rclpy.create_node('watching_bench')
        self._node.create_subscription(TrainingStatus, 'training_status', self._on_status, LATCHED)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        leave(self._node)
        rclpy.try_shutdown()

    def listen(
        self, kind: type, topic: str, handler: Callable[[Any], None], qos: QoSProfile
    ) -> None:
        """Have further messages taken while something is waited for."""
        self._node.create_subscription(kind, topic, handler, qos)

    def _on_status(self, status: TrainingStatus) -> None:
        self.status = status

    def wait(self, condition: Callable[[TrainingStatus], bool], limit: float = START_LIMIT) -> None:
        """Wait until the status meets a condition; SystemExit when it does not in time."""
        end = time.monotonic() + limit
        while self.status is None or not condition(self.status):
            self._graph.check()
            if time.monotonic() > end:
                raise SystemExit(f'waited too long; the last status: {self.status}')
            self._executor.spin_once(0.1)

    def rate(self, seconds: float) -> float:
        """Environment steps per second over so many seconds from the next status on."""

        def next_status() -> tuple[float, int]:
            self.status = None
            self.wait(lambda _: True, 60.0)
            return time.monotonic(), self.status.total_steps

        # What waits from before comes at once, and would be taken for new.
        while self._executor.spin_once(0.0) or self.status is not None:
            self.status = None
        begin, first = next_status()
        end, last = begin, first
        while end < begin + seconds:
            end, last = next_status()
        return (last - first) / (end - begin)
