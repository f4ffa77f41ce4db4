# SPDX-License-Identifier: Apache-2.0
"""A robot as data: what is read, and what people are told when it cannot be."""

import dataclasses
import math
import re

import pytest
from arm_support import BOX, GRIPPER, JOINTS, POSE, TWIST, mapping, robot

from furl_ros.core.arm import profile as profiles
from furl_ros.core.arm.profile import LAST_ACTION
from furl_ros.core.arm.profile_reading import read_profile
from furl_ros.core.settings import SettingError, accepted, check


def test_every_setting_has_an_accepted_default_and_a_sentence():
    kinds = [kind for kind in vars(profiles).values() if dataclasses.is_dataclass(kind)]
    assert len(kinds) == 11
    for kind in kinds:
        check(kind())
        for field in dataclasses.fields(kind):
            assert field.metadata['doc'].endswith('.'), field.name
            if float in (type(field.default), field.metadata.get('item')):
                assert accepted(field), f'{field.name}: the text for NaN would name no values'


def test_one_value_stands_for_all_joints():
    arm = robot()
    assert arm.joints.max_velocity == (1.0, 1.0, 1.0)
    assert arm.joints.margin == (0.1, 0.1, 0.1)
    assert arm.command.scale == (0.04, 0.04, 0.04)
    assert arm.action_size == arm.command_size == 3


def test_degrees_become_radians():
    arm = robot(
        {
            'joints.unit': ['deg', 'rad', 'm'],
            'joints.lower': [-180, -2, 0],
            'joints.upper': [180, 1, 3],
            'joints.margin': [9, 0.1, 0.01],
            'command.scale': [3, 0.1, 0.01],
            'episode.reset': {'kinds': 'trajectory', 'positions': [90, 0, 1]},
            'episode.reset.trajectory_topic': 'move',
        }
    )
    assert arm.joints.unit == ('rad', 'rad', 'm')
    assert arm.joints.upper == pytest.approx((math.pi, 1, 3))
    assert arm.joints.margin == pytest.approx((math.pi / 20, 0.1, 0.01))
    assert arm.command.scale == pytest.approx((math.pi / 60, 0.1, 0.01))
    assert arm.episode.reset.positions == pytest.approx((math.pi / 2, 0, 1))


def test_all_joints_are_spelled_out():
    assert robot().observation['joints'].fields == tuple(f'position[{name}]' for name in JOINTS)
    assert robot().observation['joints'].size == 3


def test_a_twist_has_dimensions_of_its_own():
    arm = robot({'command': {**TWIST, 'axes': ['x', 'z'], 'scale': [0.1, 0.2]}, 'workspace': BOX})
    assert arm.command_size == 2
    assert arm.command.max_step == (0.1, 0.1)
    assert arm.joints.max_velocity == (1.0,) * 3


def test_the_gripper_is_a_dimension_more():
    arm = robot({'gripper': GRIPPER, 'observation.acted': {'type': LAST_ACTION}})
    assert arm.action_size == 4
    assert arm.observation['acted'].size == 4


def test_where_the_state_comes_from():
    assert list(robot().state_sources()) == ['position']
    assert robot().state_sources()['position'].size == len(JOINTS)
    sources = robot({'workspace': BOX}).state_sources()
    assert list(sources) == ['position', 'tool']
    assert sources['tool'].size == 3


def test_what_is_watched():
    watched = robot(
        {
            'observation.acted': {'type': LAST_ACTION},
            'cameras.front': {'topic': 'front/image'},
            'watchdogs': {'nodes': ['reward_node'], 'action_s': 0},
        }
    ).watched()
    assert watched == {
        'joint positions': 0.2,
        'observation joints': 0.5,
        'camera front': 1.0,
        'node reward_node': 5.0,
    }


