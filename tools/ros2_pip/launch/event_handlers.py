# SPDX-License-Identifier: Apache-2.0
"""What happens on which event."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from ros2_pip.guard import not_in_subset

from .entity import LaunchDescriptionEntity
from .events import Event, Shutdown, matches_action
from .events.process import ProcessExited, ProcessStarted
from .launch_context import LaunchContext

__all__ = ['EventHandler', 'OnProcessExit', 'OnProcessStart', 'OnShutdown']
__getattr__ = not_in_subset(__name__, __all__)

SomeEntities: TypeAlias = LaunchDescriptionEntity | Iterable[LaunchDescriptionEntity] | None
Reaction: TypeAlias = SomeEntities | Callable[[Any, LaunchContext], SomeEntities]


def list_entities(entities: SomeEntities) -> list[LaunchDescriptionEntity]:
    """Return a list of entities for one, several or none.

    Raises:
        TypeError: something is not an entity.
    """
    if entities is None:
        return []
    if isinstance(entities, LaunchDescriptionEntity):
        return [entities]
    result = [entity for entity in entities if entity is not None]
    for entity in result:
        if not isinstance(entity, LaunchDescriptionEntity):
            raise TypeError(f'expected an action, got {entity!r}')
    return result


class BaseEventHandler:
    """Base class of event handlers.

    Args:
        matcher: tells whether an event is to be handled.
        reaction: actions, or a function that is called with event and context and returns some.
        handle_once: handle only the first matching event.
    """

    def __init__(
        self, *, matcher: Callable[[Event], bool], reaction: Reaction, handle_once: bool = False
    ) -> None:
        self.matches = matcher
        self.handle_once = handle_once
        self._function = reaction if callable(reaction) else None
        self.entities = [] if callable(reaction) else list_entities(reaction)

    def describe(self) -> str:
        """Return one line for `ros2 launch --print`."""
        return type(self).__name__

    def handle(self, event: Event, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        """Return what to visit because of the event, which is then `context.locals.event`."""
        context.extend_locals({'event': event})
        if self.handle_once:
            context.unregister_event_handler(self)
        if self._function is None:
            return self.entities
        return list_entities(self._function(event, context))


class EventHandler(BaseEventHandler):
    """Visits fixed entities on any event that the matcher accepts."""

    def __init__(
        self,
        *,
        matcher: Callable[[Event], bool],
        entities: SomeEntities = None,
        handle_once: bool = False,
    ) -> None:
        super().__init__(matcher=matcher, reaction=entities, handle_once=handle_once)


class _OnProcessEvent(BaseEventHandler):
    """Reacts to an event of one process action, of those a function accepts, or of all."""

    def __init__(
        self, event_type: type[Event], target_action: Any, reaction: Reaction, handle_once: bool
    ) -> None:
        from .actions import ExecuteProcess

        if target_action is None:
            accepts = None
        elif isinstance(target_action, ExecuteProcess):
            accepts = matches_action(target_action)
        elif callable(target_action):
            accepts = target_action
        else:
            raise TypeError(
                f'target_action must be a process action or a function, got {target_action!r}'
            )
        super().__init__(
            matcher=lambda event: (
                isinstance(event, event_type) and (accepts is None or accepts(event.action))
            ),
            reaction=reaction,
            handle_once=handle_once,
        )


class OnProcessExit(_OnProcessEvent):
    """Reacts when a process ends; a function gets the event, with `returncode`, and the context."""

    def __init__(
        self, *, target_action: Any = None, on_exit: Reaction, handle_once: bool = False
    ) -> None:
        super().__init__(ProcessExited, target_action, on_exit, handle_once)


class OnProcessStart(_OnProcessEvent):
    """Reacts when a process was started; a function gets the event, with `pid`, and the context."""

    def __init__(
        self, *, target_action: Any = None, on_start: Reaction, handle_once: bool = False
    ) -> None:
        super().__init__(ProcessStarted, target_action, on_start, handle_once)


class OnShutdown(BaseEventHandler):
    """Reacts when launching ends; a function gets the event, with `reason`, and the context."""

    def __init__(self, *, on_shutdown: Reaction, handle_once: bool = False) -> None:
        super().__init__(
            matcher=lambda event: isinstance(event, Shutdown),
            reaction=on_shutdown,
            handle_once=handle_once,
        )
