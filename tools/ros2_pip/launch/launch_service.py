# SPDX-License-Identifier: Apache-2.0
"""The loop that launches: it visits entities, hands out events, and ends when nothing is left."""

from __future__ import annotations

import asyncio
import signal
import traceback
from collections.abc import Iterable

from . import logging
from .entity import LaunchDescriptionEntity
from .event_handlers import BaseEventHandler, OnShutdown
from .events import Event, Shutdown
from .launch_context import LaunchContext
from .launch_description import LaunchDescription

# A shutdown was asked for by a signal that real launch answers with return code 1.
_TERMINATING = (signal.SIGTERM, signal.SIGQUIT)


class _IncludeLaunchDescription(Event):
    """A launch description waits to be visited."""

    name = 'launch.events.IncludeLaunchDescription'

    def __init__(self, launch_description: LaunchDescription) -> None:
        self.launch_description = launch_description


class LaunchService:
    """Runs launch descriptions.

    Args:
        argv: launch arguments, for those who read `context.argv`.
        noninteractive: on SIGINT, pass it on: no terminal has sent it to the children as well.
        debug: say more, tracebacks included.
    """

    def __init__(
        self,
        *,
        argv: Iterable[str] | None = None,
        noninteractive: bool = False,
        debug: bool = False,
    ) -> None:
        logging.launch_config.level = 10 if debug else 20
        self._logger = logging.get_logger('launch')
        self.context = LaunchContext(argv=argv, noninteractive=noninteractive)
        for handler in (
            BaseEventHandler(
                matcher=lambda event: isinstance(event, _IncludeLaunchDescription),
                reaction=lambda event, context: event.launch_description,
            ),
            OnShutdown(on_shutdown=self._on_shutdown),
        ):
            self.context.register_event_handler(handler)
        self._pending: set[asyncio.Future] = set()
        self._return_code = 0
        self._interrupted = False

    def include_launch_description(self, launch_description: LaunchDescription) -> None:
        """Visit a launch description as soon as the service runs."""
        self.context.emit_event_sync(_IncludeLaunchDescription(launch_description))

    def shutdown(self) -> None:
        """End a running service; may be called from any thread."""
        loop = self.context.asyncio_loop
        if loop is not None:
            loop.call_soon_threadsafe(self._shutdown, 'LaunchService.shutdown() called')

    def run(self, *, shutdown_when_idle: bool = True) -> int:
        """Launch, and return when all processes have ended.

        Args:
            shutdown_when_idle: end when no process and no timer is left.

        Returns:
            0, or 1 if an exception was raised while launching or on SIGTERM. How the processes
            ended, or that SIGINT ended them, does not matter.
        """
        logging.launch_config.open_log_file()
        self._logger.info(f'All log files can be found below {logging.launch_config.log_dir}')
        level = 'DEBUG' if logging.launch_config.level == 10 else 'INFO'
        self._logger.info(f'Default logging verbosity is set to {level}')
        return asyncio.run(self._run(shutdown_when_idle))

    async def _run(self, shutdown_when_idle: bool) -> int:
        loop = asyncio.get_running_loop()
        self.context.asyncio_loop = loop
        loop.add_signal_handler(signal.SIGINT, self._on_sigint)
        for number in _TERMINATING:
            loop.add_signal_handler(number, self._on_sigterm, number)
        try:
            await self._handle_events(shutdown_when_idle)
        finally:
            for number in (signal.SIGINT, *_TERMINATING):
                loop.remove_signal_handler(number)
            self.context.asyncio_loop = None
        return self._return_code

    async def _handle_events(self, shutdown_when_idle: bool) -> None:
        queue = self.context.event_queue
        while True:
            if queue.empty() and not self._pending:
                if self.context.is_shutdown:
                    return
                if shutdown_when_idle:
                    self._shutdown('idle')
                    continue
            event = await queue.get()
            if event is None:
                # A future is done: only the check for idleness above is due.
                continue
            for handler in tuple(self.context.event_handlers):
                self._handle(event, handler)

    def _handle(self, event: Event, handler: BaseEventHandler) -> None:
        self.context.push_locals()
        try:
            if handler.matches(event):
                for entity in handler.handle(event, self.context):
                    self._visit(entity)
        except Exception as error:
            # The other handlers still get the event: those of processes must see a shutdown.
            self._on_exception(error)
        finally:
            self.context.pop_locals()

    def _visit(self, entity: LaunchDescriptionEntity) -> None:
        sub_entities = entity.visit(self.context)
        future = entity.get_asyncio_future()
        if future is not None and not future.done():
            self._pending.add(future)
            future.add_done_callback(self._on_done)
        if isinstance(sub_entities, LaunchDescriptionEntity):
            raise TypeError(f'{entity.describe()} must give a list of actions, not one action')
        for sub_entity in sub_entities or ():
            if not isinstance(sub_entity, LaunchDescriptionEntity):
                raise TypeError(f'expected an action, got {sub_entity!r}')
            self._visit(sub_entity)

    def _on_done(self, future: asyncio.Future) -> None:
        self._pending.discard(future)
        self.context.event_queue.put_nowait(None)
        if not future.cancelled() and future.exception() is not None:
            self._on_exception(future.exception())

    def _on_exception(self, error: BaseException) -> None:
        self._logger.debug(''.join(traceback.format_exception(error)))
        text = f'Caught exception in launch (see debug for traceback): {error}'
        self._logger.error(text)
        self._return_code = 1
        self._shutdown(text)

    def _shutdown(self, reason: str, *, due_to_sigint: bool = False) -> None:
        if not self.context.is_shutdown:
            self.context.is_shutdown = True
            self.context.emit_event_sync(Shutdown(reason=reason, due_to_sigint=due_to_sigint))

    def _on_shutdown(self, event: Shutdown, context: LaunchContext) -> None:
        context.is_shutdown = True

    def _on_sigint(self) -> None:
        text = 'user interrupted with ctrl-c (SIGINT)'
        if self._interrupted:
            self._logger.warning(f'{text} again, ignoring...')
            return
        self._interrupted = True
        self._logger.warning(text)
        self._shutdown('ctrl-c (SIGINT)', due_to_sigint=True)

    def _on_sigterm(self, number: signal.Signals) -> None:
        # Real launch stops at once and leaves its children running; nobody wants that.
        self._logger.error(f'got {number.name}: shutting down')
        self._return_code = 1
        self._shutdown(number.name)
