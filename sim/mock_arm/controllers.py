# SPDX-License-Identifier: Apache-2.0
"""What the commands ask for: the rules of ros2_control's controllers and of MoveIt Servo.

Each controller says where the arm should be and how fast it should go at a time. Times are seconds
of the arm's own clock; positions rad, velocities rad/s, in the order of ``scene.JOINTS``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from scipy.interpolate import BPoly

from sim.mock_arm.scene import JOINTS

GRIPPER_JOINT = 'robotiq_85_left_knuckle_joint'
BASE_FRAME, TOOL_FRAME = 'base_link', 'tool0'


class RefusedError(ValueError):
    """A command breaks the rules of its controller; the text says which."""


class Motion(NamedTuple):
    """What a controller asks of the arm.

    Attributes:
        positions: float [6]; None: only the velocities count.
        velocities: float [6].
        gripper: position of its joint, rad; None: as it is.
    """

    positions: np.ndarray | None
    velocities: np.ndarray
    gripper: float | None = None


class Controller(Protocol):
    """Moves the arm until another command comes."""

    def at(self, time: float) -> Motion:
        """What to do at a time."""


class Hold:
    """Positions to be at, at once and from then on."""

    def __init__(self, positions: np.ndarray) -> None:
        self._motion = Motion(positions, np.zeros(len(JOINTS)))

    def at(self, time: float) -> Motion:
        """The same at all times."""
        return self._motion


class Velocities:
    """Velocities to keep until a time, then zeros."""

    def __init__(self, velocities: np.ndarray, until: float) -> None:
        self._velocities, self._until = velocities, until

    def at(self, time: float) -> Motion:
        """Velocities without positions."""
        return Motion(None, self._velocities * (time <= self._until))


class Twist:
    """A motion of the tool to keep until a time, then none.

    Args:
        twist: float [6], linear m/s and angular rad/s.
        until: time.
        to_joints: takes the twist to velocities of the joints, where the arm is then.
    """

    def __init__(
        self, twist: np.ndarray, until: float, to_joints: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        self._twist, self._until, self._to_joints = twist, until, to_joints

    def at(self, time: float) -> Motion:
        """Velocities without positions."""
        if time > self._until:
            return Motion(None, np.zeros(len(JOINTS)))
        return Motion(None, self._to_joints(self._twist))


@dataclass(frozen=True)
class Point:
    """A point of a trajectory message, in the order of its joint names.

    Attributes:
        time: seconds after the start.
        positions: rad; must be given.
        velocities, accelerations: rad/s and rad/s^2, or empty.
        effort: must be empty.
    """

    time: float
    positions: Sequence[float]
    velocities: Sequence[float] = ()
    accelerations: Sequence[float] = ()
    effort: Sequence[float] = ()


class Trajectory:
    """A spline through points: linear, cubic with velocities, quintic with accelerations, too.

    Args:
        names: of the joints; all of the arm, and that of the gripper if it shall move.
        points: at least one.
        now: time.
        start_in: seconds from now to the start of the trajectory; None: it starts now.
        positions, velocities: float [7], where the joints and the gripper are now.

    Raises:
        RefusedError: it breaks a rule of joint_trajectory_controller.
    """

    def __init__(
        self,
        names: Sequence[str],
        points: Sequence[Point],
        now: float,
        start_in: float | None,
        positions: np.ndarray,
        velocities: np.ndarray,
    ) -> None:
        order = _order_of(names)
        _check_points(points, len(names))
        start = now + (start_in or 0.0)
        if start_in is not None and start + points[-1].time < now:
            raise RefusedError('it ends in the past')
        fields = ['positions']
        for field in ('velocities', 'accelerations'):
            if all(getattr(point, field) for point in points):
                fields.append(field)
            else:
                break
        here = [positions, velocities, np.zeros_like(positions)]
        times = [now]
        knots = [[values[: len(order)] for values in here[: len(fields)]]]
        for point in points:
            # A point for this very moment, or before it, is one to be at already.
            if start + point.time <= now:
                times, knots = [], []
            times.append(max(start + point.time, now))
            knots.append([np.asarray(getattr(point, field))[order] for field in fields])
        self._end, self._last = times[-1], knots[-1][0]
        self._spline = BPoly.from_derivatives(times, knots) if len(times) > 1 else None
        self._slope = self._spline.derivative() if self._spline is not None else None

    def at(self, time: float) -> Motion:
        """Positions and velocities; after the end the last positions."""
        if time >= self._end or self._spline is None:
            values, slopes = self._last, np.zeros(len(self._last))
        else:
            values, slopes = self._spline(time), self._slope(time)
        gripper = float(values[-1]) if len(values) > len(JOINTS) else None
        return Motion(values[: len(JOINTS)], slopes[: len(JOINTS)], gripper)


def check_values(values: Sequence[float], size: int) -> np.ndarray:
    """The values of a command as float [size].

    Raises:
        RefusedError: there are more or fewer, or one is not finite.
    """
    if len(values) != size:
        raise RefusedError(f'it has {len(values)} values; accepted: {size}')
    array = np.array(values, float)
    if not np.isfinite(array).all():
        raise RefusedError(f'it is {array.tolist()}; accepted: finite values')
    return array


def _order_of(names: Sequence[str]) -> list[int]:
    """Where in a trajectory's names the joints are, and the gripper's if it is there."""
    gripper = [GRIPPER_JOINT] if GRIPPER_JOINT in names else []
    wanted = [*JOINTS, *gripper]
    if sorted(names) != sorted(wanted):
        raise RefusedError(
            f'its joints are {list(names)}; accepted: {list(JOINTS)}, each once, with'
            f' {GRIPPER_JOINT} or without'
        )
    return [list(names).index(name) for name in wanted]


def _check_points(points: Sequence[Point], size: int) -> None:
    if not points:
        raise RefusedError('it has no points')
    before = -1.0
    for number, point in enumerate(points):
        if point.time < 0 or point.time <= before:
            raise RefusedError(
                f'the time of point {number} is {point.time}; accepted: growing times'
            )
        before = point.time
        if point.effort:
            raise RefusedError(f'point {number} has efforts; accepted: none')
        check_values(point.positions, size)
        for values in (point.velocities, point.accelerations):
            if values:
                check_values(values, size)
    if any(points[-1].velocities):
        raise RefusedError(
            f'the last velocities are {list(points[-1].velocities)}; accepted: zeros or none'
        )
