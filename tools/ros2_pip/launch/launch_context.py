# SPDX-License-Identifier: Apache-2.0
"""The state of a launch: configurations, environment, event queue and event handlers."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Iterable, MutableMapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from . import logging
from .entity import Substitution

if TYPE_CHECKING:
    from .event_handlers import BaseEventHandler
    from .events import Event


class LaunchContext:
    """What actions, substitutions and event handlers get to work with.

    Args:
        argv: the launch arguments as given on the command line.
        noninteractive: no terminal sends Ctrl-C to the children, so launch must.
    """

    def __init__(self, *, argv: Iterable[str] | None = None, noninteractive: bool = False) -> None:
        self.argv = list(argv or ())
        self.noninteractive = noninteractive
        self.is_shutdown = False
        self.asyncio_loop: asyncio.AbstractEventLoop | None = None
        self.launch_configurations: dict[str, Any] = {}
        self.event_queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self.event_handlers: deque[BaseEventHandler] = deque()
        self._locals: dict[str, Any] = {}
        self._locals_stack: list[dict[str, Any]] = []
        self._scopes: list[tuple[dict[str, Any], dict[str, str]]] = []
        self._initial_environment = dict(os.environ)

    @property
    def environment(self) -> MutableMapping[str, str]:
        """The environment that started processes inherit."""
        return os.environ

    @property
    def locals(self) -> SimpleNamespace:
        """Values that belong to the event being handled, such as `context.locals.event`."""
        return SimpleNamespace(**self._locals)

    def get_locals_as_dict(self) -> dict[str, Any]:
        """Return the values of `locals` by name."""
        return dict(self._locals)

    def extend_locals(self, extensions: dict[str, Any]) -> None:
        """Add values to `locals` until the current event is handled."""
        self._locals.update(extensions)

    def push_locals(self) -> None:
        """Begin handling an event."""
        self._locals_stack.append(dict(self._locals))

    def pop_locals(self) -> None:
        """End handling an event: restore the locals."""
        self._locals = self._locals_stack.pop()

    def push_scope(self) -> None:
        """Remember launch configurations and environment."""
        # Lists (the global parameters) are replaced, never changed, so a shallow copy will do.
        self._scopes.append((dict(self.launch_configurations), dict(os.environ)))

    def pop_scope(self) -> None:
        """Restore launch configurations and environment."""
        self.launch_configurations, environment = self._scopes.pop()
        self._set_environment(environment)

    def reset_scope(self, launch_configurations: dict[str, Any]) -> None:
        """Keep only these launch configurations, and the environment launch was started with."""
        self.launch_configurations = launch_configurations
        self._set_environment(self._initial_environment)

    @staticmethod
    def _set_environment(environment: dict[str, str]) -> None:
        os.environ.clear()
        os.environ.update(environment)

    def register_event_handler(self, event_handler: BaseEventHandler) -> None:
        """Add a handler; the newest is asked first."""
        self.event_handlers.appendleft(event_handler)

    def unregister_event_handler(self, event_handler: BaseEventHandler) -> None:
        """Remove a handler."""
        self.event_handlers.remove(event_handler)

    def emit_event_sync(self, event: Event) -> None:
        """Put an event into the queue, from the thread that launches."""
        logging.get_logger('launch').debug(f"emitting event '{event.name}'")
        self.event_queue.put_nowait(event)

    async def emit_event(self, event: Event) -> None:
        """Put an event into the queue, from a coroutine."""
        self.emit_event_sync(event)

    def perform_substitution(self, substitution: Substitution) -> str:
        """Return a substitution's value."""
        return substitution.perform(self)
