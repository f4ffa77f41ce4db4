# SPDX-License-Identifier: Apache-2.0
"""Actions that declare and set values."""

from __future__ import annotations

from ..entity import Action, SomeSubstitutionsType
from ..launch_context import LaunchContext
from ..substitutions import describe
from ..utilities import normalize_to_list_of_substitutions, perform_substitutions


class DeclareLaunchArgument(Action):
    """A launch argument: a launch configuration that callers may, or have to, give.

    Args:
        name: its name.
        default_value: used where none was given; without a default it has to be given.
        description: shown by `ros2 launch --show-args`.
        choices: the accepted values, where they can be listed.
        kwargs: `condition`.

    Raises:
        RuntimeError: the list of choices is empty or does not contain the default text.
    """

    def __init__(
        self,
        name: str,
        *,
        default_value: SomeSubstitutionsType | None = None,
        description: str | None = None,
        choices: list[str] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.default_value = (
            None if default_value is None else normalize_to_list_of_substitutions(default_value)
        )
        self.choices = choices
        self.conditionally_included = False
        if choices is None:
            self.description = description or 'no description given'
        else:
            if not choices:
                raise RuntimeError(f'the choices of launch argument "{name}" are empty')
            if isinstance(default_value, str) and default_value not in choices:
                raise RuntimeError(
                    f'default "{default_value}" of launch argument "{name}" '
                    f'is not one of its choices {choices}'
                )
            if description is None:
                self.description = f'One of: {choices}'
            else:
                self.description = f'{description.removesuffix(".")}. Valid choices are: {choices}'

    def describe(self) -> str:
        """Return name and default."""
        default = '' if self.default_value is None else f', default {describe(self.default_value)}'
        return f"DeclareLaunchArgument('{self.name}'{default})"

    def execute(self, context: LaunchContext) -> None:
        """Set the default where nothing was given, and check the value.

        Raises:
            RuntimeError: a value is missing or not one of the choices.
        """
        if self.name not in context.launch_configurations:
            if self.default_value is None:
                raise RuntimeError(
                    f'Required launch argument "{self.name}" (description: "{self.description}") '
                    'was not provided'
                )
            context.launch_configurations[self.name] = perform_substitutions(
                context, self.default_value
            )
        value = context.launch_configurations[self.name]
        if self.choices is not None and value not in self.choices:
            raise RuntimeError(
                f'Argument "{self.name}" provided value "{value}" is not valid. '
                f'Valid options are: {self.choices}'
            )


class SetLaunchConfiguration(Action):
    """Sets a launch configuration."""

    def __init__(self, name: SomeSubstitutionsType, value: SomeSubstitutionsType, **kwargs) -> None:
        super().__init__(**kwargs)
        self.name = normalize_to_list_of_substitutions(name)
        self.value = normalize_to_list_of_substitutions(value)

    def describe(self) -> str:
        """Return name and value."""
        return f'{type(self).__name__}({describe(self.name)}, {describe(self.value)})'

    def execute(self, context: LaunchContext) -> None:
        """Set it."""
        name = perform_substitutions(context, self.name)
        context.launch_configurations[name] = perform_substitutions(context, self.value)


class SetEnvironmentVariable(SetLaunchConfiguration):
    """Sets an environment variable for the processes started from here on."""

    def execute(self, context: LaunchContext) -> None:
        """Set it."""
        name = perform_substitutions(context, self.name)
        context.environment[name] = perform_substitutions(context, self.value)
