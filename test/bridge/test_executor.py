# SPDX-License-Identifier: Apache-2.0
"""The nodes' executor: little work per message, woken from other threads, stopped cleanly."""

import math
import threading
import time

import pytest
import rclpy
from graph_support import TIMEOUT
from rclpy import executors
from rclpy.action import ActionClient, ActionServer
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.task import Future
from std_msgs.msg import Int32

from furl_interfaces.action import Train
from furl_interfaces.msg import TrainingStatus
from furl_ros.bridge import executor as bridge_executor
from furl_ros.bridge.executor import Executor

MESSAGES = 20


@pytest.fixture
def node():
    rclpy.init()
    node = rclpy.create_node('executor_test')
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


@pytest.fixture
def executor(node):
    executor = Executor()
    executor.add_node(node)
    thread = spin(executor)
    yield executor
    executor.shutdown()
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def spin(executor):
    thread = threading.Thread(target=executor.spin)
    thread.start()
    return thread


def until(condition):
    """Wait for a condition."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        # Not time.sleep: a test puts another one in its place.
        threading.Event().wait(0.01)


def counting_reader(node):
    """Numbers that a reader of a topic got, its publisher, and the executor, not spinning yet."""
    got = []
    node.create_subscription(Int32, 'many', lambda message: got.append(message.data), 10)
    publisher = node.create_publisher(Int32, 'many', 10)
    executor = Executor()
    executor.add_node(node)
    executor.spin_once(0)
    until(lambda: publisher.get_subscription_count() == 1)
    return got, publisher, executor


def collections_per_message(executor, node, monkeypatch):
    """How often all entities are collected per message, when messages come singly."""
    got, collections = threading.Event(), []

    def counted(*numbers, make=executors.NumberOfEntities):
        collections.append(1)
        return make(*numbers)

    node.create_subscription(Int32, 'counted', lambda _: got.set(), 10)
    publisher = node.create_publisher(Int32, 'counted', 10)
    executor.add_node(node)
    thread = spin(executor)
    publisher.publish(Int32())
    assert got.wait(TIMEOUT)
    with monkeypatch.context() as patch:
        for module in (executors, bridge_executor):
            patch.setattr(module, 'NumberOfEntities', counted)
        for number in range(MESSAGES):
            got.clear()
            publisher.publish(Int32(data=number))
            assert got.wait(TIMEOUT)
    executor.shutdown()
    thread.join(TIMEOUT)
    assert not thread.is_alive()
    return len(collections) / MESSAGES


def test_a_message_does_not_have_everything_collected_anew(node, monkeypatch):
    # Looks at status events, which are due after a time, collect all, too.
    monkeypatch.setattr(bridge_executor, 'LOOK_ROUND_S', math.inf)
    assert collections_per_message(Executor(), node, monkeypatch) < 0.3


def test_rclpys_own_collects_for_each_message(node, monkeypatch):
    # What ours is there for: if this fails, it has become needless.
    assert collections_per_message(SingleThreadedExecutor(), node, monkeypatch) > 0.9


def test_messages_that_wait_are_taken_at_once_and_in_order(node):
    got, publisher, executor = counting_reader(node)
    for number in range(5):
        publisher.publish(Int32(data=number))
    until(lambda: executor.spin_once(0.1) or got)
    assert got == list(range(5))
    executor.shutdown()


def test_messages_after_one_that_came_are_left_to_come_together(node, monkeypatch):
    got, publisher, executor = counting_reader(node)
    executor.gather = 0.5
    slept = []

    def sleep(seconds):
        slept.append((seconds, list(got)))
        for number in range(1, 4):
            publisher.publish(Int32(data=number))

    with monkeypatch.context() as patch:
        patch.setattr('furl_ros.bridge.executor.time.sleep', sleep)
        publisher.publish(Int32(data=0))
        until(lambda: executor.spin_once(0) or got)
    # The first one was handed on before.
    assert slept == [(0.5, [0])]
    executor.gather = 0.0
    while len(got) < 4:
        before = len(got)
        executor.spin_once(TIMEOUT)
        assert len(got) in (before, 4)
    executor.shutdown()


def test_with_another_rclpy_all_is_left_to_it(node, monkeypatch):
    executor = Executor()
    monkeypatch.setattr(executor, '_short', False)
    monkeypatch.setattr(executor, '_do_others', None)
    got = threading.Event()
    node.create_subscription(Int32, 'other', lambda _: got.set(), 10)
    publisher = node.create_publisher(Int32, 'other', 10)
    executor.add_node(node)
    thread = spin(executor)
    while not got.wait(0.1):
        publisher.publish(Int32())
    executor.shutdown()
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def test_a_flood_does_not_hold_up_timers(node, executor):
    publisher = node.create_publisher(Int32, 'flood', 10)
    # Each message calls for the next.
    node.create_subscription(Int32, 'flood', publisher.publish, 10)
    ticks = []
    node.create_timer(0.01, lambda: ticks.append(1))
    until(lambda: publisher.get_subscription_count() == 1)
    publisher.publish(Int32())
    until(lambda: len(ticks) > 20)


def test_other_threads_wake_it(node, executor):
    for _ in range(20):
        done = threading.Event()
        executor.create_task(done.set)
        assert done.wait(TIMEOUT)
    # Made while it waits: it must look again to see them.
    got = threading.Event()
    reader = node.create_subscription(Int32, 'woken', lambda _: got.set(), 10)
    publisher = node.create_publisher(Int32, 'woken', 10)
    while not got.wait(0.1):
        publisher.publish(Int32())
    node.destroy_subscription(reader)
    until(lambda: publisher.get_subscription_count() == 0)


def test_what_a_callback_starts_is_run_without_being_woken(executor):
    done = threading.Event()
    left = [20]

    def go_on():
        left[0] -= 1
        if left[0]:
            executor.create_task(go_on)
        else:
            done.set()

    executor.create_task(go_on)
    assert done.wait(TIMEOUT)


def test_coroutines_may_await_as_callbacks_and_hold_up_only_their_group(node, executor):
    future, started, done = Future(executor=executor), threading.Event(), threading.Event()
    held, others = [], []

    async def slow(_):
        started.set()
        await future
        done.set()

    group = MutuallyExclusiveCallbackGroup()
    node.create_subscription(Int32, 'slow', slow, 10, callback_group=group)
    node.create_subscription(Int32, 'held', held.append, 10, callback_group=group)
    node.create_subscription(Int32, 'other', others.append, 10)
    slow_one, held_one, other = (
        node.create_publisher(Int32, name, 10) for name in ('slow', 'held', 'other')
    )
    for publisher in (slow_one, held_one, other):
        until(lambda publisher=publisher: publisher.get_subscription_count() == 1)
    slow_one.publish(Int32())
    assert started.wait(TIMEOUT)
    held_one.publish(Int32())
    other.publish(Int32())
    until(lambda: others)
    assert not held
    assert not done.is_set()
    future.set_result(None)
    executor.wake()
    assert done.wait(TIMEOUT)
    until(lambda: held)


def test_guard_conditions_and_status_events_are_served(node, executor):
    triggered, unfit = threading.Event(), threading.Event()
    guard = node.create_guard_condition(triggered.set)
    guard.trigger()
    assert triggered.wait(TIMEOUT)
    node.create_publisher(Int32, 'unfit', 10)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    events = SubscriptionEventCallbacks(incompatible_qos=lambda _: unfit.set())
    node.create_subscription(Int32, 'unfit', lambda _: None, latched, event_callbacks=events)
    # Something else must go on: status events are only looked at then.
    node.create_timer(0.1, lambda: None)
    assert unfit.wait(TIMEOUT)


def test_a_client_of_an_action_has_feedback_and_result(node, executor):
    told, results = [], []

    def execute(handle):
        handle.publish_feedback(Train.Feedback(status=TrainingStatus(detail='half')))
        handle.succeed()
        return Train.Result(total_steps=handle.request.total_steps)

    ActionServer(node, Train, 'act', execute, callback_group=ReentrantCallbackGroup())
    client = ActionClient(node, Train, 'act')
    until(client.server_is_ready)

    def on_accepted(sent):
        done = sent.result().get_result_async()
        done.add_done_callback(lambda done: results.append(done.result().result))

    def ask():
        goal = Train.Goal(total_steps=7)
        sent = client.send_goal_async(goal, lambda m: told.append(m.feedback.status.detail))
        sent.add_done_callback(on_accepted)

    executor.create_task(ask)
    executor.wake()
    until(lambda: results and told)
    assert results[0].total_steps == 7
    assert told == ['half']


def test_what_a_callback_raises_ends_the_spinning(node):
    def fail(_):
        raise RuntimeError('broken')

    node.create_subscription(Int32, 'broken', fail, 10)
    publisher = node.create_publisher(Int32, 'broken', 10)
    executor = Executor()
    executor.add_node(node)
    until(lambda: publisher.get_subscription_count() == 1)
    publisher.publish(Int32())
    with pytest.raises(RuntimeError, match='broken'):
        executor.spin()
    executor.shutdown()


def test_it_is_stopped_while_it_looks_for_work(node, monkeypatch):
    """What it looks at stays until it has returned; shutdown alone took it away at times."""
    executor = Executor()
    executor.add_node(node)
    looking, go_on, errors = threading.Event(), threading.Event(), []
    look = executor._wait_for_ready_callbacks

    def look_slowly(*arguments):
        looking.set()
        assert go_on.wait(TIMEOUT)
        return look(*arguments)

    monkeypatch.setattr(executor, '_wait_for_ready_callbacks', look_slowly)
    monkeypatch.setattr(bridge_executor, 'LOOK_ROUND_S', 0.0)

    def run():
        try:
            executor.spin()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    executor.wake()
    assert looking.wait(TIMEOUT)
    executor.stop()
    go_on.set()
    thread.join(TIMEOUT)
    assert not thread.is_alive()
    executor.shutdown()
    assert not errors
