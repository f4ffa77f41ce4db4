# SPDX-License-Identifier: Apache-2.0
"""Base classes of everything that a launch description holds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from .conditions import Condition
    from .launch_context import LaunchContext


class Substitution:
    """A text that is known only while launching."""

    def describe(self) -> str:
        """Return a short text for people, before the value is known."""
        return f'{type(self).__name__}()'

    def perform(self, context: LaunchContext) -> str:
        """Return the value in this context."""
        raise NotImplementedError


SomeSubstitutionsType: TypeAlias = str | Substitution | Iterable[str | Substitution]


class LaunchDescriptionEntity:
    """A node of the tree that launching walks through, depth first."""

    def describe(self) -> str:
        """Return one line for `ros2 launch --print`."""
        return f'{type(self).__name__}()'

    def describe_sub_entities(self) -> list[LaunchDescriptionEntity]:
        """Return what is always visited below this entity, as far as is known without a context."""
        return []

    def describe_conditional_sub_entities(
        self,
    ) -> list[tuple[str, list[LaunchDescriptionEntity]]]:
        """Return (reason, entities) pairs of what may be visited below this entity."""
        return []

    def visit(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity] | None:
        """Do the entity's work and return what to visit next, below it."""
        raise NotImplementedError

    def get_asyncio_future(self) -> asyncio.Future | None:
        """Return a future that is done when the work begun by `visit` has ended, or None."""
        return None


class Action(LaunchDescriptionEntity):
    """An entity that does something when its condition holds.

    Args:
        condition: when given and false, visiting does nothing.
    """

    def __init__(self, *, condition: Condition | None = None) -> None:
        self._condition = condition

    @property
    def condition(self) -> Condition | None:
        """The condition given at construction."""
        return self._condition

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        """Return the entities that executing this action leads to."""
        return []

    def describe_sub_entities(self) -> list[LaunchDescriptionEntity]:
        """Return the sub-entities of an unconditional action."""
        return [] if self._condition else self.get_sub_entities()

    def describe_conditional_sub_entities(
        self,
    ) -> list[tuple[str, list[LaunchDescriptionEntity]]]:
        """Return the sub-entities of an action with a condition."""
        if self._condition is None:
            return []
        return [(f'only if {self._condition.describe()}', self.get_sub_entities())]

    def visit(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity] | None:
        """Execute the action if its condition holds."""
        if self._condition is None or self._condition.evaluate(context):
            return self.execute(context)
        return None

    def execute(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity] | None:
        """Do the action's work; return what to visit next."""
        raise NotImplementedError
