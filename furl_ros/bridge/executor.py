# SPDX-License-Identifier: Apache-2.0
"""rclpy's single-threaded executor, without a second wait after every callback."""

import threading
from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.guard_condition import GuardCondition
from rclpy.task import Task


class _Silent:
    """Stands in for a guard condition that nobody has to hear."""

    def trigger(self) -> None:
        """Wake nobody."""


class Executor(SingleThreadedExecutor):
    """Runs callbacks in the thread that calls ``spin``.

    rclpy's own wakes itself after each callback, for threads that wait while another one works.
    With one thread that only makes it collect all entities and wait a second time for each message.
    (So it is in rclpy 7; where an executor makes no such handlers this one is the plain one.)
    """

    _awake: GuardCondition | None = None
    _making: int | None = None

    @property
    def _guard(self) -> GuardCondition | _Silent | None:
        """What a handler is given to report its end to is silent; all others get the real one."""
        return _Silent() if self._making == threading.get_ident() else self._awake

    @_guard.setter
    def _guard(self, guard: GuardCondition | None) -> None:
        self._awake = guard

    def _make_handler(self, *arguments: Any, **named: Any) -> Task:
        self._making = threading.get_ident()
        try:
            return super()._make_handler(*arguments, **named)
        finally:
            self._making = None