def test_which_cameras_are_used():
    front, side = {'topic': 'front'}, {'topic': 'side'}
    assert robot().used_cameras == ()
    assert robot({'cameras.front': front}).used_cameras == ('front',)
    both = {'cameras': {'front': front, 'side': side}}
    assert robot({**both, 'use_camera': 'side'}).used_cameras == ('side',)
    assert robot({**both, 'use_camera': 'mean'}).used_cameras == ('front', 'side')


TRAJECTORY = {'kinds': ['trajectory'], 'trajectory_topic': 'move'}


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'control_rate': 0}, 'control_rate is 0; accepted: 1 to 1000'),
        ({'joints.name': []}, "there is no setting 'joints.name'; accepted: names, topic"),
        ({'joints.names': []}, 'joints.names is []; accepted: one name or more, each once'),
        ({'joints.names': ['a', 'a']}, "joints.names is ['a', 'a']; accepted: one name or more"),
        ({'joints.lower': [0, 1]}, 'joints.lower has 2 values; accepted: 1 value, or 3 (one per'),
        ({'joints.lower': []}, 'joints.lower has 0 values; accepted: 1 value, or 3 (one per joint'),
        ({'joints.max_velocity': [1, 0, 1]}, 'joints.max_velocity is 0; accepted: 1e-06 to'),
        ({'joints.max_velocity': math.nan}, 'joints.max_velocity is nan; accepted: 1e-06 to'),
        ({'joints.upper': [2, -3, 3]}, 'joints.lower, joints.upper of lift are -2, -3'),
        ({'joints.margin': 2}, 'of pan are -2, 2 with a margin of 2; accepted: lower + margin'),
        ({'joints.upper': 180}, 'of pan are -2, 180 rad; accepted: at most 12.6 from zero (for'),
        ({'joints.unit': 'grad'}, "joints.unit is 'grad'; accepted: rad, deg, m"),
        ({'joints.topic': ''}, "joints.topic is ''; accepted: the topic of joint states"),
        ({'command': None}, 'command is None; accepted: a mapping of kind, topic, scale'),
        ({'command.kind': 'torque'}, "command.kind is 'torque'; accepted: joint_trajectory, joint"),
        ({'command.topic': ''}, "command.topic is ''; accepted: the topic that takes joint_positi"),
        ({'command.scale': []}, 'command.scale has 0 values; accepted: 1 value, or 3 (one per'),
        ({'command.controller_timeout_s': 0.05}, '0.05; accepted: 0, or more than a control perio'),
        ({'command.twist_units': [1]}, 'command.twist_units is [1.0]; accepted: two values'),
        ({'command': {**TWIST, 'frame_id': ''}}, "command.frame_id is ''; accepted: the frame"),
        ({'command': {**TWIST, 'axes': ['x', 'x']}}, "command.axes is ['x', 'x']; accepted: some"),
        ({'command': {**TWIST, 'axes': []}}, 'command.axes is []; accepted: some of x, y, z'),
        ({'command': {**TWIST, 'scale': [1, 2]}}, 'command.scale has 2 values; accepted: 1 value,'),
        ({'gripper.kind': 'float_array'}, "gripper.topic is ''; accepted: what takes float_array"),
        ({'gripper': {**GRIPPER, 'kind': 'joint_trajectory'}}, "gripper.joint is ''; accepted: th"),
        ({'gripper': {**GRIPPER, 'closed': 0.08}}, 'gripper.closed is 0.08; accepted: another'),
        ({'gripper': {**GRIPPER, 'dimension': 4}}, 'gripper.dimension is 4; accepted: -1 to 3'),
        ({'observation': {}}, 'observation is empty; accepted: one source or more'),
        ({'observation.joints.topic': ''}, "observation.joints.topic is ''; accepted: a topic"),
        ({'observation.joints.type': 'JointState'}, "observation.joints.type is 'JointState'; acc"),
        ({'observation.joints.fields': []}, 'observation.joints.fields is []; accepted: one field'),
        ({'observation.joints.fields': 'a..b'}, "observation.joints.fields is 'a..b'; accepted: a"),
        ({'observation.joints.fields': 'a[0'}, "observation.joints.fields is 'a[0'; accepted: a"),
        ({'observation.joints.scale': 0}, 'observation.joints.scale is 0; accepted: 1e-09 to'),
        ({'observation.joints.scale': [1, 2]}, 'observation.joints.scale has 2 values; accepted:'),
        ({'observation.joints.unit': 'inch'}, "observation.joints.unit is 'inch'; accepted: , rad"),
        ({'observation.joints.type': 'last_action'}, 'accepted: last_action without a topic and'),
        ({'workspace': {**BOX, 'low': [0, 0]}}, 'workspace.low, workspace.high is [0.0, 0.0, 0.5'),
        ({'workspace': {**BOX, 'low': [0, 0, 1]}}, 'workspace.low is [0.0, 0.0, 1.0]; accepted: v'),
        ({'workspace': {**BOX, 'frame': ''}}, "workspace.frame is ''; accepted: the frame of the"),
        ({'workspace': {**BOX, 'pose': {}}}, "workspace.pose.topic is ''; accepted: a topic"),
        ({'workspace': {**BOX, 'pose': {**POSE, 'scale': 2}}}, 'workspace.pose.scale is [2.0, 2.0'),
        (
            {'workspace': {**BOX, 'pose': {**POSE, 'fields': 'pose.position.x'}}},
            "workspace.pose.fields is ['pose.position.x']; accepted: three values",
        ),
        (
            {'workspace': BOX, 'command': {**TWIST, 'frame_id': 'tool0'}},
            "workspace.frame is 'base'; accepted: that of the twist, 'tool0'",
        ),
        ({'episode.time_limit_s': 0}, 'episode.time_limit_s is 0; accepted: 0.1 to 86400'),
        ({'episode.reset.kinds': []}, 'episode.reset.kinds is []; accepted: some of service, traj'),
        ({'episode.reset.kinds': 'home'}, "episode.reset.kinds is 'home'; accepted: service, traj"),
        ({'episode.reset.kinds': 'service'}, "episode.reset.service is ''; accepted: the service"),
        ({'episode.reset': TRAJECTORY}, 'episode.reset.positions has 0 values; accepted: 3 (one'),
        (
            {'episode.reset': {**TRAJECTORY, 'positions': [0, 2, 0]}},
            'episode.reset.positions has 2 for lift; accepted: -2 to 1',
        ),
        (
            {'episode.reset': {'kinds': ['trajectory'], 'positions': [0, 0, 1]}},
            "episode.reset.trajectory_topic is ''; accepted: a topic that takes trajectories",
        ),
        ({'cameras.front': {}}, "cameras.front.topic is ''; accepted: a topic"),
        ({'cameras.mean': {'topic': 'a'}}, "cameras is 'mean'; accepted: names that do not mean"),
        ({'cameras.a': {'topic': 'a', 'rotate': 45}}, 'cameras.a.rotate is 45; accepted: 0, 90, 1'),
        ({'cameras.a': {'topic': 'a', 'roi': [1, 2]}}, 'cameras.a.roi is [1, 2]; accepted: x, y,'),
        ({'cameras.a': {'topic': 'a', 'roi': [1.5]}}, 'cameras.a.roi is 1.5; accepted: a value of'),
        ({'use_camera': 'front'}, "use_camera is 'front'; accepted: ''"),
        ({'cameras': {'a': {'topic': 'a'}, 'b': {'topic': 'b'}}}, "use_camera is ''; accepted: a,"),
        ({'watchdogs.loop_s': 0}, 'watchdogs.loop_s is 0; accepted: 0.01 to 60'),
    ],
)
def test_what_is_not_accepted_is_told_in_one_line(changes, text):
    with pytest.raises(SettingError, match=re.escape(text)) as caught:
        read_profile(mapping(changes))
    assert '\n' not in str(caught.value)


def test_what_is_no_mapping():
    with pytest.raises(SettingError, match='what was read is None; accepted: a mapping of name'):
        read_profile(None)
