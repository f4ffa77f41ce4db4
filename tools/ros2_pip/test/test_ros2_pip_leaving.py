# SPDX-License-Identifier: Apache-2.0
"""Nodes that end for certain."""

import time

import pytest
import rclpy
from graph_support import TIMEOUT
from std_msgs.msg import Empty

from ros2_pip.leaving import destroy, end_discovery


def make_node(name):
    context = rclpy.Context()
    rclpy.init(context=context)
    return rclpy.create_node(name, context=context)


def wait_for(condition):
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.skipif(
    rclpy.get_rmw_implementation_identifier() != 'rmw_fastrtps_cpp', reason='not Fast DDS'
)
def test_a_node_that_leaves_hears_of_nobody_any_more():
    """Shows that the functions of the middleware were found, and did what they are called for."""
    first, second, third = map(make_node, ('first', 'second', 'third'))
    third.create_publisher(Empty, 'before', 1)
    wait_for(lambda: first.count_publishers('before'))
    end_discovery(first)
    # Who listened would hear of one before the next one is there.
    for name in ('one', 'two', 'three', 'four'):
        third.create_publisher(Empty, name, 1)
        wait_for(lambda name=name: second.count_publishers(name))
    assert not first.count_publishers('one')
    for node in (third, second, first):
        destroy(node)
        node.context.try_shutdown()


def test_a_node_that_left_is_missed_by_the_others():
    first, second = make_node('first'), make_node('second')
    wait_for(lambda: 'second' in first.get_node_names())
    destroy(second)
    second.context.try_shutdown()
    wait_for(lambda: 'second' not in first.get_node_names())
    destroy(first)
    first.context.try_shutdown()
