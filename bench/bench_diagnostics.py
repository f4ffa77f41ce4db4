# SPDX-License-Identifier: Apache-2.0
"""What benches read from the diagnostics of a running graph."""

import contextlib
import math
import threading
import time

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor

from furl_ros.bridge.leaving import leave
from furl_ros.bridge.qos import EVENTS


class Diagnostics:
    """Collects /diagnostics of a graph: seconds per stage of each node, processor, memory.

    A context manager: listens inside the block, and keeps what it heard.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: dict[str, list[tuple[float, dict[str, float]]]] = {}

    def __enter__(self) -> 'Diagnostics':
        self._own_context = not rclpy.ok()
        if self._own_context:
            rclpy.init()
        self._node = rclpy.create_node(self.name)
        self._node.create_subscription(
            DiagnosticArray, '/diagnostics', self._on_diagnostics, EVENTS
        )
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._thread.join()
        leave(self._node)
        if self._own_context:
            rclpy.try_shutdown()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {}
            for value in status.values:
                with contextlib.suppress(ValueError):
                    values[value.key] = float(value.value)
            self.seen.setdefault(status.name, []).append((time.monotonic(), values))

    def window(self, first: int) -> dict[str, tuple[float, dict[str, float]]]:
        """For each node the seconds since the learner was at a step, and what was added since."""
        reached = [
            at for at, values in self.seen['learner_node'] if values.get('total_steps', 0) >= first
        ]
        result = {}
        for name, samples in self.seen.items():
            samples = [sample for sample in samples if sample[0] >= reached[0]]
            if len(samples) > 1:
                (begin, before), (end, after) = samples[0], samples[-1]
                added = {key: value - before.get(key, 0) for key, value in after.items()}
                result[name] = (end - begin, added)
        return result

    def memory(self, at: int | None = None) -> dict[str, float]:
        """MB of each node: at the end, or when the learner was at a step."""
        when = math.inf
        if at is not None:
            learner = self.seen['learner_node']
            when = next(t for t, values in learner if values.get('total_steps', 0) >= at)
        return {
            name: [values['memory_mb'] for t, values in samples if t <= when][-1]
            for name, samples in self.seen.items()
        }
