# SPDX-License-Identifier: Apache-2.0
"""Settings as data: dataclasses whose fields carry their meaning and their accepted values.

One declaration serves ROS parameters, launch arguments, command lines and the run's config file.
"""

import argparse
import contextlib
import dataclasses
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

A, T = TypeVar('A'), TypeVar('T')
_LONGEST_REASON = 200


class SettingError(ValueError):
    """A setting was given a value that is not accepted; the text is one line for people."""


def exit_code(run: Callable[[A], int], options: A) -> int:
    """Run a command; returns its exit code, 2 for bad input, of which one line tells."""
    try:
        return run(options)
    except (SettingError, OSError) as error:
        print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
        return 2


def typed_settings(words: Iterable[str]) -> dict[str, str]:
    """Settings as they are typed, ``name:=value``.

    Raises:
        SettingError: a word is none.
    """
    given = {}
    for word in words:
        name, separator, value = word.partition(':=')
        if not separator:
            raise SettingError(f'{word!r} is no setting; accepted: name:=value')
        given[name] = value
    return given


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
    item: type | None = None,
    live: bool = False,
) -> Any:
    """Declare a dataclass field with its documentation and its accepted values.

    Args:
        default: value when nothing is given; its type is the type of the setting
            (bool, int, float, str, or a tuple).
        doc: one sentence, with the unit.
        low, high: inclusive bounds of a number.
        choices: the accepted values, where they can be listed.
        item: type of the values of a tuple (int, float or str). Bounds and choices are then
            those of each value, and one value alone may stand for a tuple of one. A tuple without
            it holds texts.
        live: it may be changed while a node runs.
    """
    meta = {
        'doc': doc,
        'low': low,
        'high': high,
        'choices': choices,
        'item': item,
        'live': live,
    }
    return dataclasses.field(default=default, metadata=meta)


def section(kind: type, doc: str) -> Any:
    """Declare a field that is itself a settings dataclass; ``from_mapping`` reads it."""
    return dataclasses.field(default_factory=kind, metadata={'doc': doc, 'section': kind})


def table(kind: type, doc: str) -> Any:
    """Declare a field that maps names, in the order given, to settings dataclasses of one kind."""
    return dataclasses.field(default_factory=dict, metadata={'doc': doc, 'table': kind})


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


def check(config: T, path: str = '') -> T:
    """Check every field of a settings dataclass and return it.

    Args:
        path: what comes before the names of its fields in an error.

    Raises:
        SettingError: names the setting, the value and what is accepted.
    """
    for field in dataclasses.fields(config):
        if 'section' in field.metadata or 'table' in field.metadata:
            continue
        value, name = getattr(config, field.name), path + field.name
        kind, item = type(field.default), field.metadata['item']
        if item is not None and isinstance(value, tuple):
            for one in value:
                _check_value(name, one, item, field)
            checked = tuple(map(item, value))
        else:
            _check_value(name, value, kind, field)
            if kind is tuple and not all(isinstance(one, str) for one in value):
                raise SettingError(f'{name} is {value!r}; accepted: text values')
            checked = kind(value)
        object.__setattr__(config, field.name, checked)
    return config


def _check_value(name: str, value: Any, kind: type, field: dataclasses.Field) -> None:
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise SettingError(f'{name} is {value!r}; accepted: a value of type {kind.__name__}')
    low, high, choices = (field.metadata[key] for key in ('low', 'high', 'choices'))
    outside = isinstance(value, (int, float)) and (
        (isinstance(value, float) and not math.isfinite(value))
        or (low is not None and value < low)
        or (high is not None and value > high)
    )
    if outside or (choices and value not in choices):
        raise SettingError(f'{name} is {value!r}; accepted: {accepted(field)}')


def from_mapping(kind: type[T], values: Mapping[str, Any], path: str = '') -> T:
    """Build and check a settings dataclass from a mapping, its sections and tables too.

    Args:
        path: what comes before the names of its fields in an error, such as 'camera.'.

    Raises:
        SettingError: also for a name that the dataclass does not have.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    names = ', '.join(fields)
    if not isinstance(values, Mapping):
        raise SettingError(
            f'{path[:-1] or "what was read"} is {values!r}; accepted: a mapping of {names}'
        )
    read = {}
    for name, value in values.items():
        if name not in fields:
            raise SettingError(f'there is no setting {f"{path}{name}"!r}; accepted: {names}')
        meta = fields[name].metadata
        if 'section' in meta:
            read[name] = from_mapping(meta['section'], value, f'{path}{name}.')
        elif 'table' in meta:
            if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
                raise SettingError(f'{path}{name} is {value!r}; accepted: a mapping of names')
            read[name] = {
                key: from_mapping(meta['table'], one, f'{path}{name}.{key}.')
                for key, one in value.items()
            }
        elif meta['item'] is not None:
            read[name] = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        else:
            read[name] = value
    return check(kind(**read), path)


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
