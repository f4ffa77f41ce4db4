# SPDX-License-Identifier: Apache-2.0
"""Messages from and to YAML."""

from __future__ import annotations

import array
import importlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml

from .errors import CommandError

# A message inside a message: 'package/Type'.
_NESTED = re.compile(r'\w+/\w+')


def load_type(kind: str, name: str) -> Any:
    """Return the class of a type given as `package/kind/Type` or `package/Type`.

    Args:
        kind: 'msg', 'srv' or 'action'.
        name: the type's name.

    Raises:
        CommandError: there is no such type.
    """
    package, *middle, type_name = name.split('/') if '/' in name else ('', name)
    if middle not in ([], [kind]) or not package:
        raise CommandError(f"'{name}' is not a type; expected 'package/{kind}/Type'")
    try:
        return getattr(importlib.import_module(f'{package}.{kind}'), type_name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise CommandError(f"type '{name}' is not known: {error}") from error


def to_plain(
    value: Any, *, max_length: int | None = None, arrays: bool = True, field_type: str = ''
) -> Any:
    """Return a message (or a field of one) as dicts, lists and scalars.

    Args:
        value: the message or field.
        max_length: how much of arrays, bytes and texts is kept; None keeps all.
        arrays: False replaces arrays by their type.
        field_type: the field's type, for that.
    """
    options = {'max_length': max_length, 'arrays': arrays}
    if hasattr(value, 'get_fields_and_field_types'):
        return {
            name: to_plain(getattr(value, name), field_type=kind, **options)
            for name, kind in value.get_fields_and_field_types().items()
        }
    if isinstance(value, str):
        cut = max_length is not None and len(value) > max_length
        return value[:max_length] + '...' if cut else value
    if isinstance(value, bytes):
        return list(value) if len(value) != 1 else value[0]
    if isinstance(value, list | tuple | array.array | np.ndarray):
        if not arrays:
            return f'<array type: {field_type}[{len(value)}]>'
        items = [to_plain(item, **options) for item in value[:max_length]]
        return [*items, '...'] if len(value) > len(items) else items
    return value.item() if isinstance(value, np.generic) else value


def to_yaml(value: Any, **options: Any) -> str:
    """Return a message (or a field of one) as YAML; options as for `to_plain`."""
    return yaml.safe_dump(
        to_plain(value, **options), sort_keys=False, allow_unicode=True, width=10**6
    ).removesuffix('...\n')


def from_yaml(message_class: type, text: str) -> Any:
    """Return a message with the fields that the YAML text gives.

    Raises:
        CommandError: the text is not a mapping of fields that fit.
    """
    try:
        fields = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CommandError(f'cannot read {text!r} as YAML: {error}') from error
    message = message_class()
    if fields in (None, ''):
        return message
    try:
        set_fields(message, fields)
    except (TypeError, ValueError, AssertionError, OverflowError) as error:
        raise CommandError(f'Failed to populate field: {error}') from error
    return message


def set_fields(message: Any, fields: Any) -> None:
    """Set fields of a message from dicts, lists and scalars.

    Raises:
        TypeError, ValueError, AssertionError, OverflowError: a field is unknown or does not fit.
    """
    types = message.get_fields_and_field_types()
    if not isinstance(fields, Mapping):
        raise TypeError(f'{type(message).__name__} needs a mapping of its fields, got {fields!r}')
    # Without this, values that do not fit are found out only when they are sent, if at all.
    message._check_fields = True
    for name, value in fields.items():
        if name not in types:
            raise ValueError(
                f"{type(message).__name__} has no field '{name}'; it has: {', '.join(types)}"
            )
        setattr(message, name, _to_field(getattr(message, name), types[name], value))


def _to_field(current: Any, field_type: str, value: Any) -> Any:
    if hasattr(current, 'get_fields_and_field_types'):
        set_fields(current, value)
        return current
    if isinstance(current, array.array):
        return array.array(current.typecode, value)
    if isinstance(current, np.ndarray):
        return np.array(value, dtype=current.dtype)
    if isinstance(current, list | tuple):
        nested = _NESTED.search(field_type)
        if nested is None:
            return [_to_field(b'', '', item) for item in value] if 'octet' in field_type else value
        item_class = load_type('msg', nested.group())
        items = [item_class() for _ in value]
        for item, fields in zip(items, value, strict=True):
            set_fields(item, fields)
        return items
    if isinstance(current, bytes):
        return bytes([value])
    if isinstance(current, float) and type(value) is int:
        return float(value)
    return value
