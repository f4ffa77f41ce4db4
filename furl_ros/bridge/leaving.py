# SPDX-License-Identifier: Apache-2.0
"""How the last node of a context is destroyed."""

from rclpy.node import Node


def leave(node: Node) -> None:
    """Destroy a node, the last one of its context.

    Where ROS 2 comes by pip the middleware has a defect that can keep a process from ending, and
    our stand-in for the rest of ROS knows a way round it.
    """
    try:
        from ros2_pip.leaving import destroy
    except ImportError:
        node.destroy_node()
    else:
        destroy(node)
