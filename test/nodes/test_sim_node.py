# SPDX-License-Identifier: Apache-2.0
"""The simulation node alone."""

import contextlib
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from graph_support import RECORDER, hosted
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import SetParameters
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from visualization_msgs.msg import Marker

from furl_interfaces.msg import Action, Observation, SourceInfo
from furl_interfaces.srv import Reset
from furl_ros.bridge.convert import from_image_msg, to_ns
from furl_ros.bridge.qos import EVENTS, LATCHED, LOCKSTEP, VIEWS
from furl_ros.bridge.steps import to_action
from furl_ros.nodes import sim_node
from sim.config import SimConfig
from sim.envs import make
from sim.oracle import goal_image

TASK, HORIZON, SIZE = 'drawer-close-v3', 20, 64


class Robot:
    """A running sim_node, and what it has said."""

    def __init__(self, probe, stream):
        self.probe = probe
        self.observations = probe.record(Observation, 'observation')
        self.images = probe.record(Image, 'camera/image_raw', stream)
        self.infos = probe.record(CameraInfo, 'camera/camera_info', stream)
        self.joints = probe.record(JointState, 'joint_states', EVENTS)
        self.clocks = probe.record(Clock, '/clock', EVENTS)
        self.sources = probe.record(SourceInfo, 'source_info', LATCHED)
        self.goals = probe.record(Image, 'goal_image', LATCHED)
        self.markers = probe.record(Marker, 'goal_marker', LATCHED)
        self.actions = probe.node.create_publisher(Action, 'action', LOCKSTEP)
        self.probe.wait(lambda: self.sources and self.actions.get_subscription_count())

    def reset(self, **fields):
        """Start an episode; returns its first observation."""
        answer = self.probe.call(Reset, 'reset', **fields)
        assert answer.error_code == Reset.Response.OK
        return self.observation(to_ns(answer.stamp))

    def observation(self, stamp):
        """Wait for the observation with this stamp."""
        found = []

        def look():
            found[:] = [o for o in self.observations if to_ns(o.header.stamp) == stamp]
            return found

        self.probe.wait(look, f'the observation of {stamp}')
        assert len(found) == 1
        return found[0]

    def act(self, observation, action):
        """Answer an observation; returns the one after it."""
        count = len(self.observations)
        self.send(to_ns(observation.header.stamp), action)
        self.probe.wait(lambda: len(self.observations) > count, 'the next observation')
        return self.observations[count]

    def send(self, stamp, action):
        self.actions.publish(to_action(stamp, np.asarray(action, np.float32), 'test'))


@contextlib.contextmanager
def robot(stream=RECORDER, **parameters):
    parameters = {'task': TASK, 'width': SIZE, 'height': SIZE} | parameters
    with hosted('sim_node', **parameters) as probe:
        yield Robot(probe, stream)


@pytest.fixture(scope='module')
def lockstep():
    with robot(horizon=HORIZON, publish_goal_image=True, start_time=1.0) as lockstep:
        yield lockstep


@pytest.fixture(scope='module')
def expected():
    """The same environment without ROS."""
    env = make(SimConfig(task=TASK, width=SIZE, height=SIZE, horizon=HORIZON))
    yield env
    env.close()


@pytest.fixture(scope='module')
def episode(lockstep):
    """The observations of one episode with known actions, and these."""
    generator = np.random.default_rng(5)
    actions = generator.uniform(-1.5, 1.5, (HORIZON, 4)).astype(np.float32)
    observations = [lockstep.reset(seed=11, use_seed=True)]
    for action in actions:
        observations.append(lockstep.act(observations[-1], action))
    for count in (lockstep.images, lockstep.infos, lockstep.joints):
        lockstep.probe.wait(
            lambda count=count: count and count[-1].header.stamp == observations[-1].header.stamp
        )
    return SimpleNamespace(observations=observations, actions=actions)


