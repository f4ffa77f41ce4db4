# SPDX-License-Identifier: Apache-2.0
"""A robot as data: what it senses, how it is commanded, what it may not do.

One mapping (a YAML file) describes a robot. ``read_profile`` checks all of it before anything
moves; from then on every number is in SI units and there is one value per joint or dimension.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from furl_ros.core.settings import SettingError, from_mapping, section, setting, table

JOINT_TRAJECTORY, JOINT_POSITIONS = 'joint_trajectory', 'joint_positions'
JOINT_VELOCITIES, TWIST = 'joint_velocities', 'twist'
POSITION_KINDS = (JOINT_TRAJECTORY, JOINT_POSITIONS)
COMMANDS = (*POSITION_KINDS, JOINT_VELOCITIES, TWIST)
AXES = ('x', 'y', 'z', 'roll', 'pitch', 'yaw')

NO_GRIPPER = 'none'
GRIPPERS = (
    NO_GRIPPER,
    'float_array',
    JOINT_TRAJECTORY,
    'gripper_action',
    'parallel_gripper_action',
)

CALL_SERVICE, MOVE, WAIT_FOR_READY = 'service', 'trajectory', 'wait_for_ready'
RESETS = (CALL_SERVICE, MOVE, WAIT_FOR_READY)

LAST_ACTION = 'last_action'
JOINT_STATE = 'sensor_msgs/msg/JointState'
ALL_CAMERAS = 'mean'

TO_SI = {'': 1.0, 'rad': 1.0, 'deg': math.pi / 180, 'm': 1.0, 'mm': 1e-3}

_MESSAGE_TYPE = re.compile(r'[a-z]\w*/msg/[A-Z]\w*')
_FOR_EACH_JOINT = '[*]'
# No revolute joint goes further: limits beyond it were written in degrees.
_MOST_RADIANS = 4 * math.pi


@dataclass(frozen=True)
class Joints:
    """The joints that are commanded, and how far and fast they may go."""

    names: tuple[str, ...] = setting(
        (), 'Names as in joint_states, in the order of the commands.', item=str
    )
    topic: str = setting('joint_states', 'Topic of sensor_msgs/JointState.')
    unit: tuple[str, ...] = setting(
        ('rad',),
        "Unit of this profile's joint values (limits, scale, max_step, reset positions), one or"
        ' one per joint; topics carry rad and m whatever it is.',
        choices=('rad', 'deg', 'm'),
        item=str,
    )
    lower: tuple[float, ...] = setting((), 'Least positions.', low=-1e4, high=1e4, item=float)
    upper: tuple[float, ...] = setting((), 'Greatest positions.', low=-1e4, high=1e4, item=float)
    margin: tuple[float, ...] = setting(
        (0.0,), 'What is kept away from these, one or one per joint.', low=0, high=1e4, item=float
    )
    max_velocity: tuple[float, ...] = setting(
        (), 'Greatest speeds, unit/s, one or one per joint.', low=1e-6, high=1e4, item=float
    )
    max_acceleration: tuple[float, ...] = setting(
        (),
        'Greatest accelerations, unit/s^2, one or one per joint.',
        low=1e-6,
        high=1e6,
        item=float,
    )
    stale_s: float = setting(
        0.2, 'Seconds after which positions are too old to move by.', low=1e-3, high=60
    )


@dataclass(frozen=True)
class CommandConfig:
    """What is sent to the arm, and what an action of 1 means."""

    kind: str = setting(JOINT_TRAJECTORY, 'What the controller takes.', choices=COMMANDS)
    topic: str = setting('', 'Topic of the controller.')
    scale: tuple[float, ...] = setting(
        (),
        'What an action of 1 means, one or one per dimension: joint_trajectory, joint_positions:'
        ' unit per control step; joint_velocities: unit/s; twist: m/s and rad/s.',
        low=1e-6,
        high=1e4,
        item=float,
    )
    max_step: tuple[float, ...] = setting(
        (),
        'joint_trajectory, joint_positions: how far a commanded position may be from the measured'
        ' one; joint_velocities, twist: how much a command may differ from the one before. One or'
        ' one per dimension.',
        low=1e-6,
        high=1e4,
        item=float,
    )
    axes: tuple[str, ...] = setting(
        ('x', 'y', 'z'),
        'twist: the axes that actions have, in their order.',
        choices=AXES,
        item=str,
    )
    frame_id: str = setting('', 'twist: the frame that it is given in.')
    twist_units: tuple[float, ...] = setting(
        (1.0, 1.0),
        'twist: m/s and rad/s that the receiver makes of 1.0; MoveIt Servo makes 0.4 and 0.8 of it'
        ' unless its command_in_type is speed_units.',
        low=1e-6,
        high=100,
        item=float,
    )
    reach_s: float = setting(
        0.0,
        'joint_trajectory: seconds in which a target is to be reached; 0: one control period.',
        low=0,
        high=10,
    )
    controller_timeout_s: float = setting(
        0.0,
        'Seconds after which the controller itself stops when no command comes; 0: it never does.',
        low=0,
        high=60,
    )


@dataclass(frozen=True)
class Gripper:
    """A gripper that follows one dimension of the action: -1 opens it, 1 closes it."""

    kind: str = setting(NO_GRIPPER, 'What it takes.', choices=GRIPPERS)
    topic: str = setting('', 'Topic or action name.')
    joint: str = setting('', 'joint_trajectory, parallel_gripper_action: name of its joint.')
    open: float = setting(0.0, 'Value sent to open it.', low=-1e4, high=1e4)
    closed: float = setting(1.0, 'Value sent to close it.', low=-1e4, high=1e4)
    dimension: int = setting(
        -1, 'Its place among the dimensions of the action; -1: the last one.', low=-1, high=100
    )


@dataclass(frozen=True)
class Source:
    """Values of the observation vector that come together in one message."""

    topic: str = setting('', 'Topic.')
    type: str = setting('', f'Type such as {JOINT_STATE}; {LAST_ACTION}: no topic.')
    fields: tuple[str, ...] = setting(
        (),
        'Fields in the order of the vector, such as pose.position.x, data[0] (by index),'
        ' position[elbow_joint] (by the names in the message) or position[*] (all the'
        " profile's joints).",
        item=str,
    )
    size: int = setting(
        0,
        'Values of all fields together; 0: each field is one number.',
        low=0,
        high=100_000,
    )
    unit: str = setting(
        '', 'Unit that the topic carries, where that is not SI.', choices=tuple(TO_SI)
    )
    offset: tuple[float, ...] = setting(
        (0.0,), 'Taken away (in SI units), one or one per value.', low=-1e6, high=1e6, item=float
    )
    scale: tuple[float, ...] = setting(
        (1.0,),
        'What is left is divided by it, one or one per value.',
        low=1e-9,
        high=1e9,
        item=float,
    )
    stale_s: float = setting(
        0.5, 'Seconds after which a value is too old to act on.', low=1e-3, high=3600
    )


@dataclass(frozen=True)
class Workspace:
    """A box that the tool stays in; none without low and high."""

    frame: str = setting('', 'Frame of the box: that of the pose.')
    low: tuple[float, ...] = setting((), 'Least x, y, z, in m.', low=-100, high=100, item=float)
    high: tuple[float, ...] = setting((), 'Greatest x, y, z, in m.', low=-100, high=100, item=float)
    margin: float = setting(
        0.05, 'Metres before a wall within which a twist becomes slower.', low=0, high=10
    )
    pose: Source = section(Source, 'Where x, y, z of the tool come from (three fields).')


@dataclass(frozen=True)
class Reset:
    """What happens between two episodes."""

    kinds: tuple[str, ...] = setting(
        (WAIT_FOR_READY,),
        'Steps, one after the other: call a service, move to positions, wait for a person.',
        choices=RESETS,
        item=str,
    )
    service: str = setting('', 'service: name of a std_srvs/Trigger.')
    trajectory_topic: str = setting(
        '', 'trajectory: topic of trajectory_msgs/JointTrajectory; empty: that of the commands.'
    )
    positions: tuple[float, ...] = setting(
        (), 'trajectory: where to, one value per joint.', low=-1e4, high=1e4, item=float
    )
    move_s: float = setting(5.0, 'trajectory: seconds for the way.', low=0.1, high=600)
    tolerance: tuple[float, ...] = setting(
        (0.02,),
        'trajectory: how close is there, one or one per joint.',
        low=1e-6,
        high=1e4,
        item=float,
    )
    timeout_s: float = setting(
        30.0, 'Seconds that a service may take, or a way longer than move_s.', low=0.1, high=3600
    )
    ready_timeout_s: float = setting(
        0.0, 'wait_for_ready: seconds to wait for the person; 0: without end.', low=0, high=86_400
    )


@dataclass(frozen=True)
class Episode:
    """When an episode ends, and what happens then."""

    time_limit_s: float = setting(10.0, 'Longest episode.', low=0.1, high=86_400)
    success_topic: str = setting('', 'std_msgs/Bool that becomes true at a success.')
    success_service: str = setting('', 'std_srvs/Trigger, offered to whoever sees a success.')
    failure_topic: str = setting('', 'std_msgs/Bool that becomes true at a failure.')
    failure_service: str = setting('', 'std_srvs/Trigger, offered to whoever sees a failure.')
    reset: Reset = section(Reset, 'What happens between two episodes.')


@dataclass(frozen=True)
class Camera:
    """A camera, and what is done to its pictures: cut out, then turned, then mirrored."""

    topic: str = setting('', 'Topic of the pictures.')
    compressed: bool = setting(False, 'sensor_msgs/CompressedImage instead of Image.')
    roi: tuple[int, ...] = setting(
        (),
        'Part to cut out: x, y, width, height in pixels; none: all.',
        low=0,
        high=16_384,
        item=int,
    )
    rotate: int = setting(0, 'Degrees to turn it by, clockwise.', choices=(0, 90, 180, 270))
    flip: str = setting(
        'none', 'How to mirror it.', choices=('none', 'horizontal', 'vertical', 'both')
    )
    tolerance_s: float = setting(
        0.05, 'Seconds that a picture may be apart from its observation.', low=1e-4, high=10
    )
    wait_s: float = setting(
        0.2, 'Seconds that an observation waits for its picture.', low=1e-3, high=60
    )


@dataclass(frozen=True)
class Watchdogs:
    """After how many seconds of silence the arm stops; 0: not watched."""

    action_s: float = setting(0.5, 'Silence of the learner, while an episode runs.', low=0, high=60)
    observation_s: float = setting(0.5, 'Silence of a source of observations.', low=0, high=60)
    camera_s: float = setting(1.0, 'Silence of a camera that is used.', low=0, high=60)
    nodes_s: float = setting(5.0, 'Silence of one of the nodes.', low=0, high=600)
    nodes: tuple[str, ...] = setting((), 'Nodes whose diagnostics are watched.', item=str)
    loop_s: float = setting(0.5, 'Standstill of the control loop itself.', low=0.01, high=60)


@dataclass(frozen=True)
class Profile:
    """A robot; made by ``read_profile``, which checks what one field alone does not show."""

    name: str = setting('arm', 'Name of the set-up.')
    control_rate: float = setting(20.0, 'Control steps per second.', low=1, high=1000)
    joints: Joints = section(Joints, 'The joints.')
    command: CommandConfig = section(CommandConfig, 'What is sent to the arm.')
    gripper: Gripper = section(Gripper, 'The gripper.')
    observation: dict[str, Source] = table(
        Source, 'Sources of the observation vector, in its order.'
    )
    workspace: Workspace = section(Workspace, 'Where the tool may be.')
    episode: Episode = section(Episode, 'Episodes.')
    cameras: dict[str, Camera] = table(Camera, 'The cameras.')
    use_camera: str = setting(
        '',
        f'Name of the camera whose pictures are scored, or {ALL_CAMERAS} for the mean of all;'
        ' empty: the only one.',
    )
    watchdogs: Watchdogs = section(Watchdogs, 'What may not be silent.')

    @property
    def command_size(self) -> int:
        """Values of a command, without the gripper."""
        twist = self.command.kind == TWIST
        return len(self.command.axes if twist else self.joints.names)

    @property
    def action_size(self) -> int:
        """Values of an action."""
        return self.command_size + (self.gripper.kind != NO_GRIPPER)

    @property
    def used_cameras(self) -> tuple[str, ...]:
        """Names of the cameras whose pictures are scored."""
        if self.use_camera == ALL_CAMERAS:
            return tuple(self.cameras)
        return (self.use_camera,) if self.use_camera else ()

    @property
    def has_workspace(self) -> bool:
        """Whether the tool has to stay in a box."""
        return bool(self.workspace.low)

    def state_sources(self) -> dict[str, Source]:
        """Where the state comes from that limits need, for a ``Layout`` of its own."""
        names = self.joints.names
        sources = {
            'position': Source(
                topic=self.joints.topic,
                type=JOINT_STATE,
                fields=tuple(f'position[{name}]' for name in names),
                stale_s=self.joints.stale_s,
            )
        }
        if self.has_workspace:
            sources['tool'] = self.workspace.pose
        return sources

    def watched(self) -> dict[str, float]:
        """What ``Safety`` watches: seconds of silence by name."""
        dogs = self.watchdogs
        sensed = [name for name, source in self.observation.items() if source.type != LAST_ACTION]
        limits = {
            'action': dogs.action_s,
            'joint positions': self.joints.stale_s,
            **{f'observation {name}': dogs.observation_s for name in sensed},
            **{f'camera {name}': dogs.camera_s for name in self.used_cameras},
            **{f'node {name}': dogs.nodes_s for name in dogs.nodes},
        }
        return {name: limit for name, limit in limits.items() if limit > 0}


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


_PATH = re.compile(r'[A-Za-z]\w*(\[[^\[\]]+\])?(\.[A-Za-z]\w*(\[[^\[\]]+\])?)*')


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
