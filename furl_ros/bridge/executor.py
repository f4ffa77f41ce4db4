# SPDX-License-Identifier: Apache-2.0
"""rclpy's single-threaded executor with a short way for messages."""

import inspect
import threading
import time
from contextlib import ExitStack, suppress
from typing import Any

from rclpy.context import Context
from rclpy.event_handler import EventHandler
from rclpy.exceptions import InvalidHandle
from rclpy.executors import ShutdownException, SingleThreadedExecutor, TimeoutException
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.subscription import Subscription
from rclpy.task import Task
from rclpy.waitable import NumberOfEntities

BURST = 64  # messages of one topic taken at once, so that no topic keeps the others waiting
LOOK_ROUND_S = 1.0  # seconds between two looks at the topics' status events


class _Silent:
    """Stands in for a guard condition that nobody has to hear."""

    def trigger(self) -> None:
        """Wake nobody."""


class _WaitSet:
    """What an executor waits for, collected once; kept from being destroyed until ``close``."""

    def __init__(self, executor: 'Executor') -> None:
        self._held = ExitStack()
        nodes = executor.get_nodes()
        # Which groups are held up by a coroutine changes only where we are made anew.
        readers, timers, clients, services, guards = (
            [
                entity
                for node in nodes
                for entity in getattr(node, kind)
                if executor.can_execute(entity) and self._enter(entity.handle)
            ]
            for kind in ('subscriptions', 'timers', 'clients', 'services', 'guards')
        )
        wakers = [
            waker
            for waker in (executor._guard, executor._sigint_gc)
            if waker and self._enter(waker.handle)
        ]
        self._waitables = [
            waitable
            for node in nodes
            for waitable in node.waitables
            if not isinstance(waitable, EventHandler) and self._enter(waitable)
        ]
        self._enter(executor.context.handle)
        counts = NumberOfEntities(
            len(readers), len(guards) + len(wakers), len(timers), len(clients), len(services)
        )
        for waitable in self._waitables:
            counts += waitable.get_num_entities()
        self._set = _rclpy.WaitSet(
            counts.num_subscriptions,
            counts.num_guard_conditions,
            counts.num_timers,
            counts.num_clients,
            counts.num_services,
            counts.num_events,
            executor.context.handle,
        )
        # They are added again before each wait: a flat list, and one by one so no look-ups.
        self._adding = [
            (add, entity.handle)
            for add, entities in (
                (self._set.add_subscription, readers),
                (self._set.add_guard_condition, guards + wakers),
                (self._set.add_timer, timers),
                (self._set.add_client, clients),
                (self._set.add_service, services),
            )
            for entity in entities
        ]
        self._readers = {reader.handle.pointer: reader for reader in readers}
        self._guards = {guard.handle.pointer: guard for guard in guards}

    def _enter(self, held: Any) -> bool:
        """Keep from being destroyed; False when it is already."""
        with suppress(InvalidHandle):
            self._held.enter_context(held)
            return True
        return False

    def wait(self, nanoseconds: int) -> tuple[list[Subscription], bool]:
        """Wait; returns the subscriptions that have messages, and whether anything else is due.

        Args:
            nanoseconds: at most so long; negative: no limit.
        """
        ready_of = self._set.get_ready_entities
        self._set.clear_entities()
        for add, handle in self._adding:
            add(handle)
        for waitable in self._waitables:
            waitable.add_to_wait_set(self._set)
        self._set.wait(nanoseconds)
        # Those of an action client are its own: is_ready tells of them.
        ready = ready_of('subscription')
        readers = [self._readers[pointer] for pointer in ready if pointer in self._readers]
        triggered = ready_of('guard_condition')
        for pointer in triggered:
            if pointer in self._guards:
                # A wait takes the trigger: rclpy gives it again to those that were not handled.
                self._guards[pointer]._executor_triggered = True
        others = any(ready_of(kind) for kind in ('timer', 'client', 'service'))
        # All of them: is_ready also makes them look.
        waitables = [waitable.is_ready(self._set) for waitable in self._waitables]
        return readers, bool(triggered) or others or any(waitables)

    def close(self) -> None:
        """Let go of everything."""
        self._held.close()


class Executor(SingleThreadedExecutor):
    """Runs callbacks in the thread that calls ``spin``.

    rclpy's own collects all entities of the nodes anew for each single message, and makes a task
    of its callback. Here they are collected again only after something was made or destroyed (which
    wakes an executor), status events of topics (messages were lost, a reader asks for another QoS)
    are looked at once a second instead of being waited for, and all messages that are there are
    handed to their callbacks directly. Timers, services, actions and tasks are left to rclpy; it
    wakes itself after each of their callbacks, for threads that wait while another one works, which
    is left out, too.

    Args:
        context: that of the nodes; None: the process' own one.

    Attributes:
        gather: seconds to leave what comes after a message where it is, to take it all at once: a
            waking costs more than a message. The first one after a pause is not held up.
    """

    gather = 0.0

    _awake: GuardCondition | None = None
    _making: int | None = None

    def __init__(self, context: Context | None = None) -> None:
        super().__init__(context=context)
        # Where rclpy keeps its tasks in another way than version 7 does, all is left to it.
        self._short = hasattr(self, '_tasks')
        self._entities: _WaitSet | None = None
        self._looked = 0.0

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

    def spin(self) -> None:
        """Run callbacks until shutdown."""
        try:
            super().spin()
        finally:
            self._forget()

    def stop(self) -> None:
        """Have ``spin`` return, as soon as it can; from any thread.

        ``shutdown`` would take away what ``spin`` may be about to look at: it belongs after it.
        """
        with self._shutdown_lock:
            self._is_shutdown = True
            self._awake.trigger()

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for something to do, and do it.

        Args:
            timeout_sec: seconds to wait at most; None: no limit.
        """
        if not self._short:
            super().spin_once(timeout_sec)
            return
        if self._entities is None:
            self._entities = _WaitSet(self)
        if self._is_shutdown:
            return
        readers, others = self._entities.wait(-1 if timeout_sec is None else int(timeout_sec * 1e9))
        if self._is_shutdown or not self._context.ok():
            return
        for reader in readers:
            if inspect.iscoroutinefunction(reader.callback):
                others = True
            else:
                self._take_all(reader)
        if readers and self.gather:
            time.sleep(self.gather)
        if others or time.monotonic() > self._looked + LOOK_ROUND_S:
            self._forget()
            self._do_others()

    def _forget(self) -> None:
        """Have the entities collected anew before the next wait."""
        if self._entities is not None:
            self._entities.close()
        self._entities = None

    def _take_all(self, reader: Subscription) -> None:
        """Hand the messages of a subscription to its callback."""
        for _ in range(BURST):
            taken = reader.handle.take_message(reader.msg_type, reader.raw)
            if taken is None:
                return
            if reader._callback_type is Subscription.CallbackType.MessageOnly:
                reader.callback(taken[0])
            else:
                reader.callback(*taken)

    def _do_others(self) -> None:
        """What rclpy finds to do without waiting."""
        self._looked = time.monotonic()
        with suppress(TimeoutException, ShutdownException):
            for handler, _, _ in self._wait_for_ready_callbacks(0):
                self._run(handler)
        # rclpy looks at tasks first, and then its wait takes the trigger of those that woke us
        # in between.
        with self._tasks_lock:
            tasks = [task for task, _, _ in self._tasks]
        for task in tasks:
            if not task.done() and not task.executing():
                self._run(task)

    @staticmethod
    def _run(task: Task) -> None:
        task()
        if task.done() and task.exception() is not None:
            raise task.exception()
