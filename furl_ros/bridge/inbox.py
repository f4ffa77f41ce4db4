# SPDX-License-Identifier: Apache-2.0
"""Hand messages from the executor's thread to the thread that works on them."""

import queue
from collections.abc import Callable
from typing import Any


class Inbox:
    """Callbacks put, one worker drains: the worker's state needs no locks."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Callable, tuple]] = queue.SimpleQueue()

    def put(self, handler: Callable[..., Any], *arguments: Any) -> None:
        """Have ``handler(*arguments)`` called by the next ``drain``; from any thread."""
        self._queue.put((handler, arguments))

    def drain(self, timeout: float = 0.0) -> bool:
        """Call the handlers of everything that is waiting, in order.

        Args:
            timeout: seconds to wait for something when nothing is there.

        Returns:
            True when something was there.
        """
        try:
            handler, arguments = self._queue.get(timeout=timeout) if timeout else self._now()
        except queue.Empty:
            return False
        handler(*arguments)
        while True:
            try:
                handler, arguments = self._now()
            except queue.Empty:
                return True
            handler(*arguments)

    def _now(self) -> tuple[Callable, tuple]:
        return self._queue.get_nowait()