def test_it_tells_what_it_senses_and_accepts(lockstep, expected):
    info = lockstep.sources[0]
    assert (info.task, info.state_size, info.lockstep) == (TASK, 39, True)
    assert list(info.action_low) == [-1.0] * 4
    assert list(info.action_high) == [1.0] * 4
    assert info.control_period == pytest.approx(expected.control_period)


def test_the_reset_service_answers_with_the_stamp_of_the_first_observation(lockstep):
    first = lockstep.reset(seed=1, use_seed=True)
    assert first.step == 0
    assert first.seed == 1
    assert first.previous_stamp == first.header.stamp
    assert len(first.action) == 0
    assert not any((first.success, first.terminated, first.truncated))
    assert first.task_reward == 0.0
    second = lockstep.reset(use_seed=False, seed=77)
    assert second.episode == first.episode + 1
    assert second.seed != 77
    assert to_ns(second.header.stamp) > to_ns(first.header.stamp)


def test_an_episode_is_that_of_the_environment_without_ros(lockstep, episode, expected):
    steps = [expected.reset(11), *map(expected.step, episode.actions)]
    images = {to_ns(image.header.stamp): image for image in lockstep.images}
    assert [o.truncated for o in episode.observations] == [False] * HORIZON + [True]
    for number, (step, observation) in enumerate(zip(steps, episode.observations, strict=True)):
        assert (observation.step, observation.seed) == (number, 11)
        np.testing.assert_array_equal(observation.state, step.state)
        np.testing.assert_array_equal(observation.action, step.action)
        assert observation.task_reward == step.task_reward
        assert observation.success == step.success
        picture = from_image_msg(images[to_ns(observation.header.stamp)])
        np.testing.assert_array_equal(picture, step.frame)
    for before, after in itertools.pairwise(episode.observations):
        assert after.previous_stamp == before.header.stamp


def test_camera_joints_and_clock_carry_the_stamp_of_the_observation(lockstep, episode, expected):
    stamps = [o.header.stamp for o in episode.observations]
    for messages in (lockstep.infos, lockstep.joints, lockstep.images):
        assert [m.header.stamp for m in messages[-len(stamps) :]] == stamps
    assert [clock.clock for clock in lockstep.clocks[-len(stamps) :]] == stamps
    # Unique, and over resets, too.
    told = [to_ns(o.header.stamp) for o in lockstep.observations]
    assert told[0] == 1_000_000_000
    assert set(np.diff(told)) == {round(expected.control_period * 1e9)}
    info, true = lockstep.infos[-1], expected.intrinsics
    assert (info.width, info.height) == (SIZE, SIZE)
    assert (info.k[0], info.k[4], info.k[2], info.k[5]) == (true.fx, true.fy, true.cx, true.cy)
    assert info.header.frame_id == lockstep.images[-1].header.frame_id
    joints = lockstep.joints[-1]
    assert list(joints.name) == expected.joint_names
    assert len(joints.position) == len(joints.name)
    assert lockstep.markers[-1].pose.position.x == pytest.approx(expected.goal_position()[0])


def test_observations_say_what_their_episode_is_for(lockstep):
    for evaluation in (True, False):
        first = lockstep.reset(evaluation=evaluation)
        assert first.evaluation is evaluation
        assert lockstep.act(first, np.zeros(4)).evaluation is evaluation


def test_only_the_answer_to_the_newest_observation_is_carried_out(lockstep):
    first = lockstep.reset(seed=3, use_seed=True)
    second = lockstep.act(first, np.zeros(4))
    stamp = to_ns(second.header.stamp)
    count = len(lockstep.observations)
    lockstep.send(to_ns(first.header.stamp), np.ones(4))
    lockstep.send(stamp + 1, np.ones(4))
    lockstep.send(stamp, np.ones(3))
    lockstep.send(stamp, np.full(4, np.nan))
    lockstep.probe.wait_for_count('sim_node', 'actions for another observation', 2)
    lockstep.probe.wait_for_count('sim_node', 'bad actions', 2)
    assert len(lockstep.observations) == count
    third = lockstep.act(second, np.full(4, 0.5))
    assert third.step == 2
    assert list(third.action) == [0.5] * 4


