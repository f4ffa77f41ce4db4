# SPDX-License-Identifier: Apache-2.0
"""What can be set about the stand-in for hardware."""

from dataclasses import dataclass

from furl_ros.core.settings import setting


def _share(what: str) -> float:
    return setting(0.0, f'Share of the frames that {what}.', low=0, high=1)


def _delay(what: str) -> float:
    return setting(0.0, f'{what}, seconds.', low=0, high=5)


@dataclass(frozen=True)
class ArmConfig:
    """The robot, its driver and what lies on its table."""

    physics_rate: int = setting(
        500, 'Steps of the physics per second, Hz.', choices=(250, 500, 1_000)
    )
    max_joint_velocity: float = setting(
        3.14, 'Speed limit of each joint, rad/s: more is clipped.', low=0.01, high=10
    )
    max_joint_acceleration: float = setting(
        10.0, 'How fast a joint gains and loses speed, rad/s^2.', low=0.1, high=100
    )
    velocity_margin: float = setting(
        0.5,
        'A command this share above max_joint_velocity is a protective stop.',
        low=0,
        high=1_000,
    )
    position_margin: float = setting(
        0.1,
        'A command this far beyond the limit of a joint, rad, is a protective stop; nearer ones are'
        ' clipped.',
        low=0,
        high=100,
    )
    path_margin: float = setting(
        0.5,
        'A position command, or a trajectory, this far from where the arm is held, rad, is a'
        ' protective stop.',
        low=0.01,
        high=100,
    )
    stop_force: float = setting(
        150.0, 'Force from outside on the arm that is a protective stop, N.', low=1, high=1e6
    )
    unlock_delay: float = setting(
        5.0, 'How long a protective stop cannot be unlocked, seconds.', low=0, high=60
    )
    command_timeout: float = setting(
        0.5,
        'The driver halts the arm when velocity_commands are silent for so long, seconds; 0: never,'
        ' the last command stays.',
        low=0,
        high=60,
    )
    servo_timeout: float = setting(
        0.1, 'A twist with a stamp older than this, seconds, moves nothing.', low=0.01, high=10
    )
    servo_linear_scale: float = setting(
        0.4, 'Speed of a linear 1 in a twist, m/s; 1: twists are in m/s.', low=0.01, high=1
    )
    servo_angular_scale: float = setting(
        0.8, 'Speed of an angular 1 in a twist, rad/s; 1: twists are in rad/s.', low=0.01, high=3
    )
    slider_start: float = setting(
        0.1, 'How far the slider is open after reset_scene, m.', low=0, high=0.15
    )
    slider_spread: float = setting(0.01, 'Random part of that, to both sides, m.', low=0, high=0.15)
    block_spread: float = setting(
        0.03, 'Random part of the place of the block, to all sides, m.', low=0, high=0.1
    )
    seed: int = setting(0, 'Seed of the faults and of where things lie.', low=0, high=2**31 - 1)


@dataclass(frozen=True)
class CameraConfig:
    """The camera beside the table."""

    width: int = setting(640, 'Width of the pictures in pixels.', low=32, high=2_048)
    height: int = setting(480, 'Height of the pictures in pixels.', low=32, high=2_048)
    camera_rate: float = setting(30.0, 'Pictures per second, Hz.', low=0.1, high=120)
    camera_clock_offset: float = setting(
        0.0,
        'How far the clock of the camera is ahead of the system clock, seconds.',
        low=-1e6,
        high=1e6,
    )


@dataclass(frozen=True)
class FaultConfig:
    """What goes wrong on the way; nothing by default."""

    command_latency: float = _delay('Delay of every command')
    command_jitter: float = _delay('Random part of it, added, uniform; the order is kept')
    joint_latency: float = _delay('Delay of joint_states and tool_pose')
    joint_noise: float = setting(
        0.0, 'Standard deviation of the noise on positions in joint_states, rad.', low=0, high=0.1
    )
    frame_latency: float = _delay('Delay of every picture')
    late_by: float = setting(
        0.2,
        'Further delay of a late picture, seconds; those behind it wait, too.',
        low=0,
        high=5,
    )
    late_share: float = _share('are late')
    dropped_share: float = _share('are lost')
    repeated_share: float = _share('are the one before once more, with its stamp')
