# SPDX-License-Identifier: Apache-2.0
"""The observation vector: names in any order, nothing stale, nothing that is no number."""

import math
import random
from types import SimpleNamespace as Message

import numpy as np
import pytest
from arm_support import POSE, robot
from hypothesis import given
from hypothesis import strategies as st

from furl_ros.core.arm.profile import LAST_ACTION
from furl_ros.core.arm.sensing import FieldError, Layout, read_fields

FORCE = {
    'topic': 'force',
    'type': 'geometry_msgs/msg/WrenchStamped',
    'fields': 'wrench.force.z',
    'offset': -10,
    'scale': 20,
    'stale_s': 0.1,
}
ARM = robot({'observation.force': FORCE, 'observation.acted': {'type': LAST_ACTION}})
JOINTS = ARM.observation['joints']


def source(**changes):
    """One source, checked."""
    values = {'topic': 'a', 'type': 'std_msgs/msg/Float64MultiArray', **changes}
    return robot({'observation.one': values}).observation['one']


def joint_state(**positions):
    return Message(name=list(positions), position=list(positions.values()), velocity=[])


def filled(now=0.0):
    """A layout that everything has come to."""
    layout = Layout(ARM.observation)
    assert layout.put('joints', [1, 2, 3], now) == ''
    assert layout.put('force', [30], now) == ''
    return layout


@given(seed=st.integers(0, 10**6))
def test_joints_come_in_any_order_and_with_others(seed):
    pairs = [('pan', 1.0), ('lift', 2.0), ('elbow', 3.0), ('other', 4.0)]
    random.Random(seed).shuffle(pairs)
    np.testing.assert_array_equal(read_fields(JOINTS, joint_state(**dict(pairs))), [1, 2, 3])


def test_nested_fields_indices_and_whole_arrays():
    message = Message(pose=Message(position=Message(x=1.0, y=2.0, z=3.0)), data=[4.0, 5.0])
    np.testing.assert_array_equal(read_fields(source(**POSE), message), [1, 2, 3])
    fields = ['data[1]', 'pose.position.x']
    np.testing.assert_array_equal(read_fields(source(fields=fields), message), [5, 1])
    np.testing.assert_array_equal(read_fields(source(fields='data', size=2), message), [4, 5])
    on = Message(data=True)
    np.testing.assert_array_equal(read_fields(source(fields='data'), on), [1])


@pytest.mark.parametrize(
    ('fields', 'message', 'text'),
    [
        ('position[pan]', joint_state(lift=1.0), "there is no 'pan'; there are: lift"),
        (
            'velocity[lift]',
            joint_state(lift=1.0),
            r'velocity\[lift\]: it has 0 values, no number 0',
        ),
        ('data[pan]', Message(data=[1.0]), "there is no 'pan'; there are: no names"),
        ('data[3]', Message(data=[1.0]), 'it has 1 values, no number 3'),
        ('data[0]', Message(data=1.0), 'it has 0 values, no number 0'),
        ('pose.x', Message(pose=Message(z=1.0)), "pose.x: SimpleNamespace has no field 'x'"),
        ('pose', Message(pose=Message(z=1.0)), 'pose is a SimpleNamespace; accepted: a number'),
        ('data', Message(data='1.5'), "data is '1.5'; accepted: a number"),
        ('data', Message(data=[1.0, 2.0]), 'data: 2 values; accepted: 1'),
        ('data', Message(data=[]), 'data: 0 values; accepted: 1'),
    ],
)
def test_what_a_message_has_not_is_named(fields, message, text):
    with pytest.raises(FieldError, match=text):
        read_fields(source(fields=fields), message)


def test_the_vector_is_normalised_and_in_the_order_of_the_profile():
    reading = filled().read(0.0)
    assert (reading.missing, reading.stale) == ((), ())
    assert reading.values.dtype == np.float32
    np.testing.assert_array_equal(reading.values, [1, 2, 3, 2, 0, 0, 0])
    assert filled().size == 7


def test_units_become_si():
    layout = Layout({'one': source(fields=['data[0]'], unit='deg', offset=math.pi)})
    layout.put('one', [180], 0.0)
    np.testing.assert_allclose(layout.read(0.0).values, [0], atol=1e-7)


def test_what_never_came_is_missing():
    layout = Layout(ARM.observation)
    assert layout.read(0.0) == (None, ('joints', 'force'), ())
    assert layout.get('force', 0.0) is None


def test_what_is_too_old_is_stale():
    layout = filled()
    assert layout.read(0.1).values is not None
    assert layout.read(0.2) == (None, (), ('force',))
    assert layout.get('force', 0.2) is None
    assert layout.read(1.0) == (None, (), ('joints', 'force'))
    assert layout.read(math.nan) == (None, (), ('joints', 'force'))
    assert layout.read(-1.0) == (None, (), ('joints', 'force'))


def test_the_last_action_is_a_source_that_is_never_stale():
    layout = filled()
    layout.acted([0.5, -0.5, 1])
    np.testing.assert_array_equal(layout.read(0.0).values[-3:], [0.5, -0.5, 1])
    layout.restart()
    np.testing.assert_array_equal(layout.read(0.0).values[-3:], [0, 0, 0])


@pytest.mark.parametrize('bad', [math.nan, math.inf, 1e39, -1e308])
def test_what_is_not_finite_is_refused_and_counted(bad):
    layout = filled()
    assert layout.put('joints', [0, bad, 0], 0.3) == 'not finite'
    np.testing.assert_array_equal(layout.get('joints', 0.3), [1, 2, 3])
    assert layout.counts == {'joints: not finite': 1}


def test_another_size_is_refused_and_counted():
    layout = filled()
    assert layout.put('force', [1, 2], 0.0) == '2 values; accepted: 1'
    assert layout.counts == {'force: wrong size': 1}
