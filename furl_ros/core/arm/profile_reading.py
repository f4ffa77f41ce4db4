# SPDX-License-Identifier: Apache-2.0
"""Reads a robot's profile, and says what in it cannot be."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from furl_ros.core.arm.profile import (
    ALL_CAMERAS,
    AXES,
    CALL_SERVICE,
    JOINT_TRAJECTORY,
    LAST_ACTION,
    MOVE,
    NO_GRIPPER,
    RESETS,
    TO_SI,
    TWIST,
    Profile,
    Source,
    Workspace,
)
from furl_ros.core.settings import SettingError, from_mapping

_MESSAGE_TYPE = re.compile(r'[a-z]\w*/msg/[A-Z]\w*')
_PATH = re.compile(r'[A-Za-z]\w*(\[[^\[\]]+\])?(\.[A-Za-z]\w*(\[[^\[\]]+\])?)*')
_FOR_EACH_JOINT = '[*]'
# No revolute joint goes further: limits beyond it were written in degrees.
_MOST_RADIANS = 4 * math.pi


def read_profile(values: Mapping[str, Any]) -> Profile:
    """Read and check the description of a robot.

    Args:
        values: nested mapping with the fields of ``Profile``; what is left out has its default.

    Raises:
        SettingError: names the key, its value and what is accepted.
    """
    profile = from_mapping(Profile, values)
    profile = _spread(profile)
    _check_joints(profile)
    _check_command(profile)
    _check_gripper(profile)
    sources = {}
    for name, source in profile.observation.items():
        sources[name] = _check_source(f'observation.{name}', source, profile)
    if not sources:
        raise SettingError('observation is empty; accepted: one source or more, by name')
    workspace = _check_workspace(profile)
    _check_reset(profile)
    use_camera = _check_cameras(profile)
    return dataclasses.replace(
        profile, observation=sources, workspace=workspace, use_camera=use_camera
    )


def _refuse(name: str, value: Any, accepted: str) -> None:
    raise SettingError(f'{name} is {value!r}; accepted: {accepted}')


def _each(name: str, values: Sequence, count: int, what: str) -> tuple:
    """One value for each: one alone stands for all."""
    if len(values) not in (1, count):
        accepted = 'a value' if count == 1 else f'1 value, or {count}'
        raise SettingError(f'{name} has {len(values)} values; accepted: {accepted} ({what})')
    return tuple(values) * (count if len(values) == 1 else 1)


def _spread(profile: Profile) -> Profile:
    """The profile with a value for each joint or dimension, in SI units."""
    joints, command, reset = profile.joints, profile.command, profile.episode.reset
    count = len(joints.names)
    if not count or len(set(joints.names)) != count or not all(joints.names):
        _refuse('joints.names', list(joints.names), 'one name or more, each once')
    units = _each('joints.unit', joints.unit, count, 'one per joint')
    factors = [TO_SI[unit] for unit in units]

    def per_joint(name: str, values: tuple) -> tuple[float, ...]:
        each = _each(name, values, count, 'one per joint')
        return tuple(value * factor for value, factor in zip(each, factors, strict=True))

    names = ('lower', 'upper', 'margin', 'max_velocity', 'max_acceleration')
    spread = {name: per_joint(f'joints.{name}', getattr(joints, name)) for name in names}
    joints = dataclasses.replace(
        joints, unit=tuple('rad' if unit == 'deg' else unit for unit in units), **spread
    )

    def per_dimension(name: str) -> tuple[float, ...]:
        values, label = getattr(command, name), f'command.{name}'
        if command.kind == TWIST:
            return _each(label, values, len(command.axes), 'one per axis')
        return per_joint(label, values)

    repeated = len(set(command.axes)) != len(command.axes)
    if command.kind == TWIST and (repeated or not command.axes):
        _refuse('command.axes', list(command.axes), f'some of {", ".join(AXES)}, each once')
    command = dataclasses.replace(
        command, scale=per_dimension('scale'), max_step=per_dimension('max_step')
    )
    positions = reset.positions
    if MOVE in reset.kinds:
        if len(positions) != count:
            raise SettingError(
                f'episode.reset.positions has {len(positions)} values; accepted: {count}'
                ' (one per joint)'
            )
        positions = per_joint('episode.reset.positions', positions)
    reset = dataclasses.replace(
        reset,
        positions=positions,
        tolerance=per_joint('episode.reset.tolerance', reset.tolerance),
    )
    episode = dataclasses.replace(profile.episode, reset=reset)
    return dataclasses.replace(profile, joints=joints, command=command, episode=episode)


def _check_joints(profile: Profile) -> None:
    joints = profile.joints
    if not joints.topic:
        _refuse('joints.topic', '', 'the topic of joint states')
    for index, name in enumerate(joints.names):
        low, high, margin = joints.lower[index], joints.upper[index], joints.margin[index]
        if joints.unit[index] == 'rad' and max(-low, high) > _MOST_RADIANS:
            raise SettingError(
                f'joints.lower, joints.upper of {name} are {low:g}, {high:g} rad; accepted: at most'
                f' {_MOST_RADIANS:.3g} from zero (for degrees: unit: deg)'
            )
        if not low + margin < high - margin:
            raise SettingError(
                f'joints.lower, joints.upper of {name} are {low:g}, {high:g} with a margin of'
                f' {margin:g}; accepted: lower + margin below upper - margin'
            )


def _check_command(profile: Profile) -> None:
    command, period = profile.command, 1 / profile.control_rate
    if not command.topic:
        _refuse('command.topic', '', f'the topic that takes {command.kind}')
    if command.kind == TWIST and not command.frame_id:
        _refuse('command.frame_id', '', 'the frame of the twist, such as base_link')
    if len(command.twist_units) != 2:
        _refuse('command.twist_units', list(command.twist_units), 'two values: m/s and rad/s')
    if 0 < command.controller_timeout_s <= period:
        _refuse(
            'command.controller_timeout_s',
            command.controller_timeout_s,
            f'0, or more than a control period ({period:g} s)',
        )


def _check_gripper(profile: Profile) -> None:
    gripper = profile.gripper
    if gripper.kind == NO_GRIPPER:
        return
    if not gripper.topic:
        _refuse('gripper.topic', '', f'what takes {gripper.kind}')
    if gripper.kind in (JOINT_TRAJECTORY, 'parallel_gripper_action') and not gripper.joint:
        _refuse('gripper.joint', '', f'the name of its joint, with {gripper.kind}')
    if gripper.open == gripper.closed:
        _refuse('gripper.closed', gripper.closed, 'another value than open')
    if gripper.dimension >= profile.action_size:
        _refuse('gripper.dimension', gripper.dimension, f'-1 to {profile.action_size - 1}')


def _check_source(name: str, source: Source, profile: Profile) -> Source:
    """The source with every field spelled out and an offset and a scale for each value."""
    if source.type == LAST_ACTION:
        if source.topic or source.fields:
            _refuse(f'{name}.type', LAST_ACTION, f'{LAST_ACTION} without a topic and fields')
        size, fields = profile.action_size, ()
    else:
        if not source.topic:
            _refuse(f'{name}.topic', '', 'a topic')
        if not _MESSAGE_TYPE.fullmatch(source.type):
            _refuse(f'{name}.type', source.type, f'pkg/msg/Type, or {LAST_ACTION}')
        fields = []
        for field in source.fields:
            if _FOR_EACH_JOINT in field:
                names = profile.joints.names
                fields += [field.replace(_FOR_EACH_JOINT, f'[{joint}]') for joint in names]
            else:
                fields.append(field)
        for field in fields:
            _check_path(f'{name}.fields', field)
        if not fields:
            _refuse(f'{name}.fields', [], 'one field or more, such as pose.position.x')
        size = source.size or len(fields)
    return dataclasses.replace(
        source,
        fields=tuple(fields),
        size=size,
        offset=_each(f'{name}.offset', source.offset, size, 'one per value'),
        scale=_each(f'{name}.scale', source.scale, size, 'one per value'),
    )


def _check_path(name: str, path: str) -> None:
    if not _PATH.fullmatch(path):
        _refuse(name, path, 'a field such as pose.position.x, data[0] or position[elbow_joint]')


def _check_workspace(profile: Profile) -> Workspace:
    box, command = profile.workspace, profile.command
    if not box.low and not box.high:
        return box
    if len(box.low) != 3 or len(box.high) != 3:
        _refuse('workspace.low, workspace.high', [*box.low, *box.high], 'x, y, z each')
    if any(low >= high for low, high in zip(box.low, box.high, strict=True)):
        _refuse('workspace.low', list(box.low), f'values below workspace.high {list(box.high)}')
    if not box.frame:
        _refuse('workspace.frame', '', 'the frame of the pose of the tool')
    if command.kind == TWIST and command.frame_id != box.frame:
        _refuse('workspace.frame', box.frame, f'that of the twist, {command.frame_id!r}')
    pose = _check_source('workspace.pose', box.pose, profile)
    if pose.size != 3:
        _refuse('workspace.pose.fields', list(pose.fields), 'three values: x, y, z')
    if set(pose.offset) != {0.0} or set(pose.scale) != {1.0}:
        _refuse('workspace.pose.scale', list(pose.scale), 'a pose as it is: offset 0, scale 1')
    return dataclasses.replace(box, pose=pose)


def _check_reset(profile: Profile) -> None:
    reset, joints = profile.episode.reset, profile.joints
    if not reset.kinds:
        _refuse('episode.reset.kinds', [], f'some of {", ".join(RESETS)}')
    if CALL_SERVICE in reset.kinds and not reset.service:
        _refuse('episode.reset.service', '', 'the service to call')
    if MOVE not in reset.kinds:
        return
    if profile.command.kind != JOINT_TRAJECTORY and not reset.trajectory_topic:
        _refuse('episode.reset.trajectory_topic', '', 'a topic that takes trajectories')
    limits = zip(joints.names, reset.positions, joints.lower, joints.upper, strict=True)
    for name, position, low, high in limits:
        if not low <= position <= high:
            raise SettingError(
                f'episode.reset.positions has {position:g} for {name}; accepted: {low:g} to'
                f' {high:g}'
            )


def _check_cameras(profile: Profile) -> str:
    """Which camera is used, spelled out."""
    for name, camera in profile.cameras.items():
        if name == ALL_CAMERAS:
            _refuse('cameras', name, 'names that do not mean all cameras')
        if not camera.topic:
            _refuse(f'cameras.{name}.topic', '', 'a topic')
        if len(camera.roi) not in (0, 4) or 0 in camera.roi[2:]:
            _refuse(f'cameras.{name}.roi', list(camera.roi), 'x, y, width, height')
    accepted = [*profile.cameras, ALL_CAMERAS] if profile.cameras else ['']
    only = len(profile.cameras) < 2 and not profile.use_camera
    if only:
        return next(iter(profile.cameras), '')
    if profile.use_camera not in accepted:
        _refuse('use_camera', profile.use_camera, ', '.join(accepted) if profile.cameras else "''")
    return profile.use_camera