def test_a_malformed_reset_changes_nothing(lockstep):
    first = lockstep.reset(seed=3, use_seed=True)
    for after in (Time(nanosec=10**9), Time(sec=2**31 - 1)):
        answer = lockstep.probe.call(Reset, 'reset', after=after)
        assert answer.error_code == Reset.Response.FAILED
        assert 'after is wrong: stamp has' in answer.error_msg
    second = lockstep.act(first, np.zeros(4))
    assert (second.episode, second.step) == (first.episode, 1)


def test_a_malformed_call_of_a_service_of_ros_is_counted(lockstep):
    value = ParameterValue(type=90)
    request = {'parameters': [ParameterMessage(name='horizon', value=value)]}
    answer = lockstep.probe.call(SetParameters, 'sim_node/set_parameters', **request)
    assert not answer.results
    lockstep.probe.wait_for_count('sim_node', 'failed calls')
    lockstep.reset(seed=3, use_seed=True)


def test_nothing_moves_after_the_end_of_an_episode(lockstep, episode):
    observation = lockstep.reset(seed=4, use_seed=True)
    while not observation.truncated:
        observation = lockstep.act(observation, np.zeros(4))
    refused = int(lockstep.probe.diagnostics['sim_node'].get('actions for another observation', 0))
    lockstep.send(to_ns(observation.header.stamp), np.zeros(4))
    lockstep.probe.wait_for_count('sim_node', 'actions for another observation', refused + 1)
    assert lockstep.observations[-1].step == HORIZON


def test_the_goal_image_is_latched(lockstep):
    expected = goal_image(SimConfig(task=TASK, width=SIZE, height=SIZE, horizon=HORIZON))
    np.testing.assert_array_equal(from_image_msg(lockstep.goals[0]), expected)


def test_a_task_without_a_scripted_policy_has_an_empty_goal_image():
    with robot(task='furl/StampCounter-v0', publish_goal_image=True) as counter:
        counter.probe.wait(lambda: counter.goals, 'the goal image')
        assert (counter.goals[0].width, counter.goals[0].height) == (0, 0)
        counter.reset()
        assert not counter.infos


def test_real_time_goes_on_at_its_rate_and_stops_moving_without_actions(monkeypatch, clock):
    monkeypatch.setattr(sim_node, 'time', clock)
    settings = {'task': 'furl/StampCounter-v0', 'horizon': 1_000_000}
    settings |= {'real_time': True, 'control_rate': 25.0, 'action_timeout': 0.4}
    with robot(stream=VIEWS, **settings) as arm:
        node = arm.probe.command.node
        assert not arm.sources[0].lockstep
        assert arm.sources[0].control_period == pytest.approx(1 / 25)
        assert 1e9 / 25 in [timer.timer_period_ns for timer in node.timers]
        first = arm.reset(seed=1, use_seed=True)
        action = np.array([0.5, -0.5, 0.25, 1.0], np.float32)
        arm.send(to_ns(first.header.stamp), action)

        def moves():
            return [list(o.action) == action.tolist() for o in arm.observations[1:]]

        arm.probe.wait(lambda: sum(moves()) > 5, 'movements')
        assert not node.counts
        clock.now += 100.0
        arm.probe.wait(lambda: node.counts['steps without a fresh action'] > 5, 'a stand')
        # Those that were due meanwhile, but for all that were made.
        steps = node.step
        assert node.counts['control steps missed'] >= 100 * 25 - steps
        arm.probe.wait(lambda: arm.observations[-1].step >= steps, 'the newest observation')
        observations = arm.observations[1 : 1 + steps]
        # Moving from when the action came until it was too old, and never again.
        changes = [one != other for one, other in itertools.pairwise([False, *moves()])]
        assert sum(changes) == 2
        assert not any(observations[-1].action)
        stamps = [to_ns(o.header.stamp) for o in observations]
        assert (np.diff(stamps) > 0).all()
        assert not arm.clocks
