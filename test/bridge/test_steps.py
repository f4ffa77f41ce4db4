# SPDX-License-Identifier: Apache-2.0
"""Observations, actions, spaces and cameras as messages."""

import numpy as np
import pytest

from furl_interfaces.msg import SourceInfo
from furl_ros.bridge.convert import to_ns
from furl_ros.bridge.join import NO_ACTION, Sensed
from furl_ros.bridge.steps import (
    from_observation,
    spaces_of,
    to_action,
    to_camera_info,
    to_observation,
)
from sim.renderer import CameraIntrinsics

STAMP = 1_790_000_000_123_456_789


def example(**changes):
    values = {
        'stamp': STAMP,
        'previous_stamp': STAMP - 12_500_000,
        'episode': 3,
        'step': 7,
        'state': np.array([0.1, -2, 3e-8], np.float32),
        'action': np.array([1, -0.5], np.float32),
        'task_reward': -1.0,
        'success': True,
        'terminated': False,
        'truncated': True,
        'evaluation': True,
        'asked_action': np.array([1, -1], np.float32),
    }
    return Sensed(**values | changes)


def same(one, other):
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize(
    'sensed',
    [
        example(),
        example(
            step=0,
            previous_stamp=STAMP,
            action=NO_ACTION,
            asked_action=NO_ACTION,
            truncated=False,
        ),
        example(asked_action=NO_ACTION),
        example(success=False, terminated=True, truncated=False, task_reward=0.25),
        example(state=np.arange(6, dtype=np.float64)[::2]),
    ],
)
def test_an_observation_comes_back(sensed):
    message = to_observation(sensed, 'world', seed=2**31 - 1)
    assert message.header.frame_id == 'world'
    assert message.seed == 2**31 - 1
    back = from_observation(message, 3, 2)
    same(back, sensed)
    assert back.state.dtype == back.action.dtype == np.float32
    assert back.last == (sensed.terminated or sensed.truncated)


def test_sizes_are_only_checked_where_they_are_known():
    same(from_observation(to_observation(example(), 'world', 0)), example())


@pytest.mark.parametrize(
    ('sensed', 'text'),
    [
        (example(state=np.zeros(2, np.float32)), 'state has 2 values; accepted: 3'),
        (example(action=np.zeros(3, np.float32)), 'action has 3 values; accepted: 2'),
        (example(action=np.zeros(0, np.float32)), 'action has 0 values; accepted: 2'),
        (example(step=0), 'action has 2 values'),
        (example(state=np.array([0, np.nan, 0], np.float32)), 'not finite'),
        (example(action=np.array([0, np.inf], np.float32)), 'not finite'),
        (example(asked_action=np.array([0, np.nan], np.float32)), 'not finite'),
        (example(asked_action=np.zeros(1, np.float32)), 'asked_action has 1 values; accepted: 2'),
        (example(task_reward=float('nan')), 'not finite'),
    ],
)
def test_a_bad_observation(sensed, text):
    with pytest.raises(ValueError, match=text):
        from_observation(to_observation(sensed, 'world', 0), 3, 2)


@pytest.mark.parametrize('which', ['header', 'previous'])
def test_a_stamp_that_no_answer_could_repeat(which):
    """The action is found by its stamp, in which 1e9 nanoseconds are a second."""
    message = to_observation(example(), 'world', 0)
    stamp = message.header.stamp if which == 'header' else message.previous_stamp
    stamp.sec, stamp.nanosec = 2**31 - 1, 10**9
    with pytest.raises(ValueError, match='has 1000000000 nanoseconds; accepted: less than 1000'):
        from_observation(message, 3, 2)


def test_an_action_answers_a_stamp():
    message = to_action(STAMP, np.array([0.5, -1]), 'vlm')
    assert to_ns(message.header.stamp) == STAMP
    assert list(message.action) == [0.5, -1.0]
    assert message.agent == 'vlm'


def info(size=39, low=(-1.0, 0.0), high=(1.0, 5.0)):
    return SourceInfo(state_size=size, action_low=list(low), action_high=list(high))


def test_spaces():
    states, actions = spaces_of(info())
    assert states.shape == (39,)
    assert states.dtype == actions.dtype == np.float32
    assert not states.is_bounded('below')
    assert actions.low.tolist() == [-1, 0]
    assert actions.high.tolist() == [1, 5]


@pytest.mark.parametrize(
    'bad',
    [
        info(size=0),
        info(low=(), high=()),
        info(low=(0.0,), high=(1.0, 1.0)),
        info(low=(0.0, 1.0), high=(1.0, 1.0)),
        info(low=(float('-inf'),), high=(1.0,)),
        info(low=(float('nan'),), high=(1.0,)),
    ],
)
def test_spaces_that_nobody_can_act_in(bad):
    with pytest.raises(ValueError, match='accepted: '):
        spaces_of(bad)


@pytest.mark.parametrize('size', [0, 100_001, 2**32 - 1])
def test_a_state_of_no_or_too_many_values(size):
    with pytest.raises(ValueError, match=f'state_size is {size}; accepted: 1 to 100000'):
        spaces_of(info(size=size))
    assert spaces_of(info(size=100_000))[0].shape == (100_000,)


def test_bounds_are_told_in_short():
    many = [0.0] * 10_000
    with pytest.raises(ValueError, match='accepted: equally many, low < high') as error:
        spaces_of(info(low=many, high=many))
    assert len(str(error.value)) < 300


def test_camera_info():
    message = to_camera_info(CameraIntrinsics(112, 96, 100.5, 101.5, 55.5, 47.5), STAMP, 'camera')
    assert (message.width, message.height) == (112, 96)
    assert to_ns(message.header.stamp) == STAMP
    assert message.header.frame_id == 'camera'
    point = np.array([0.2, -0.1, 2.0])
    expected = [100.5 * 0.1 + 55.5, 101.5 * -0.05 + 47.5]
    for matrix in (message.k.reshape(3, 3), message.p.reshape(3, 4)[:, :3]):
        u, v, w = matrix @ point
        np.testing.assert_allclose([u / w, v / w], expected)
    assert message.r.reshape(3, 3).tolist() == np.eye(3).tolist()
    assert not any(message.d)
