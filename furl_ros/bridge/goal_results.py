# SPDX-License-Identifier: Apache-2.0
"""The results of an action server's goals: awaited in the executor, known to the main thread."""

import time
from typing import Any

from rclpy.node import Node
from rclpy.task import Future

DELIVERY_S = 0.5  # seconds that the middleware has to deliver a result


class GoalResults:
    """Of one goal after the other; the next one is accepted only when this one is over.

    Args:
        node: whose executor awaits them.

    Attributes:
        expected: the result of the goal that was accepted last; what its callback awaits.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.expected: Future | None = None
        self._given = -DELIVERY_S

    def expect(self) -> None:
        """A goal is accepted. To be called before anybody else can see it, and be done with it."""
        self.expected = Future(executor=self._node.executor)

    def give(self, result: Any) -> None:
        """End the goal that is not over, if there is one; from any thread."""
        if self.expected is None or self.expected.done():
            return
        self.expected.set_result(result)
        self._given = time.monotonic()
        # A coroutine that awaits is only looked at when the executor wakes.
        self._node.executor.wake()

    def await_sent(self) -> None:
        """Before leaving: let the client of the last goal hear how it ended."""
        time.sleep(max(0.0, self._given + DELIVERY_S - time.monotonic()))
