# SPDX-License-Identifier: Apache-2.0
"""Values that are known only while launching."""

from __future__ import annotations

import importlib
import os
import shlex
import subprocess
from collections.abc import Iterable
from typing import Any

from ros2_pip.guard import not_in_subset

from . import logging
from .entity import SomeSubstitutionsType, Substitution
from .launch_context import LaunchContext
from .utilities import normalize_to_list_of_substitutions, perform_substitutions

__all__ = [
    'Command',
    'EnvironmentVariable',
    'LaunchConfiguration',
    'PathJoinSubstitution',
    'PythonExpression',
    'SubstitutionFailure',
    'TextSubstitution',
    'ThisLaunchFile',
    'ThisLaunchFileDir',
]
__getattr__ = not_in_subset(__name__, __all__)


def describe(subs: Iterable[Substitution]) -> str:
    """Return the descriptions of substitutions that will be joined."""
    return ' + '.join(sub.describe() for sub in subs)


class SubstitutionFailure(RuntimeError):  # noqa: N818  (the real one's name)
    """A substitution has no value in this context."""


class TextSubstitution(Substitution):
    """A fixed text."""

    def __init__(self, *, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f'TextSubstitution expects a str, got {text!r}')
        self.text = text

    def describe(self) -> str:
        """Return the text in quotes."""
        return f"'{self.text}'"

    def perform(self, context: LaunchContext) -> str:
        """Return the text."""
        return self.text


class LaunchConfiguration(Substitution):
    """The value of a launch argument, or of what SetLaunchConfiguration set.

    Args:
        variable_name: name of the launch configuration.
        default: used where it is not set; without a default that is an error.
    """

    def __init__(self, variable_name: SomeSubstitutionsType, *, default: Any = None) -> None:
        self.variable_name = normalize_to_list_of_substitutions(variable_name)
        self._default = None
        if default is not None:
            parts = default if isinstance(default, list | tuple) else [default]
            self._default = normalize_to_list_of_substitutions(
                [part if isinstance(part, Substitution) else str(part) for part in parts]
            )

    def describe(self) -> str:
        """Return the name."""
        return f'LaunchConfig({describe(self.variable_name)})'

    def perform(self, context: LaunchContext) -> str:
        """Return the value.

        Raises:
            SubstitutionFailure: it is not set and has no default.
        """
        name = perform_substitutions(context, self.variable_name)
        if name in context.launch_configurations:
            return context.launch_configurations[name]
        if self._default is None:
            raise SubstitutionFailure(f"launch configuration '{name}' does not exist")
        return perform_substitutions(context, self._default)


class PathJoinSubstitution(Substitution):
    """The parts joined as a file path; each item of the list is one part."""

    def __init__(self, substitutions: Iterable[str | Substitution]) -> None:
        self.substitutions = normalize_to_list_of_substitutions(substitutions)

    def describe(self) -> str:
        """Return the parts."""
        return f'PathJoin({describe(self.substitutions)})'

    def perform(self, context: LaunchContext) -> str:
        """Return the path."""
        return os.path.join(*(context.perform_substitution(sub) for sub in self.substitutions))


class PythonExpression(Substitution):
    """The text of a Python expression's value.

    Args:
        expression: joined to one expression; quote texts inside it.
        python_modules: modules the expression may name; those of `math` need no prefix.
    """

    def __init__(
        self,
        expression: SomeSubstitutionsType,
        python_modules: SomeSubstitutionsType = ('math',),
    ) -> None:
        self.expression = normalize_to_list_of_substitutions(expression)
        self.python_modules = normalize_to_list_of_substitutions(python_modules)

    def describe(self) -> str:
        """Return the expression's parts."""
        return f'PythonExpr({describe(self.expression)})'

    def perform(self, context: LaunchContext) -> str:
        """Return str() of the value."""
        names: dict[str, Any] = {}
        for sub in self.python_modules:
            module = importlib.import_module(context.perform_substitution(sub))
            if module.__name__ == 'math':
                names.update(vars(module))
            names[module.__name__] = module
        return str(eval(perform_substitutions(context, self.expression), {}, names))


class EnvironmentVariable(Substitution):
    """The value of an environment variable of the launching process.

    Args:
        name: name of the variable.
        default_value: used where it is not set; without a default that is an error.
    """

    def __init__(
        self, name: SomeSubstitutionsType, *, default_value: SomeSubstitutionsType | None = None
    ) -> None:
        self.name = normalize_to_list_of_substitutions(name)
        self._default = (
            None if default_value is None else normalize_to_list_of_substitutions(default_value)
        )

    def describe(self) -> str:
        """Return the name."""
        return f'EnvVar({describe(self.name)})'

    def perform(self, context: LaunchContext) -> str:
        """Return the value.

        Raises:
            SubstitutionFailure: it is not set and has no default.
        """
        name = perform_substitutions(context, self.name)
        if name in context.environment:
            return context.environment[name]
        if self._default is None:
            raise SubstitutionFailure(f"environment variable '{name}' does not exist")
        return perform_substitutions(context, self._default)


class ThisLaunchFile(Substitution):
    """The absolute path of the launch file that is being visited."""

    _local = 'current_launch_file_path'

    def perform(self, context: LaunchContext) -> str:
        """Return the path.

        Raises:
            SubstitutionFailure: outside of a launch file.
        """
        path = context.get_locals_as_dict().get(self._local)
        if path is None:
            raise SubstitutionFailure(f'{type(self).__name__} used outside of a launch file')
        return path


class ThisLaunchFileDir(ThisLaunchFile):
    """The folder of the launch file that is being visited."""

    _local = 'current_launch_file_directory'


class Command(Substitution):
    """What a command prints.

    Args:
        command: split like a shell does, but run without a shell.
        on_stderr: 'fail', 'ignore', 'warn' or 'capture' output on standard error.
    """

    def __init__(
        self, command: SomeSubstitutionsType, *, on_stderr: SomeSubstitutionsType = 'fail'
    ) -> None:
        self.command = normalize_to_list_of_substitutions(command)
        self.on_stderr = normalize_to_list_of_substitutions(on_stderr)

    def describe(self) -> str:
        """Return the command's parts."""
        return f'Command({describe(self.command)})'

    def perform(self, context: LaunchContext) -> str:
        """Run the command and return its standard output.

        Raises:
            SubstitutionFailure: it cannot be run, fails, or prints errors with on_stderr='fail'.
        """
        command = perform_substitutions(context, self.command)
        on_stderr = perform_substitutions(context, self.on_stderr)
        if on_stderr not in ('fail', 'ignore', 'warn', 'capture'):
            raise SubstitutionFailure(
                f"on_stderr is '{on_stderr}'; accepted: fail, ignore, warn, capture"
            )
        try:
            result = subprocess.run(
                shlex.split(command),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if on_stderr == 'capture' else subprocess.PIPE,
                text=True,
                check=False,
            )
        except FileNotFoundError as error:
            raise SubstitutionFailure(f'command not found: {command}') from error
        if result.returncode:
            raise SubstitutionFailure(
                f'command failed with {result.returncode}: {command}\n{result.stderr or ""}'
            )
        if result.stderr and on_stderr == 'fail':
            raise SubstitutionFailure(f'command printed errors: {command}\n{result.stderr}')
        if result.stderr and on_stderr == 'warn':
            logging.get_logger('launch').warning(f'{command}: {result.stderr}')
        return result.stdout
