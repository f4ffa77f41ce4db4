# SPDX-License-Identifier: Apache-2.0
"""The last stage before the robot: no command leaves that goes too far, too fast or nowhere.

Every limit of one step becomes a window for the velocity of each joint or axis. The hard windows
(velocity, position, distance to the measured position, workspace) all allow standing still, so that
together they always leave something. The soft ones (acceleration, change from the command before)
give way to them: in front of a wall braking may be harsh.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from furl_ros.core.arm.action import Command
from furl_ros.core.arm.profile import AXES, POSITION_KINDS, TWIST, Profile

POSITION, VELOCITY, ACCELERATION = 'position', 'velocity', 'acceleration'
STEP, WORKSPACE, NOT_FINITE = 'step', 'workspace', 'not finite'

# What no joint measures and no command says; such numbers are as good as none.
_ABSURD = 1e6
# Rounding, relative to a bound, is no cut.
_ROUNDING = 1e-9
_HALVINGS = 12

PoseOf = Callable[[np.ndarray], np.ndarray]


class ArmState(NamedTuple):
    """What limits know of the arm."""

    positions: np.ndarray
    """float64 [J]: measured joint positions, rad or m."""
    tool: np.ndarray | None = None
    """float64 [3]: x, y, z of the tool in the frame of the workspace, m."""


class Limited(NamedTuple):
    """What became of a command."""

    command: Command | None
    """What is to be sent; None: nothing can be, as no position was ever known."""
    cut: tuple[str, ...]
    """The limits that changed it; empty when it is carried out as it was given."""
    stop: str
    """Why the arm has to stop (``command`` is then the hold); '' when it goes on."""


class _Window(NamedTuple):
    """Least and greatest velocities [D] that one limit allows."""

    name: str
    low: np.ndarray
    high: np.ndarray

    def cuts(self, velocity: np.ndarray) -> bool:
        """Whether it changes this velocity by more than rounding does."""
        low = self.low - _ROUNDING * (1 + np.abs(self.low))
        high = self.high + _ROUNDING * (1 + np.abs(self.high))
        return bool(((velocity < low) | (velocity > high)).any())


class Limits:
    """The limits of one robot, and what they know of the commands before.

    Args:
        profile: the robot.
        pose_of: x, y, z of the tool [3] at joint positions [J], in the frame of the workspace.
            Without it a workspace can only be watched for joint commands: outside it they stop.
    """

    def __init__(self, profile: Profile, pose_of: PoseOf | None = None) -> None:
        joints, command, box = profile.joints, profile.command, profile.workspace
        self._pose_of = pose_of
        self._period = 1 / profile.control_rate
        self._is_twist = command.kind == TWIST
        self._is_position = command.kind in POSITION_KINDS
        self._joints, self._size = len(joints.names), profile.command_size
        self._lower = np.array(joints.lower) + joints.margin
        self._upper = np.array(joints.upper) - joints.margin
        self._speed = np.array(command.scale if self._is_twist else joints.max_velocity)
        self._acceleration = np.array(joints.max_acceleration)
        self._step = np.array(command.max_step)
        gripper = profile.gripper
        self._gripper_range = sorted((gripper.open, gripper.closed))
        self._has_box = profile.has_workspace
        self._box = np.array([box.low, box.high])
        self._box_margin = box.margin
        # Which values of a twist are which of x, y, z.
        places = [(i, AXES.index(axis)) for i, axis in enumerate(command.axes)]
        self._linear = [(i, axis) for i, axis in places if axis < 3]
        self.restart()

    def restart(self) -> None:
        """Forget the commands before: something else has moved the arm (a reset, a person)."""
        self._sent: np.ndarray | None = None
        self._velocity = np.zeros(self._size)
        self._time: float | None = None
        self._saved = 0.0
        self._holding = False
        self._gripper: float | None = None

    def reference(self, state: ArmState) -> np.ndarray:
        """What the next step is added to: float64 [D].

        Positions: the last ones commanded, so that gravity's sag does not add up, but never further
        than ``max_step`` from the measured ones, so that an arm that is held does not wind up.
        Velocities: zeros.
        """
        if not self._is_position:
            return np.zeros(self._size)
        if self._sent is None:
            return np.array(state.positions, np.float64)
        return self._near(state.positions, self._sent)

    def hold(self, state: ArmState) -> Command | None:
        """What a stop is: positions of now for positions, zeros for velocities.

        While it is asked for again, the positions stay those of the first time (else gravity would
        pull the arm down step by step) but for what somebody pushes the arm further away than
        ``max_step``. The gripper stays as it was commanded last. None: no position was ever known.
        """
        positions = np.zeros(self._size)
        if self._is_position:
            known = _is_sane(state.positions, self._joints)
            if known and self._holding:
                positions = self._near(state.positions, self._sent)
            elif known:
                positions = np.array(state.positions, np.float64)
            elif self._sent is not None:
                positions = self._sent
            else:
                return None
        self._sent, self._holding = positions, True
        self._velocity = np.zeros(self._size)
        reference = positions if self._is_position else np.zeros(self._size)
        return Command(positions.copy(), reference.copy(), self._gripper)

    def apply(self, command: Command, state: ArmState, now: float) -> Limited:
        """Cut a command down to what the limits allow, at this time in seconds."""
        why = self._unusable(command, state, now)
        if why:
            return Limited(self.hold(state), (NOT_FINITE,), why)
        box_fault = self._box_fault(state)
        if box_fault:
            return Limited(self.hold(state), (WORKSPACE,), box_fault)
        values = np.array(command.values, np.float64)
        dt = self._time_step(now)
        if self._is_position:
            start = self.reference(state)
            wanted = (values - start) / dt
            hard = [*self._joint_windows(start, dt), self._leash(start, state, dt)]
        else:
            start, wanted = np.array(state.positions, np.float64), values
            # A velocity goes on until the next command.
            hard = (
                self._twist_windows(state)
                if self._is_twist
                else self._joint_windows(start, self._period)
            )
        low = np.max([window.low for window in hard], axis=0)
        high = np.min([window.high for window in hard], axis=0)
        cut = [window.name for window in hard if window.cuts(wanted)]
        velocity = np.clip(wanted, low, high)
        for soft in self._soft_windows(dt):
            if soft.cuts(velocity):
                cut.append(soft.name)
            # The soft window within the hard one, or the nearest there is to it.
            low, high = np.clip(soft.low, low, high), np.clip(soft.high, low, high)
            velocity = np.clip(velocity, low, high)
        if self._has_box and self._pose_of is not None and not self._is_twist:
            share = self._share_inside(
                start, velocity * (dt if self._is_position else self._period)
            )
            if share < 1:
                cut.append(WORKSPACE)
                velocity = share * velocity
        done = velocity
        if self._is_position:
            # What was not cut is carried out to the last bit.
            done = np.where(velocity == wanted, values, start + velocity * dt)
            done = np.clip(done, np.minimum(self._lower, start), np.maximum(self._upper, start))
        gripper = command.gripper
        if gripper is not None:
            gripper = float(np.clip(gripper, *self._gripper_range))
            cut += [POSITION] if gripper != command.gripper and POSITION not in cut else []
            self._gripper = gripper
        self._sent, self._velocity = done.copy(), velocity
        self._time, self._holding = now, False
        reference = np.array(command.reference, np.float64)
        return Limited(Command(done, reference, gripper), tuple(cut), '')

    def _unusable(self, command: Command, state: ArmState, now: float) -> str:
        gripper = () if command.gripper is None else (command.gripper,)
        if not _is_sane(command.values, self._size) or not _is_sane(gripper, len(gripper)):
            return 'the command is not finite'
        if not _is_sane(command.reference, self._size):
            return 'the reference of the command is not finite'
        if not _is_sane(state.positions, self._joints):
            return 'the measured positions are not finite'
        return '' if np.isfinite(now) else 'the time is not finite'

    def _box_fault(self, state: ArmState) -> str:
        """Why a workspace cannot be kept, '' when it can."""
        if not self._has_box:
            return ''
        if self._pose_of is not None and not self._is_twist:
            known = np.isfinite(self._outside(self._pose_of(self.reference(state))))
            return '' if known else 'the pose of the tool is not known'
        if state.tool is None or not _is_sane(state.tool, 3):
            return 'the pose of the tool is not known'
        if not self._is_twist and self._outside(state.tool) > 0:
            return 'the tool is outside the workspace'
        return ''

    def _time_step(self, now: float) -> float:
        """Seconds that a command speaks for: one control period.

        A period is lent to a timer that trembles; a caller that goes on being faster than the rate
        gets the time that has really passed.
        """
        most = 2 * self._period
        passed = most if self._time is None else max(now - self._time, 0.0)
        saved = min(self._saved + passed, most)
        step = max(min(saved, self._period), 1e-3 * self._period)
        self._saved = max(saved - step, 0.0)
        return step

    def _near(self, measured: np.ndarray, positions: np.ndarray) -> np.ndarray:
        return np.clip(positions, measured - self._step, measured + self._step)

    def _leash(self, start: np.ndarray, state: ArmState, dt: float) -> _Window:
        low = (state.positions - self._step - start) / dt
        high = (state.positions + self._step - start) / dt
        return _Window(STEP, np.minimum(low, 0), np.maximum(high, 0))

    def _joint_windows(self, start: np.ndarray, dt: float) -> list[_Window]:
        """Velocity and position of joints that are at ``start``.

        One that is outside its limits may stay there, and go back, but not go further.
        """
        return [
            _Window(VELOCITY, -self._speed, self._speed),
            _Window(
                POSITION,
                -self._braked(np.maximum(start - self._lower, 0), dt),
                self._braked(np.maximum(self._upper - start, 0), dt),
            ),
        ]

    def _braked(self, room: np.ndarray, dt: float) -> np.ndarray:
        """The greatest speeds from which the room is enough to brake in, in steps of dt."""
        half = self._acceleration * dt / 2
        return np.minimum(np.sqrt(half**2 + 2 * self._acceleration * room) - half, room / dt)

    def _twist_windows(self, state: ArmState) -> list[_Window]:
        """Speed of a twist, and of each axis towards a wall: less in its margin, none beyond it."""
        speed = _Window(VELOCITY, -self._speed, self._speed)
        if not self._has_box:
            return [speed]
        low, high = -self._speed, self._speed.copy()
        for i, axis in self._linear:
            low[i] = -self._towards_wall(i, state.tool[axis] - self._box[0, axis])
            high[i] = self._towards_wall(i, self._box[1, axis] - state.tool[axis])
        return [speed, _Window(WORKSPACE, low, high)]

    def _towards_wall(self, i: int, room: float) -> float:
        if room <= 0:
            return 0.0
        share = min(room / self._box_margin, 1.0) if self._box_margin > 0 else 1.0
        return min(self._speed[i] * share, room / self._period)

    def _soft_windows(self, dt: float) -> list[_Window]:
        windows = []
        if not self._is_twist:
            change = self._acceleration * dt
            windows.append(_Window(ACCELERATION, self._velocity - change, self._velocity + change))
        if not self._is_position:
            windows.append(_Window(STEP, self._velocity - self._step, self._velocity + self._step))
        return windows

    def _outside(self, point: np.ndarray) -> float:
        """Metres that a point is outside the box; 0 inside, infinite for no point."""
        if not _is_sane(point, 3):
            return float('inf')
        return max(0.0, float(np.max([self._box[0] - point, point - self._box[1]])))

    def _share_inside(self, start: np.ndarray, way: np.ndarray) -> float:
        """Which share of a way of the joints leaves the tool inside (or no further outside)."""
        allowed = self._outside(self._pose_of(start))
        if self._outside(self._pose_of(start + way)) <= allowed:
            return 1.0
        inside, outside = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            if self._outside(self._pose_of(start + middle * way)) <= allowed:
                inside = middle
            else:
                outside = middle
        return inside


def _is_sane(values: np.ndarray, size: int) -> bool:
    array = np.asarray(values, np.float64)
    return array.shape == (size,) and bool((np.abs(array) <= _ABSURD).all())
