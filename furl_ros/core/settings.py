# SPDX-License-Identifier: Apache-2.0
"""Settings as data: dataclasses whose fields carry their meaning and their accepted values.

One declaration serves ROS parameters, launch arguments, command lines and the run's config file.
"""

import argparse
import contextlib
import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any, TypeVar

T = TypeVar('T')
_LONGEST_REASON = 200


class SettingError(ValueError):
    """A setting was given a value that is not accepted; the text is one line for people."""


@contextlib.contextmanager
def explained(text: str) -> Iterator[None]:
    """Turn whatever is raised inside into a SettingError of one line: the text and the reason."""
    try:
        yield
    except SettingError:
        raise
    except Exception as error:  # pickles, safetensors, hubs and torch all have their own
        raise SettingError(f'{text} ({why(error)})') from error


def why(error: Exception) -> str:
    """Say in a part of a line why a file or a download cannot be had, read or used."""
    text = ' '.join(str(error).split())
    called = re.search(r'GLOBAL (\S+)', text)
    # What torch itself says then is how to run the code all the same.
    if called:
        return f'reading it would run code: {called[1]}'
    if 'weights_only' in text:
        return 'it is no file of plain tensors'
    if not isinstance(error, (RuntimeError, ValueError, OSError)):
        text = f'{type(error).__name__}: {text}'.removesuffix(': ')
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 3] + '...'


def setting(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] = (),
) -> Any:
    """Declare a dataclass field with its documentation and its accepted values.

    Args:
        default: value when nothing is given; its type is the type of the setting
            (bool, int, float, str, or a tuple of str).
        doc: one sentence, with the unit.
        low, high: inclusive bounds of a number.
        choices: the accepted values, where they can be listed.
    """
    return dataclasses.field(
        default=default, metadata={'doc': doc, 'low': low, 'high': high, 'choices': choices}
    )


def accepted(field: dataclasses.Field) -> str:
    """Say in words which values a field accepts ('' for any value of its type)."""
    meta = field.metadata
    if meta['choices']:
        return ', '.join(str(choice) for choice in meta['choices'])
    low, high = meta['low'], meta['high']
    if low is not None and high is not None:
        return f'{low} to {high}'
    if low is not None:
        return f'{low} or more'
    if high is not None:
        return f'{high} or less'
    return ''


def check(config: T) -> T:
    """Check every field of a settings dataclass and return it.

    Raises:
        SettingError: names the setting, the value and what is accepted.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        kind = type(field.default)
        whole = kind is float and type(value) is int
        if type(value) is not kind and not whole:
            raise SettingError(
                f'{field.name} is {value!r}; accepted: a value of type {kind.__name__}'
            )
        if kind is tuple and not all(isinstance(item, str) for item in value):
            raise SettingError(f'{field.name} is {value!r}; accepted: text values')
        bounds = (field.metadata['low'], field.metadata['high'])
        outside = isinstance(value, (int, float)) and (
            (isinstance(value, float) and not math.isfinite(value))
            or (bounds[0] is not None and value < bounds[0])
            or (bounds[1] is not None and value > bounds[1])
        )
        choices = field.metadata['choices']
        if outside or (choices and value not in choices):
            raise SettingError(f'{field.name} is {value!r}; accepted: {accepted(field)}')
        if whole:
            object.__setattr__(config, field.name, float(value))
    return config


def from_mapping(kind: type[T], values: dict[str, Any]) -> T:
    """Build and check a settings dataclass from a mapping.

    Raises:
        SettingError: also for a name that the dataclass does not have.
    """
    names = [field.name for field in dataclasses.fields(kind)]
    for name in values:
        if name not in names:
            raise SettingError(f'there is no setting {name!r}; accepted: {", ".join(names)}')
    return check(kind(**values))


def add_arguments(parser: Any, kind: type, skip: tuple[str, ...] = ()) -> None:
    """Add one command-line option per field of a settings dataclass to an argparse parser."""
    for field in dataclasses.fields(kind):
        if field.name in skip:
            continue
        text = field.metadata['doc']
        if accepted(field):
            text += f' Accepted: {accepted(field)}.'
        text = f'{text} Default: {field.default!r}.'.replace('%', '%%')
        option = '--' + field.name.replace('_', '-')
        if isinstance(field.default, bool):
            parser.add_argument(
                option, default=field.default, action=argparse.BooleanOptionalAction, help=text
            )
        elif isinstance(field.default, tuple):
            parser.add_argument(option, default=field.default, nargs='*', help=text)
        else:
            parser.add_argument(option, default=field.default, type=type(field.default), help=text)


def from_arguments(kind: type[T], arguments: Any) -> T:
    """Build and check a settings dataclass from what ``add_arguments`` parsed."""
    names = [field.name for field in dataclasses.fields(kind) if hasattr(arguments, field.name)]
    values = {name: getattr(arguments, name) for name in names}
    return from_mapping(
        kind, {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    )
