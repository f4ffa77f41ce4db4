# SPDX-License-Identifier: Apache-2.0
"""A node that looks at the running graph."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from rclpy.topic_or_service_is_hidden import topic_or_service_is_hidden

from .errors import CommandError

# How often conditions of the graph, which raise no events here, are looked at.
_POLL_S = 0.05


class Graph:
    """A running node of our own and what it sees.

    Args:
        node: the node.
        spin_time: seconds that looking for what is running may take.
    """

    def __init__(self, node: Node, spin_time: float) -> None:
        self.node = node
        self._deadline = time.monotonic() + spin_time
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)

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

    def node_names(self, *, include_hidden: bool = False) -> list[str]:
        """Return the full names of the nodes seen so far, sorted, without our own."""
        return sorted(
            f'{namespace.rstrip("/")}/{name}'
            for name, namespace in self.node.get_node_names_and_namespaces()
            if (name, namespace) != (self.node.get_name(), self.node.get_namespace())
            and (include_hidden or not name.startswith('_'))
        )

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


@contextmanager
def graph(spin_time: float) -> Iterator[Graph]:
    """Make a hidden node for the time of a command; Ctrl-C raises KeyboardInterrupt meanwhile."""
    # rclpy's own handler would end the context, with which actions could not be cancelled.
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(
        f'_ros2cli_{os.getpid()}', start_parameter_services=False, enable_rosout=False
    )
    try:
        yield Graph(node, spin_time)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def print_names(names_and_types: list[tuple[str, list[str]]], *, with_types: bool) -> None:
    """Print names, sorted, each with its types in brackets where asked for."""
    for name, types in sorted(names_and_types):
        print(f'{name} [{", ".join(types)}]' if with_types else name)


def only_type(kind: str, name: str, names_and_types: list[tuple[str, list[str]]]) -> str:
    """Return the one type that a topic, service or action has.

    Raises:
        CommandError: there is none of this name, or it has several types.
    """
    types = dict(names_and_types).get(name, [])
    if not types:
        raise CommandError(f"Unknown {kind} '{name}'")
    if len(types) > 1:
        raise CommandError(f"{kind} '{name}' has several types: {', '.join(types)}")
    return types[0]
