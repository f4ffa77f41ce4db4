# SPDX-License-Identifier: Apache-2.0
"""Substitutions to text, and text to typed values."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import yaml

from ros2_pip.guard import not_in_subset

from .entity import SomeSubstitutionsType, Substitution

if TYPE_CHECKING:
    from .launch_context import LaunchContext

__all__ = [
    'coerce_to_type',
    'is_substitution',
    'normalize_to_list_of_substitutions',
    'perform_substitutions',
    'perform_typed_substitution',
]
__getattr__ = not_in_subset(__name__, __all__)

_SCALARS = (bool, int, float, str)


def normalize_to_list_of_substitutions(subs: SomeSubstitutionsType) -> list[Substitution]:
    """Return a list of substitutions for a text, a substitution, or a mixed iterable of both.

    Raises:
        TypeError: for anything else, numbers and paths included, as the real launch does.
    """
    from .substitutions import TextSubstitution

    if isinstance(subs, str | Substitution):
        subs = [subs]
    if not isinstance(subs, Iterable):
        raise TypeError(
            f'expected str, Substitution or a list of them, got {subs!r} ({type(subs).__name__})'
        )
    result = []
    for item in subs:
        if isinstance(item, str):
            item = TextSubstitution(text=item)
        if not isinstance(item, Substitution):
            raise TypeError(
                f'expected str or Substitution as an item, got {item!r} ({type(item).__name__})'
            )
        result.append(item)
    return result


def perform_substitutions(context: LaunchContext, subs: Iterable[Substitution]) -> str:
    """Return the joined values of the substitutions."""
    return ''.join(context.perform_substitution(sub) for sub in subs)


def is_substitution(value: Any) -> bool:
    """Tell whether `value` is a substitution, or a list of texts and at least one substitution."""
    if isinstance(value, Substitution):
        return True
    return (
        isinstance(value, list | tuple)
        and all(isinstance(item, str | Substitution) for item in value)
        and any(isinstance(item, Substitution) for item in value)
    )


def is_uniform(value: Any) -> bool:
    """Tell whether `value` is a scalar that YAML knows, or a list of scalars of one type."""
    if isinstance(value, list):
        return len({type(item) for item in value}) <= 1 and all(
            isinstance(item, _SCALARS) for item in value
        )
    return isinstance(value, _SCALARS)


def coerce_to_type(text: str, value_type: Any = None) -> Any:
    """Return `text` as a value of `value_type`, or by the rules of YAML where that is None.

    Args:
        text: what a substitution gave.
        value_type: int, float, bool, str, or `List[...]` of one of these.

    Raises:
        ValueError: the text does not have this type.
    """
    if value_type is str:
        return text
    if value_type in (int, float):
        return value_type(text)
    if value_type is bool:
        text = {'1': 'true', '0': 'false'}.get(text, text)
    try:
        value = yaml.safe_load(text) if text else text
    except yaml.YAMLError as error:
        raise ValueError(f'cannot read {text!r} as YAML: {error}') from error

    item_type = typing.get_args(value_type)[0] if typing.get_origin(value_type) is list else None
    if value_type is None:
        fits = is_uniform(value)
    elif item_type is not None:
        fits = isinstance(value, list) and all(isinstance(item, item_type) for item in value)
    elif value_type is bool:
        fits = isinstance(value, bool)
    else:
        raise ValueError(
            f'unknown value type {value_type!r}; '
            'accepted: int, float, bool, str, List[int], List[float], List[bool], List[str]'
        )
    if not fits:
        raise ValueError(f'cannot convert {text!r} to {value_type or "one uniform type"}')
    return value


def perform_typed_substitution(context: LaunchContext, value: Any, value_type: Any = None) -> Any:
    """Return the value of something that may be, or may contain, substitutions.

    Args:
        context: where substitutions are looked up.
        value: a scalar, a substitution (or list that joins to one text), or a list whose items
            are scalars or substitutions.
        value_type: what the result must be; None takes YAML's type.

    Raises:
        TypeError, ValueError: the value has another type.
    """
    if is_substitution(value):
        text = perform_substitutions(context, normalize_to_list_of_substitutions(value))
        return coerce_to_type(text, value_type)
    if isinstance(value, _SCALARS):
        fits = value_type is None or isinstance(value, value_type)
    elif isinstance(value, list | tuple):
        item_type = typing.get_args(value_type)[0] if value_type is not None else None
        value = [
            perform_typed_substitution(context, item, item_type) if is_substitution(item) else item
            for item in value
        ]
        if {type(item) for item in value} == {int, float}:
            value = [float(item) for item in value]
        fits = is_uniform(value) and (
            item_type is None or all(isinstance(item, item_type) for item in value)
        )
    else:
        fits = False
    if not fits:
        raise TypeError(f'{value!r} is not of type {value_type or "bool, int, float, str or list"}')
    return value
