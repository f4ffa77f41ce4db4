# SPDX-License-Identifier: Apache-2.0
"""Parameters of nodes: values, files, and how the dicts of launch files are evaluated.

The rules are those of the real launch_ros: texts written in the launch file stay texts, what
substitutions give is read as YAML unless ParameterValue says otherwise, lists have one type.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from launch.entity import SomeSubstitutionsType, Substitution
from launch.launch_context import LaunchContext
from launch.utilities import (
    is_substitution,
    is_uniform,
    normalize_to_list_of_substitutions,
    perform_substitutions,
    perform_typed_substitution,
)
from ros2_pip.guard import not_in_subset

__all__ = ['ParameterFile', 'ParameterValue']
__getattr__ = not_in_subset(__name__, __all__)

Evaluated: TypeAlias = bool | int | float | str | list


class ParameterValue:
    """A parameter's value with its type.

    Args:
        value: a scalar, a list, or a substitution.
        value_type: int, float, bool, str or `List[...]` of these; None reads YAML.
    """

    def __init__(self, value: Any, *, value_type: Any = None) -> None:
        self.value = value
        self.value_type = value_type

    def evaluate(self, context: LaunchContext) -> Evaluated:
        """Return the value.

        Raises:
            TypeError, ValueError: the value is not of the type.
        """
        return perform_typed_substitution(context, self.value, self.value_type)


class ParameterFile:
    """A file of parameters.

    Args:
        param_file: its path.
        allow_substs: not supported by the stand-in.
    """

    def __init__(
        self, param_file: os.PathLike | SomeSubstitutionsType, *, allow_substs: bool = False
    ) -> None:
        if allow_substs is not False:
            raise NotImplementedError(
                'ParameterFile(allow_substs=True) is not part of the furl_ros stand-in for ROS 2; '
                'accepted: files without substitutions'
            )
        if isinstance(param_file, os.PathLike):
            param_file = os.fspath(param_file)
        self.param_file = normalize_to_list_of_substitutions(param_file)

    def evaluate(self, context: LaunchContext) -> Path:
        """Return the path."""
        return Path(perform_substitutions(context, self.param_file))


def evaluate_parameters(
    context: LaunchContext, parameters: Sequence[Any]
) -> list[Path | dict[str, Evaluated]]:
    """Return a node's parameters as paths of files and dicts of plain values.

    Args:
        context: where substitutions are looked up.
        parameters: paths (text, path, substitution, ParameterFile) and dicts, in order.

    Raises:
        TypeError, ValueError: something cannot be a parameter; the message names it.
    """
    evaluated: list[Path | dict[str, Evaluated]] = []
    for item in parameters:
        if isinstance(item, Mapping):
            evaluated.append(evaluate_parameter_dict(context, item))
        elif isinstance(item, ParameterFile):
            evaluated.append(item.evaluate(context))
        else:
            evaluated.append(ParameterFile(item).evaluate(context))
    return evaluated


def evaluate_parameter_dict(
    context: LaunchContext, parameters: Mapping[Any, Any], prefix: str = ''
) -> dict[str, Evaluated]:
    """Return a dict of parameters with names and values evaluated and nested dicts flattened.

    Args:
        context: where substitutions are looked up.
        parameters: names (text or substitutions) and values.
        prefix: put before the names.

    Raises:
        TypeError, ValueError: something cannot be a parameter; the message names it.
    """
    evaluated: dict[str, Evaluated] = {}
    for key, value in parameters.items():
        name = prefix + perform_substitutions(context, normalize_to_list_of_substitutions(key))
        if isinstance(value, Mapping):
            evaluated.update(evaluate_parameter_dict(context, value, f'{name}.'))
            continue
        try:
            evaluated[name] = _evaluate_value(context, value)
        except (TypeError, ValueError, yaml.YAMLError) as error:
            raise TypeError(
                f'parameter {name}: {error}; if it is meant to be a text, wrap it in '
                'launch_ros.parameter_descriptions.ParameterValue(value, value_type=str)'
            ) from error
    return evaluated


def _evaluate_value(context: LaunchContext, value: Any) -> Evaluated:
    if isinstance(value, ParameterValue):
        return value.evaluate(context)
    if isinstance(value, bool | int | float | str):
        return value
    if is_substitution(value):
        return _read_yaml(context, value)
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        raise TypeError(f'{value!r} cannot be a value; accepted: bool, int, float, str or a list')

    items = [
        _read_yaml(context, item) if isinstance(item, list | tuple | Substitution) else item
        for item in value
    ]
    types = {type(item) for item in items}
    if types == {int, float}:
        items = [float(item) for item in items]
    elif len(types) != 1 or not is_uniform(items):
        raise TypeError(f'expected a list that has items, all of one type, got {items!r}')
    return items


def _read_yaml(context: LaunchContext, value: Any) -> Evaluated:
    text = perform_substitutions(context, normalize_to_list_of_substitutions(value))
    result = yaml.safe_load(text) if text else ''
    if result == [] or not is_uniform(result):
        raise TypeError(f'{text!r} read as YAML is not a bool, int, float, str or uniform list')
    return result
