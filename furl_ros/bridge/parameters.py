# SPDX-License-Identifier: Apache-2.0
"""Settings dataclasses as ROS parameters."""

import dataclasses
from typing import TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from furl_ros.core.settings import accepted, from_mapping

T = TypeVar('T')
_BIGGEST = 2**63 - 1


def _descriptor(field: dataclasses.Field) -> ParameterDescriptor:
    meta = field.metadata
    # Dynamic typing lets 1 stand for 1.0; the settings check the type and the range themselves
    # and say what is accepted, which rclpy's own message does not.
    descriptor = ParameterDescriptor(
        description=meta['doc'],
        additional_constraints=accepted(field),
        read_only=not meta['live'],
        dynamic_typing=True,
    )
    if meta['low'] is not None or meta['high'] is not None:
        low, high = meta['low'], meta['high']
        if isinstance(field.default, int):
            descriptor.integer_range = [
                IntegerRange(
                    from_value=-_BIGGEST if low is None else int(low),
                    to_value=_BIGGEST if high is None else int(high),
                )
            ]
        else:
            descriptor.floating_point_range = [
                FloatingPointRange(
                    from_value=float('-inf') if low is None else float(low),
                    to_value=float('inf') if high is None else float(high),
                )
            ]
    return descriptor


def declare(node: Node, kind: type[T]) -> T:
    """Declare one parameter per field, read-only unless live, and return the checked settings.

    A parameter that is declared already (by another settings dataclass with the same field) is
    read, not declared again.

    Raises:
        SettingError: a value is not accepted; the text names the parameter and what is.
    """
    values, declared = {}, []
    for field in dataclasses.fields(kind):
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        if not node.has_parameter(field.name):
            # The range is described only after the value was checked here: rclpy would answer a
            # value outside it with a message that does not say what is accepted.
            node.declare_parameter(field.name, default, ParameterDescriptor(dynamic_typing=True))
            declared.append(field)
        value = node.get_parameter(field.name).value
        if not isinstance(value, str | bool | int | float) and value is not None:
            value = tuple(value)
        values[field.name] = value
    settings = from_mapping(kind, values)
    for field in declared:
        node.set_descriptor(field.name, _descriptor(field))
    return settings
