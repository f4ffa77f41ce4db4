# SPDX-License-Identifier: Apache-2.0
"""Robots of the arm's tests."""

import copy
from typing import Any

from furl_ros.core.arm.profile import Profile
from furl_ros.core.arm.profile_reading import read_profile

JOINTS = ('pan', 'lift', 'elbow')
ARM: dict[str, Any] = {
    'control_rate': 20,
    'joints': {
        'names': list(JOINTS),
        'lower': [-2, -2, 0],
        'upper': [2, 1, 3],
        'margin': 0.1,
        'max_velocity': 1.0,
        'max_acceleration': 4.0,
    },
    'command': {
        'kind': 'joint_positions',
        'topic': 'controller/commands',
        'scale': 0.04,
        'max_step': 0.2,
    },
    'observation': {
        'joints': {
            'topic': 'joint_states',
            'type': 'sensor_msgs/msg/JointState',
            'fields': 'position[*]',
        },
    },
}
POSE = {
    'topic': 'tool_pose',
    'type': 'geometry_msgs/msg/PoseStamped',
    'fields': ['pose.position.x', 'pose.position.y', 'pose.position.z'],
}
BOX = {'frame': 'base', 'low': [-0.5, -0.5, 0], 'high': [0.5, 0.5, 1], 'margin': 0.1, 'pose': POSE}
TWIST = {
    'kind': 'twist',
    'topic': 'servo/delta_twist_cmds',
    'frame_id': 'base',
    'scale': 0.25,
    'max_step': 0.1,
}
GRIPPER = {'kind': 'float_array', 'topic': 'gripper/commands', 'open': 0.08, 'closed': 0.0}


def mapping(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """A robot's mapping; ``changes`` has new values by dotted key."""
    values = copy.deepcopy(ARM)
    for key, value in (changes or {}).items():
        *path, last = key.split('.')
        place = values
        for name in path:
            place = place.setdefault(name, {})
        place[last] = value
    return values


def robot(changes: dict[str, Any] | None = None) -> Profile:
    """A robot with three joints."""
    return read_profile(mapping(changes))
