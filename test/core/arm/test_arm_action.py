# SPDX-License-Identifier: Apache-2.0
"""From an action to a command and back."""

import math

import numpy as np
import pytest
from arm_support import GRIPPER, TWIST, robot
from hypothesis import given
from hypothesis import strategies as st

from furl_ros.core.arm.action import ActionMap

HERE = np.array([0.5, -0.25, 1.0])
VELOCITIES = {'command.kind': 'joint_velocities', 'command.scale': [0.5, 1.0, 2.0]}
ROBOTS = {
    'positions': robot(),
    'velocities': robot(VELOCITIES),
    'twist': robot({'command': TWIST}),
    'gripper': robot({'gripper': GRIPPER}),
    'gripper first': robot({**VELOCITIES, 'gripper': {**GRIPPER, 'dimension': 0}}),
}


def test_steps_are_added_to_the_reference():
    command = ActionMap(ROBOTS['positions']).command([1, -0.5, 0], HERE)
    np.testing.assert_allclose(command.values, [0.54, -0.27, 1.0])
    assert command.gripper is None


def test_velocities_are_not():
    command = ActionMap(ROBOTS['velocities']).command([1, -0.5, 0.5], HERE)
    np.testing.assert_allclose(command.values, [0.5, -0.5, 1.0])


def test_a_twist_in_the_units_of_its_receiver():
    changes = {**TWIST, 'axes': ['z', 'yaw'], 'scale': [0.2, 0.4], 'twist_units': [0.4, 0.8]}
    actions = ActionMap(robot({'command': changes}))
    command = actions.command([1, -1], HERE)
    np.testing.assert_allclose(command.values, [0.2, -0.4])
    np.testing.assert_allclose(actions.twist(command), [0, 0, 0.5, 0, 0, -0.5])


@pytest.mark.parametrize(('name', 'place'), [('gripper', 3), ('gripper first', 0)])
def test_the_gripper_closes_at_one(name, place):
    actions = ActionMap(ROBOTS[name])
    action = np.full(4, 0.1)
    for value, gripper in ((-1, 0.08), (0, 0.04), (1, 0.0)):
        action[place] = value
        command = actions.command(action, HERE)
        assert command.gripper == pytest.approx(gripper)
        assert command.values.shape == (3,)
    left_alone = actions.carried_out(command._replace(gripper=None))
    assert left_alone[place] == 0


def test_what_lies_outside_is_clipped():
    actions = ActionMap(ROBOTS['positions'])
    inside, outside = actions.command([1, -1, 1], HERE), actions.command([9, -9, math.inf], HERE)
    np.testing.assert_array_equal(inside.values, outside.values)
    beyond = inside._replace(values=inside.values + 1)
    np.testing.assert_array_equal(actions.carried_out(beyond), [1, 1, 1])


def test_what_is_no_number_stays_none_for_the_limits():
    assert np.isnan(ActionMap(ROBOTS['positions']).command([0, math.nan, 0], HERE).values[1])


def test_another_size_is_refused():
    with pytest.raises(ValueError, match=r'an action of shape \(4,\); accepted: \(3,\)'):
        ActionMap(ROBOTS['positions']).command(np.zeros(4), HERE)


@given(data=st.data(), name=st.sampled_from(list(ROBOTS)))
def test_an_action_comes_back_as_it_was(data, name):
    actions = ActionMap(ROBOTS[name])
    number = st.floats(-1, 1, width=32)
    size = st.lists(number, min_size=actions.size, max_size=actions.size)
    action = np.array(data.draw(size), np.float32)
    reference = data.draw(st.lists(st.floats(-6, 6), min_size=3, max_size=3))
    back = actions.carried_out(actions.command(action, np.array(reference)))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, action, rtol=0, atol=np.finfo(np.float32).eps)
