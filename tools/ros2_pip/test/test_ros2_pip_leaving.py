# SPDX-License-Identifier: Apache-2.0
"""Nodes that end for certain."""

import time

import pytest
import rclpy
from std_msgs.msg import Empty

from ros2_pip.leaving import destroy, end_discovery


def make_node(name):
    context = rclpy.Context()
    rclpy.init(context=context)
    return rclpy.create_node(name, context=context)


def wait_for(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


@pytest.mark.skipif(
    rclpy.get_rmw_implementation_identifier() != 'rmw_fastrtps_cpp', reason='not Fast DDS'
)
def test_a_node_that_leaves_hears_of_nobody_any_more():
    """Shows that the functions of the middleware were found, and did what they are called for."""
    first, second, third = map(make_node, ('first', 'second', 'third'))
    third.create_publisher(Empty, 'before', 1)
    assert wait_for(lambda: first.count_publishers('before'))
    end_discovery(first)
    third.create_publisher(Empty, 'after', 1)
    assert wait_for(lambda: second.count_publishers('after'))
    assert not wait_for(lambda: first.count_publishers('after'), 1.0)
    for node in (third, second, first):
        destroy(node)
        node.context.try_shutdown()


def test_a_node_that_left_is_missed_by_the_others():
    first, second = make_node('first'), make_node('second')
    assert wait_for(lambda: 'second' in first.get_node_names())
    destroy(second)
    second.context.try_shutdown()
    assert wait_for(lambda: 'second' not in first.get_node_names())
    destroy(first)
    first.context.try_shutdown()
