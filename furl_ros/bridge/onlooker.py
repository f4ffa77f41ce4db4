# SPDX-License-Identifier: Apache-2.0
"""How a program that is no node of a graph listens to the ROS domain."""

import os

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from furl_ros.bridge.leaving import leave


class Onlooker:
    """A quiet node in a context of its own: no parameters, no log, no hand in signals.

    Args:
        name: of the node; the process id is appended.

    Attributes:
        node: to subscribe with.
        executor: to be spun by who looks on.
    """

    def __init__(self, name: str) -> None:
        self._context = rclpy.Context()
        # Launch arguments look like rules to remap names: they are not for this node.
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = Node(
            f'{name}_{os.getpid()}',
            context=self._context,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self.executor = SingleThreadedExecutor(context=self._context)
        self.executor.add_node(self.node)

    def close(self) -> None:
        """Let go of the domain."""
        self.executor.shutdown()
        leave(self.node)
        self._context.try_shutdown()
