# SPDX-License-Identifier: Apache-2.0
"""A node that looks at the running graph."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, TypeAlias

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from rclpy.topic_endpoint_info import TopicEndpointInfo
from rclpy.topic_or_service_is_hidden import topic_or_service_is_hidden

from .errors import CommandError
from .leaving import destroy

Names: TypeAlias = list[tuple[str, list[str]]]

# How often conditions of the graph, which raise no events here, are looked at.
_POLL_S = 0.05

# A DDS participant that has just come misses, with a chance of 10 to 40 %, what the others answer
# to it, until they repeat it after up to 3 s. There is no daemon here that has looked all the time,
# so several participants look together: that all of them miss the same is rare.
_OBSERVERS = 3


class Graph:
    """What runs, and a node to talk with it.

    Args:
        observers: nodes of separate participants that look together.
        spin_time: seconds that looking for what is running may take.
    """

    def __init__(self, observers: list[Node], spin_time: float) -> None:
        self._observers = observers
        self._deadline = time.monotonic() + spin_time

    @cached_property
    def node(self) -> Node:
        """The node to talk with: the one that knows most of the graph when it is first needed."""
        node = max(self._observers, key=lambda observer: len(observer.get_node_names()))
        # Made now: a Ctrl-C in the middle of it would leave half an executor, which complains.
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        return node

    def discover(self) -> None:
        """Wait until everything that runs should have been seen."""
        time.sleep(max(0.0, self._deadline - time.monotonic()))

    def discovered(self, condition: Callable[[], Any]) -> Any:
        """Wait for a condition while discovery may still make it true; return its last value."""
        while not (value := condition()) and time.monotonic() < self._deadline:
            time.sleep(_POLL_S)
        return value

    def spin_until(self, condition: Callable[[], bool], timeout: float | None = None) -> bool:
        """Handle callbacks until the condition holds.

        Args:
            condition: looked at after each callback.
            timeout: seconds; None waits for ever.

        Returns:
            Whether the condition holds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while not condition():
            if end is not None and time.monotonic() >= end:
                return False
            self._executor.spin_once(timeout_sec=_POLL_S)
        return True

    def wait(self, future: Future, timeout: float | None = None) -> Any:
        """Return a future's result.

        Raises:
            CommandError: it is not there in time.
        """
        if not self.spin_until(future.done, timeout):
            raise CommandError(f'no answer within {timeout:g} s')
        return future.result()

    def collect(self, look_up: Callable[[Node], Names]) -> dict[str, list[str]]:
        """Return names with their types, sorted, that any observer sees.

        Args:
            look_up: called with each observer; one that does not know the node in question yet
                may raise NodeNameNonExistentError.
        """
        found: dict[str, set[str]] = {}
        for observer in self._observers:
            with suppress(NodeNameNonExistentError):
                for name, types in look_up(observer):
                    found.setdefault(name, set()).update(types)
        return {name: sorted(types) for name, types in sorted(found.items())}

    def topics(self) -> dict[str, list[str]]:
        """Return the topics seen so far with their types."""
        return self.collect(Node.get_topic_names_and_types)

    def services(self) -> dict[str, list[str]]:
        """Return the services seen so far with their types."""
        return self.collect(Node.get_service_names_and_types)

    def publishers(self, topic: str) -> list[TopicEndpointInfo]:
        """Return who publishes to a topic, as far as seen."""
        return max((o.get_publishers_info_by_topic(topic) for o in self._observers), key=len)

    def subscriptions(self, topic: str) -> list[TopicEndpointInfo]:
        """Return who subscribes to a topic, as far as seen."""
        return max((o.get_subscriptions_info_by_topic(topic) for o in self._observers), key=len)

    def node_names(self, *, include_hidden: bool = False) -> list[str]:
        """Return the full names of the nodes seen so far, sorted, without our own."""
        ours = {observer.get_fully_qualified_name() for observer in self._observers}
        names: set[str] = set()
        for observer in self._observers:
            for name, namespace in observer.get_node_names_and_namespaces():
                if include_hidden or not name.startswith('_'):
                    names.add(f'{namespace.rstrip("/")}/{name}')
        return sorted(names - ours)

    def find_node(self, name: str) -> str:
        """Return a node's full name.

        Raises:
            CommandError: there is none of this name.
        """
        name = absolute(name)
        if not self.discovered(lambda: name in self.node_names(include_hidden=True)):
            raise CommandError(f"Node not found: '{name}'")
        return name


def absolute(name: str) -> str:
    """Return a name with its leading slash."""
    return name if name.startswith('/') else f'/{name}'


def is_hidden(name: str) -> bool:
    """Tell whether a topic or service is internal."""
    return topic_or_service_is_hidden(name)


def only_type(kind: str, name: str, names_and_types: dict[str, list[str]]) -> str:
    """Return the one type that a topic, service or action has.

    Raises:
        CommandError: there is none of this name, or it has several types.
    """
    types = names_and_types.get(name, [])
    if not types:
        raise CommandError(f"Unknown {kind} '{name}'")
    if len(types) > 1:
        raise CommandError(f"{kind} '{name}' has several types: {', '.join(types)}")
    return types[0]


def print_names(names_and_types: dict[str, list[str]], *, with_types: bool) -> None:
    """Print names, each with its types in brackets where asked for."""
    for name, types in names_and_types.items():
        print(f'{name} [{", ".join(types)}]' if with_types else name)


def split_name(full_name: str) -> tuple[str, str]:
    """Return a node's name and namespace."""
    namespace, _, name = full_name.rpartition('/')
    return name, namespace or '/'


@contextmanager
def graph(spin_time: float) -> Iterator[Graph]:
    """Make hidden nodes for the time of a command; Ctrl-C raises KeyboardInterrupt meanwhile."""
    observers = []
    try:
        for number in range(_OBSERVERS):
            context = Context()
            # Without rclpy's signal handler, which would end the context: actions could not be
            # cancelled then.
            rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
            observers.append(
                rclpy.create_node(
                    f'_ros2cli_{os.getpid()}_{number}',
                    context=context,
                    start_parameter_services=False,
                    enable_rosout=False,
                )
            )
        yield Graph(observers, spin_time)
    finally:
        for observer in observers:
            destroy(observer)
            observer.context.try_shutdown()
