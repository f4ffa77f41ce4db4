# SPDX-License-Identifier: Apache-2.0
"""A launch description: what a launch file returns."""

from __future__ import annotations

from collections.abc import Iterable

from .actions import DeclareLaunchArgument, IncludeLaunchDescription
from .entity import Action, LaunchDescriptionEntity
from .launch_context import LaunchContext


class LaunchDescription(LaunchDescriptionEntity):
    """A list of entities to visit."""

    def __init__(self, initial_entities: Iterable[LaunchDescriptionEntity] | None = None) -> None:
        self.entities = list(initial_entities or ())

    def add_entity(self, entity: LaunchDescriptionEntity) -> None:
        """Append an entity."""
        self.entities.append(entity)

    def add_action(self, action: Action) -> None:
        """Append an action."""
        self.add_entity(action)

    def describe_sub_entities(self) -> list[LaunchDescriptionEntity]:
        """Return the entities."""
        return self.entities

    def visit(self, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        """Return the entities, to be visited next."""
        return self.entities

    def get_launch_arguments(self, *, included: bool = True) -> list[DeclareLaunchArgument]:
        """Return the arguments that are declared here and below, each name once.

        What a function or a file that is known only while launching will declare is not seen.

        Args:
            included: look into included launch files too.
        """
        found: dict[str, DeclareLaunchArgument] = {}
        _collect_arguments(self.entities, found, included=included, conditional=False)
        return list(found.values())


def _collect_arguments(
    entities: Iterable[LaunchDescriptionEntity],
    found: dict[str, DeclareLaunchArgument],
    *,
    included: bool,
    conditional: bool,
) -> None:
    for entity in entities:
        if isinstance(entity, IncludeLaunchDescription) and not included:
            continue
        if isinstance(entity, DeclareLaunchArgument) and entity.name not in found:
            entity.conditionally_included = conditional or entity.condition is not None
            found[entity.name] = entity
        _collect_arguments(
            entity.describe_sub_entities(), found, included=included, conditional=conditional
        )
        for _, sub_entities in entity.describe_conditional_sub_entities():
            _collect_arguments(sub_entities, found, included=included, conditional=True)


def format_tree(entity: LaunchDescriptionEntity, indent: str = '') -> str:
    """Return the tree of entities as text, one line each, as far as known without launching."""
    lines = [indent + entity.describe()]
    for sub_entity in entity.describe_sub_entities():
        lines.append(format_tree(sub_entity, indent + '    '))
    for reason, sub_entities in entity.describe_conditional_sub_entities():
        lines.append(f'{indent}    {reason}:')
        lines.extend(format_tree(sub_entity, indent + '        ') for sub_entity in sub_entities)
    return '\n'.join(lines)
