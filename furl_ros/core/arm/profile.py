# SPDX-License-Identifier: Apache-2.0
"""A robot as data: what it senses, how it is commanded, what it may not do.

One mapping (a YAML file) describes a robot. ``profile_reading.read_profile`` checks it all before
anything moves; from then on numbers are in SI units, with a value for each joint or dimension.
"""

import math
from dataclasses import dataclass

from furl_ros.core.settings import section, setting, table

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
    pause_service: str = setting(
        '', 'std_srvs/SetBool that pauses the controller while the arm is not armed; empty: none.'
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
    scene: bool = setting(
        False,
        'It tells of the scene and not of the robot itself: a policy that sees (observe:=embedding)'
        ' is not given it.',
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
class Judge:
    """Success as the reward sees it (frame_score), beside or instead of a person's word."""

    frames: int = setting(
        0,
        'Frames in a row above the threshold that are a success; 0: nobody looks.',
        low=0,
        high=1_000,
    )
    threshold: float = setting(
        0.9, 'Reward through the heads above which a frame counts.', low=-1, high=1
    )
    ends: bool = setting(
        True,
        'Such a success ends the episode, marked as judged; false: it is only compared with what'
        ' the operator says (agreement in the diagnostics of arm_node).',
    )


@dataclass(frozen=True)
class Episode:
    """When an episode ends, and what happens then."""

    time_limit_s: float = setting(10.0, 'Longest episode.', low=0.1, high=86_400)
    success_topic: str = setting('', 'std_msgs/Bool that becomes true at a success.')
    success_service: str = setting('', 'std_srvs/Trigger, offered to whoever sees a success.')
    failure_topic: str = setting('', 'std_msgs/Bool that becomes true at a failure.')
    failure_service: str = setting('', 'std_srvs/Trigger, offered to whoever sees a failure.')
    judge: Judge = section(Judge, 'Success by the reward itself.')
    reset: Reset = section(Reset, 'What happens between two episodes.')


@dataclass(frozen=True)
class Camera:
    """A camera, and what is done to its pictures: cut out, made smaller, turned, mirrored."""

    topic: str = setting('', 'Topic of the pictures.')
    compressed: bool = setting(False, 'sensor_msgs/CompressedImage instead of Image.')
    roi: tuple[int, ...] = setting(
        (),
        'Part to cut out: x, y, width, height in pixels; none: all.',
        low=0,
        high=16_384,
        item=int,
    )
    shrink_to: int = setting(
        480,
        'Pixels of the shorter side: what is larger is made smaller, what is smaller stays.',
        low=32,
        high=4096,
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
    operator_s: float = setting(
        0.0,
        'Silence of the operator (operator_heartbeat); 0: nobody has to be there.',
        low=0,
        high=60,
    )
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
                size=len(names),
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
            'operator': dogs.operator_s,
            **{f'observation {name}': dogs.observation_s for name in sensed},
            **{f'camera {name}': dogs.camera_s for name in self.used_cameras},
            **{f'node {name}': dogs.nodes_s for name in dogs.nodes},
        }
        return {name: limit for name, limit in limits.items() if limit > 0}
