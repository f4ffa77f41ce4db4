# SPDX-License-Identifier: Apache-2.0
"""The nodes' executor: one wait per callback, woken from other threads, stopped cleanly."""

import threading
import time

import pytest
import rclpy
from rclpy import executors
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import Int32

from furl_ros.bridge.executor import Executor

MESSAGES = 20
SETTLES = 0.05  # seconds in which a waiting thread that was woken has looked around


@pytest.fixture
def context():
    rclpy.init()
    yield
    rclpy.try_shutdown()


def spin(executor):
    thread = threading.Thread(target=executor.spin)
    thread.start()
    return thread


def waits_per_message(executor, monkeypatch):
    """How often the executor collects what to wait for, per message, when they come singly."""
    node = rclpy.create_node('counted')
    got, waits = threading.Event(), []

    def counted(*numbers, make=executors.NumberOfEntities):
        waits.append(1)
        return make(*numbers)

    node.create_subscription(Int32, 'counted', lambda _: got.set(), 10)
    publisher = node.create_publisher(Int32, 'counted', 10)
    executor.add_node(node)
    thread = spin(executor)
    publisher.publish(Int32())
    assert got.wait(30)
    with monkeypatch.context() as patch:
        patch.setattr(executors, 'NumberOfEntities', counted)
        for number in range(MESSAGES):
            got.clear()
            publisher.publish(Int32(data=number))
            assert got.wait(30)
            settled = time.monotonic() + SETTLES
            while time.monotonic() < settled and len(waits) < 2 * (number + 1):
                pass
    executor.shutdown()
    thread.join(30)
    assert not thread.is_alive()
    node.destroy_node()
    return len(waits) / MESSAGES


@pytest.mark.usefixtures('context')
def test_a_message_costs_one_wait(monkeypatch):
    assert waits_per_message(Executor(), monkeypatch) < 1.3
    # What it is there for: rclpy's own waits twice. If this fails, ours has become needless.
    assert waits_per_message(SingleThreadedExecutor(), monkeypatch) > 1.6


@pytest.mark.usefixtures('context')
def test_other_threads_wake_it():
    node, executor = rclpy.create_node('woken'), Executor()
    executor.add_node(node)
    thread = spin(executor)
    for _ in range(20):
        done = threading.Event()
        executor.create_task(done.set)
        assert done.wait(30)
    got = threading.Event()
    # Made while it waits: it must look again to see them.
    node.create_subscription(Int32, 'woken', lambda _: got.set(), 10)
    publisher = node.create_publisher(Int32, 'woken', 10)
    while not got.wait(0.1):
        publisher.publish(Int32())
    executor.shutdown()
    thread.join(30)
    assert not thread.is_alive()
    node.destroy_node()


@pytest.mark.usefixtures('context')
def test_what_a_callback_starts_is_run_without_being_woken():
    node, executor = rclpy.create_node('chained'), Executor()
    executor.add_node(node)
    done = threading.Event()
    left = [20]

    def go_on():
        left[0] -= 1
        if left[0]:
            executor.create_task(go_on)
        else:
            done.set()

    thread = spin(executor)
    executor.create_task(go_on)
    assert done.wait(30)
    executor.shutdown()
    thread.join(30)
    node.destroy_node()
