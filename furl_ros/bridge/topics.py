# SPDX-License-Identifier: Apache-2.0
"""Names of a robot's topics."""

from rclpy.node import Node


def prefix_of(source: str) -> str:
    """What the names of a robot's topics begin with; its namespace '' is the graph's own."""
    return f'{source}/' if source else ''


def scored_pictures(node: Node, source: str) -> str:
    """Topic of a robot's pictures that are scored: those of a camera_node, where there is one."""
    joined = f'{prefix_of(source)}camera_view/image_raw'
    return joined if node.count_publishers(joined) else f'{prefix_of(source)}camera/image_raw'
