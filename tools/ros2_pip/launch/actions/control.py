# SPDX-License-Identifier: Apache-2.0
"""Actions that lead to other actions, now or on an event."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import Any

from .. import logging
from ..entity import Action, LaunchDescriptionEntity, SomeSubstitutionsType
from ..event_handlers import BaseEventHandler, EventHandler, OnShutdown, list_entities
from ..events import Event
from ..events import Shutdown as ShutdownEvent
from ..events.process import ProcessExited
from ..launch_context import LaunchContext
from ..launch_description_sources import AnyLaunchDescriptionSource, LaunchDescriptionSource
from ..substitutions import describe
from ..utilities import (
    is_substitution,
    normalize_to_list_of_substitutions,
    perform_substitutions,
    perform_typed_substitution,
)
from .arguments import SetLaunchConfiguration


class OpaqueFunction(Action):
    """Calls `function(context, *args, **kwargs)` and visits the list of actions it returns."""

    def __init__(
        self,
        *,
        function: Callable[..., Iterable[LaunchDescriptionEntity] | None],
        args: Iterable[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        **left_over_kwargs,
    ) -> None:
        super().__init__(**left_over_kwargs)
        if not callable(function):
            raise TypeError(f'OpaqueFunction expects a function, got {function!r}')
        self._function = function
        self._args = args or ()
        self._kwargs = kwargs or {}

    def describe(self) -> str:
        """Return the function's name."""
        return f'OpaqueFunction({getattr(self._function, "__name__", self._function)})'

    def execute(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity] | None:
        """Call the function."""
        return self._function(context, *self._args, **self._kwargs)


class GroupAction(Action):
    """Visits actions together.

    Args:
        actions: the actions.
        scoped: what they change (launch configurations with namespace and global parameters,
            environment) ends with the group.
        forwarding: they see what was set outside; without it only `launch_configurations`.
        launch_configurations: set before the actions are visited.
        left_over_kwargs: `condition`.
    """

    def __init__(
        self,
        actions: Iterable[Action],
        *,
        scoped: bool = True,
        forwarding: bool = True,
        launch_configurations: dict[SomeSubstitutionsType, SomeSubstitutionsType] | None = None,
        **left_over_kwargs,
    ) -> None:
        super().__init__(**left_over_kwargs)
        self._actions = list(actions)
        self._scoped = scoped
        self._forwarding = forwarding
        self._settings = [
            SetLaunchConfiguration(name, value)
            for name, value in (launch_configurations or {}).items()
        ]

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        """Return the actions."""
        return [*self._settings, *self._actions]

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        """Return the actions, inside of a scope where that is asked for."""
        if not self._scoped:
            return self.get_sub_entities()
        enter = [OpaqueFunction(function=lambda context: context.push_scope())]
        leave = [OpaqueFunction(function=lambda context: context.pop_scope())]
        if self._forwarding:
            return [*enter, *self.get_sub_entities(), *leave]
        kept = {
            perform_substitutions(context, setting.name): perform_substitutions(
                context, setting.value
            )
            for setting in self._settings
        }
        reset = [OpaqueFunction(function=lambda context: context.reset_scope(kept))]
        return [*enter, *reset, *self._actions, *leave]


