# SPDX-License-Identifier: Apache-2.0
"""Hand messages from the executor's thread to the thread that works on them."""

import math
import queue
import time
from collections.abc import Callable
from typing import Any


class Inbox:
    """Callbacks put, one worker drains: the worker's state needs no locks.

    Args:
        most: calls that may wait; further ones are dropped, but for those that go first.

    Attributes:
        dropped: how many were.
    """

    def __init__(self, most: float = math.inf) -> None:
        self._most = most
        self._queue: queue.SimpleQueue[tuple[Callable, tuple]] = queue.SimpleQueue()
        self._first: queue.SimpleQueue[tuple[Callable, tuple]] = queue.SimpleQueue()
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Calls that wait."""
        return self._queue.qsize()

    def put(self, handler: Callable[..., Any], *arguments: Any) -> None:
        """Have ``handler(*arguments)`` called by the next ``drain``; from any thread."""
        if self._queue.qsize() < self._most:
            self._queue.put((handler, arguments))
        else:
            self.dropped += 1

    def put_first(self, handler: Callable[..., Any], *arguments: Any) -> None:
        """As ``put``, before all that waits, and never dropped: for calls, which are answered."""
        self._first.put((handler, arguments))
        # Wakes who waits, and finds nothing left to do.
        self._queue.put((self._go_first, ()))

    def drain(self, timeout: float = 0.0, limit: float = math.inf) -> bool:
        """Call the handlers of everything that is waiting, in order.

        Args:
            timeout: seconds to wait for something when nothing is there.
            limit: seconds after which the rest is left for the next call.

        Returns:
            True when something was there.
        """
        end = time.monotonic() + limit
        try:
            handler, arguments = self._queue.get(timeout=timeout) if timeout else self._now()
        except queue.Empty:
            return False
        while True:
            self._go_first()
            handler(*arguments)
            if time.monotonic() > end:
                return True
            try:
                handler, arguments = self._now()
            except queue.Empty:
                return True

    def _go_first(self) -> None:
        while True:
            try:
                handler, arguments = self._first.get_nowait()
            except queue.Empty:
                return
            handler(*arguments)

    def _now(self) -> tuple[Callable, tuple]:
        return self._queue.get_nowait()
