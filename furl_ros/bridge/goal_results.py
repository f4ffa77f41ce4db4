# SPDX-License-Identifier: Apache-2.0
"""The results of an action server's goals: awaited in the executor, known to the main thread."""

import threading
import time
from typing import Any

from rclpy.node import Node
from rclpy.task import Future

TAKEN_S = 2.0  # seconds that a leaving node gives the executor to take a result
DELIVERY_S = 0.5  # and the middleware to deliver it


class GoalResults:
    """Of one goal after the other; the next one is accepted only when this one is over.

    Args:
        node: whose executor awaits them.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._expected: Future | None = None
        self._taken = threading.Event()
        self._given = -DELIVERY_S
        self._lock = threading.Lock()  # of what follows: goals come while the main thread leaves
        self._leaving = False

    def expect(self) -> bool:
        """Whether a goal that comes can be accepted; then its result is expected.

        To be called before anybody else can see the goal, and be done with it.
        """
        with self._lock:
            if self._leaving:
                return False
            self._expected = Future(executor=self._node.executor)
            self._taken.clear()
        return True

    async def take(self) -> Any:
        """Await the result of the goal that was accepted last; for its callback."""
        result = await self._expected
        self._taken.set()
        return result

    def give(self, result: Any) -> None:
        """End the goal that is not over, if there is one; from any thread."""
        if self._expected is None or self._expected.done():
            return
        self._expected.set_result(result)
        self._given = time.monotonic()
        # A coroutine that awaits is only looked at when the executor wakes.
        self._node.executor.wake()

    def leave(self, result: Any) -> None:
        """Before leaving: accept no goal any more, and end the one that is not over."""
        with self._lock:
            self._leaving = True
        self.give(result)

    def await_sent(self) -> None:
        """After ``leave``: let the client of the last goal hear how it ended."""
        if self._expected is not None and not self._taken.is_set():
            self._taken.wait(TAKEN_S)
            self._given = time.monotonic()
        time.sleep(max(0.0, self._given + DELIVERY_S - time.monotonic()))