class IncludeLaunchDescription(Action):
    """Visits another launch file.

    Args:
        launch_description_source: the source, or the path of a launch file.
        launch_arguments: (name, value) pairs; names the file does not declare are set too.
        kwargs: `condition`.
    """

    def __init__(
        self,
        launch_description_source: LaunchDescriptionSource | SomeSubstitutionsType,
        *,
        launch_arguments: Iterable[tuple[SomeSubstitutionsType, SomeSubstitutionsType]] = (),
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(launch_description_source, LaunchDescriptionSource):
            launch_description_source = AnyLaunchDescriptionSource(launch_description_source)
        self.launch_description_source = launch_description_source
        self.launch_arguments = tuple(launch_arguments or ())

    def describe(self) -> str:
        """Return the file."""
        return f'IncludeLaunchDescription({self.launch_description_source.location})'

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        """Return the launch description if its place is known already."""
        found = self.launch_description_source.try_get_launch_description_without_context()
        return [] if found is None else [found]

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        """Load the launch description and return it with the settings it needs.

        Raises:
            RuntimeError: a required argument is not given.
        """
        source = self.launch_description_source
        launch_description = source.get_launch_description(context)
        settings = [SetLaunchConfiguration(name, value) for name, value in self.launch_arguments]

        given = {perform_substitutions(context, setting.name) for setting in settings}
        # Before anything is started. What files included from there need is checked in its turn.
        for argument in launch_description.get_launch_arguments(included=False):
            if (
                argument.default_value is None
                and not argument.conditionally_included
                and argument.name not in given
                and argument.name not in context.launch_configurations
            ):
                raise RuntimeError(
                    f"Included launch description missing required argument '{argument.name}' "
                    f"(description: '{argument.description}'), given: {sorted(given)}"
                )

        outside = context.get_locals_as_dict()
        path = os.path.abspath(source.location)
        is_file = os.path.exists(path)
        context.extend_locals(
            {
                'current_launch_file_path': path if is_file else source.location,
                'current_launch_file_directory': (
                    os.path.dirname(path) if is_file else source.location
                ),
            }
        )
        restore = OpaqueFunction(function=lambda context: context.extend_locals(outside))
        return [*settings, launch_description, restore]


class LogInfo(Action):
    """Prints a text."""

    def __init__(self, *, msg: SomeSubstitutionsType, **kwargs) -> None:
        super().__init__(**kwargs)
        self.msg = normalize_to_list_of_substitutions(msg)

    def describe(self) -> str:
        """Return the text's parts."""
        return f'LogInfo({describe(self.msg)})'

    def execute(self, context: LaunchContext) -> None:
        """Print it."""
        logging.get_logger('launch.user').info(perform_substitutions(context, self.msg))


class EmitEvent(Action):
    """Emits an event."""

    def __init__(self, *, event: Event, **kwargs) -> None:
        super().__init__(**kwargs)
        if not isinstance(event, Event):
            raise TypeError(f'EmitEvent expects an event, got {event!r}')
        self.event = event

    def describe(self) -> str:
        """Return the event's name."""
        return f'{type(self).__name__}({self.event.name})'

    def execute(self, context: LaunchContext) -> None:
        """Emit it."""
        context.emit_event_sync(self.event)


class Shutdown(EmitEvent):
    """Ends launching: all processes are stopped."""

    def __init__(self, *, reason: str = 'reason not given', **kwargs) -> None:
        super().__init__(event=ShutdownEvent(reason=reason), **kwargs)

    def execute(self, context: LaunchContext) -> None:
        """Emit the event, and say which process made it necessary."""
        cause = context.get_locals_as_dict().get('event')
        if isinstance(cause, ProcessExited):
            logging.get_logger('launch').info(
                f'process[{cause.process_name}] was required: shutting down launched system'
            )
        super().execute(context)


class RegisterEventHandler(Action):
    """Adds an event handler."""

    def __init__(self, event_handler: BaseEventHandler, **kwargs) -> None:
        super().__init__(**kwargs)
        self.event_handler = event_handler

    def describe_conditional_sub_entities(
        self,
    ) -> list[tuple[str, list[LaunchDescriptionEntity]]]:
        """Return the actions of the handler, as far as they are not made by a function."""
        return [(self.event_handler.describe(), self.event_handler.entities)]

    def execute(self, context: LaunchContext) -> None:
        """Add it."""
        context.register_event_handler(self.event_handler)


class _TimerFired(Event):
    """A timer's period is over."""

    name = 'launch.events.TimerEvent'


class TimerAction(Action):
    """Visits actions after a time.

    Args:
        period: seconds.
        actions: what to visit then.
        cancel_on_shutdown: forget it when launching ends before.
        kwargs: `condition`.
    """

    def __init__(
        self,
        *,
        period: float | SomeSubstitutionsType,
        actions: Iterable[LaunchDescriptionEntity],
        cancel_on_shutdown: bool | SomeSubstitutionsType = True,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(period, float) and not is_substitution(period):
            raise TypeError(f'period must be a float or a substitution, got {period!r}')
        self.period = period
        self.actions = list_entities(actions)
        self._cancel_on_shutdown = cancel_on_shutdown
        self._cancelled = asyncio.Event()
        self._task: asyncio.Task | None = None

    def describe_conditional_sub_entities(
        self,
    ) -> list[tuple[str, list[LaunchDescriptionEntity]]]:
        """Return the actions."""
        return [(f'after {self.period} s', self.actions)]

    def cancel(self) -> None:
        """Do not visit the actions, if they were not visited yet."""
        self._cancelled.set()

    def execute(self, context: LaunchContext) -> None:
        """Start the clock."""
        period = perform_typed_substitution(context, self.period, float)
        if perform_typed_substitution(context, self._cancel_on_shutdown, bool):
            context.register_event_handler(
                OnShutdown(on_shutdown=lambda event, context: self.cancel())
            )
        fired = _TimerFired()
        known = context.get_locals_as_dict()
        context.register_event_handler(
            EventHandler(
                matcher=lambda event: event is fired,
                entities=[
                    OpaqueFunction(function=lambda context: context.extend_locals(known)),
                    *self.actions,
                ],
                handle_once=True,
            )
        )
        self._task = context.asyncio_loop.create_task(self._wait(context, period, fired))

    def get_asyncio_future(self) -> asyncio.Future | None:
        """Return a future that is done when the time is over."""
        return self._task

    async def _wait(self, context: LaunchContext, period: float, fired: Event) -> None:
        try:
            await asyncio.wait_for(self._cancelled.wait(), period)
        except asyncio.TimeoutError:
            context.emit_event_sync(fired)
