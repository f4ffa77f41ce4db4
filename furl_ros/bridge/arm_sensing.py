# SPDX-License-Identifier: Apache-2.0
"""The topics that a robot's observation vector comes from."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node

from furl_ros.bridge.qos import SENSOR
from furl_ros.core.arm.profile import LAST_ACTION, Source
from furl_ros.core.settings import SettingError


def message_type(name: str) -> type:
    """The class of a message type such as sensor_msgs/msg/JointState.

    Raises:
        SettingError: it is not of that form, or its package is not installed.
    """
    package, _, rest = name.partition('/')
    try:
        module = importlib.import_module(f'{package}.msg')
        return getattr(module, rest.rpartition('/')[2])
    except (ImportError, AttributeError, ValueError):
        raise SettingError(
            f'type is {name!r}; accepted: a message type of an installed package, such as'
            ' sensor_msgs/msg/JointState'
        ) from None


def subscribe(
    node: Node,
    layouts: Mapping[str, Mapping[str, Source]],
    hear: Callable[[list[tuple[str, str]], Any], None],
) -> None:
    """Subscribe to the topics of sources, each once.

    Args:
        node: the node that the subscriptions belong to.
        layouts: sources by name, by the name of their layout.
        hear: called with the (layout, source) pairs that a message is for, and the message.

    Raises:
        SettingError: see ``message_type``; or a topic has two types.
    """
    wanted: dict[str, list[tuple[str, str]]] = {}
    types: dict[str, str] = {}
    for layout, sources in layouts.items():
        for name, source in sources.items():
            if source.type == LAST_ACTION:
                continue
            known = types.setdefault(source.topic, source.type)
            if known != source.type:
                raise SettingError(
                    f'observation.{name}: type is {source.type!r}, but {source.topic} is read as'
                    f' {known}; accepted: one type for a topic'
                )
            wanted.setdefault(source.topic, []).append((layout, name))
    for topic, places in wanted.items():
        node.create_subscription(
            message_type(types[topic]),
            topic,
            lambda message, places=places: hear(places, message),
            SENSOR,
        )
