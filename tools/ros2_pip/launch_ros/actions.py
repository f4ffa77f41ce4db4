# SPDX-License-Identifier: Apache-2.0
"""Actions that know about ROS."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rclpy.validate_namespace import validate_namespace
from rclpy.validate_node_name import validate_node_name

from launch import logging
from launch.actions import ExecuteProcess
from launch.entity import Action, SomeSubstitutionsType
from launch.launch_context import LaunchContext
from launch.substitutions import describe
from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions
from ros2_pip.guard import not_in_subset

from .parameter_descriptions import Evaluated, evaluate_parameter_dict, evaluate_parameters
from .substitutions import ExecutableInPackage

__all__ = ['Node', 'PushROSNamespace', 'PushRosNamespace', 'SetParameter']
__getattr__ = not_in_subset(__name__, __all__)

# Where the scope of a group keeps them, together with the launch configurations.
_NAMESPACE = 'ros_namespace'
_PARAMETERS = 'global_params'


class PushRosNamespace(Action):
    """Puts a namespace before the relative namespaces of the nodes that follow in this scope."""

    def __init__(self, namespace: SomeSubstitutionsType, **kwargs) -> None:
        super().__init__(**kwargs)
        self.namespace = normalize_to_list_of_substitutions(namespace)

    def describe(self) -> str:
        """Return the namespace."""
        return f'PushRosNamespace({describe(self.namespace)})'

    def execute(self, context: LaunchContext) -> None:
        """Set the namespace."""
        namespace = _join_namespace(
            context.launch_configurations.get(_NAMESPACE),
            perform_substitutions(context, self.namespace),
        )
        validate_namespace(namespace)
        context.launch_configurations[_NAMESPACE] = namespace


PushROSNamespace = PushRosNamespace


class SetParameter(Action):
    """Gives a parameter to all nodes that follow in this scope; their own parameters win."""

    def __init__(self, name: SomeSubstitutionsType, value: Any, **kwargs) -> None:
        super().__init__(**kwargs)
        self.name = normalize_to_list_of_substitutions(name)
        self.value = value

    def describe(self) -> str:
        """Return name and value."""
        return f'SetParameter({describe(self.name)}, {self.value!r})'

    def execute(self, context: LaunchContext) -> None:
        """Add the parameter."""
        parameter = evaluate_parameter_dict(context, {tuple(self.name): self.value})
        before = context.launch_configurations.get(_PARAMETERS, [])
        context.launch_configurations[_PARAMETERS] = [*before, *parameter.items()]


class Node(ExecuteProcess):
    """Starts a node.

    Args:
        executable: its executable in the package, or a path where no package is given.
        package: the package.
        name: the node's name; default what its code says.
        namespace: relative to the scope's namespace unless it begins with a slash.
        exec_name: label of the output; default the executable's name.
        parameters: list of files (text, path, substitution, ParameterFile) and dicts; the last
            value of a parameter wins, and dicts are written to a temporary file each.
        remappings: (from, to) pairs.
        ros_arguments: what follows `--ros-args`.
        arguments: other command line arguments.
        kwargs: as for ExecuteProcess, without `cmd` and `name`.
    """

    def __init__(
        self,
        *,
        executable: SomeSubstitutionsType,
        package: SomeSubstitutionsType | None = None,
        name: SomeSubstitutionsType | None = None,
        namespace: SomeSubstitutionsType | None = None,
        exec_name: SomeSubstitutionsType | None = None,
        parameters: Sequence[Any] | None = None,
        remappings: Iterable[tuple[SomeSubstitutionsType, SomeSubstitutionsType]] = (),
        ros_arguments: Iterable[SomeSubstitutionsType] | None = None,
        arguments: Iterable[SomeSubstitutionsType] | None = None,
        **kwargs,
    ) -> None:
        if package is not None:
            executable = ExecutableInPackage(package=package, executable=executable)
        extra = ['--ros-args', *ros_arguments] if ros_arguments else []
        super().__init__(cmd=[executable, *(arguments or ()), *extra], name=exec_name, **kwargs)
        if parameters is not None and (
            isinstance(parameters, str | Mapping) or not isinstance(parameters, Sequence)
        ):
            raise TypeError(f'parameters must be a list of files and dicts, got {parameters!r}')
        self._node_name = None if name is None else normalize_to_list_of_substitutions(name)
        self._namespace = (
            None if namespace is None else normalize_to_list_of_substitutions(namespace)
        )
        self._parameters = parameters or ()
        self._remappings = [
            (normalize_to_list_of_substitutions(old), normalize_to_list_of_substitutions(new))
            for old, new in remappings or ()
        ]
        self._temporary_files: list[str] = []

    def get_command(self, context: LaunchContext) -> list[str]:
        """Return the command with the ROS arguments that name, parameters etc. stand for."""
        command = [*super().get_command(context), '--ros-args']
        name = None
        if self._node_name is not None:
            name = perform_substitutions(context, self._node_name)
            validate_node_name(name)
            command += ['-r', f'__node:={name}']
        namespace = context.launch_configurations.get(_NAMESPACE)
        if self._namespace is not None:
            namespace = _join_namespace(namespace, perform_substitutions(context, self._namespace))
        if namespace is not None:
            validate_namespace(namespace)
            command += ['-r', f'__ns:={namespace}']

        for key, value in context.launch_configurations.get(_PARAMETERS, []):
            command += ['-p', f'{key}:={value}']
        # A file rule for the node itself would win over one for all nodes, whatever the order, so
        # the dicts name the node wherever its full name is known.
        full_name = '/**' if name is None or namespace is None else _join_namespace(namespace, name)
        for parameters in evaluate_parameters(context, self._parameters):
            if isinstance(parameters, dict):
                path = self._write_parameters(full_name, parameters)
            elif parameters.is_file():
                path = str(parameters)
            else:
                logging.get_logger('launch').warning(
                    f'Parameter file path is not a file: {parameters}'
                )
                continue
            command += ['--params-file', path]

        for old, new in self._remappings:
            command += [
                '-r',
                f'{perform_substitutions(context, old)}:={perform_substitutions(context, new)}',
            ]
        return command

    def clean_up(self) -> None:
        """Remove the temporary parameter files."""
        for path in self._temporary_files:
            Path(path).unlink(missing_ok=True)

    def _write_parameters(self, node: str, parameters: dict[str, Evaluated]) -> str:
        handle, path = tempfile.mkstemp(prefix='launch_params_', suffix='.yaml')
        self._temporary_files.append(path)
        with os.fdopen(handle, 'w') as file:
            yaml.safe_dump({node: {'ros__parameters': parameters}}, file)
        return path


def _join_namespace(base: str | None, name: str) -> str:
    """Return the absolute name of a namespace or node below `base`."""
    path = name if name.startswith('/') else f'{base or ""}/{name}'
    return '/' + path.strip('/').replace('//', '/')
