# SPDX-License-Identifier: Apache-2.0
"""The learner's action in [-1, 1]^A as a command to the arm, and back.

A is the number of joints (or axes of a twist), D, plus one for the gripper where there is one.
"""

from typing import NamedTuple

import numpy as np

from furl_ros.core.arm.profile import AXES, NO_GRIPPER, POSITION_KINDS, Profile


class Command(NamedTuple):
    """What is sent to the arm."""

    values: np.ndarray
    """float64 [D]: joint positions (rad, m), joint velocities, or the axes of a twist (m/s,
    rad/s)."""
    reference: np.ndarray
    """float64 [D]: what the action was added to; zeros where ``values`` are velocities."""
    gripper: float | None
    """Value for the gripper; None: it stays as it is."""


class ActionMap:
    """Translates actions of one robot.

    Attributes:
        size: values of an action, A.
    """

    def __init__(self, profile: Profile) -> None:
        self.size = profile.action_size
        self._commanded = profile.command_size
        self._scale = np.array(profile.command.scale)
        self._adds_up = profile.command.kind in POSITION_KINDS
        self._axes = [AXES.index(axis) for axis in profile.command.axes]
        self._twist_units = np.repeat(profile.command.twist_units, 3)
        gripper = profile.gripper
        self._open, self._closed = gripper.open, gripper.closed
        self._gripper = None
        if gripper.kind != NO_GRIPPER:
            self._gripper = gripper.dimension % self.size

    def command(self, action: np.ndarray, reference: np.ndarray) -> Command:
        """The command that an action asks for.

        Args:
            action: [A]; what lies outside [-1, 1] is clipped. What is not a number goes through:
                ``Limits`` makes a stop of it.
            reference: [D], positions that steps are added to (``Limits.reference``); not read
                for velocities.

        Raises:
            ValueError: the action has another size.
        """
        action = np.asarray(action, np.float64)
        if action.shape != (self.size,):
            raise ValueError(f'an action of shape {action.shape}; accepted: ({self.size},)')
        action = np.clip(action, -1, 1)
        gripper = None
        if self._gripper is not None:
            closing = (action[self._gripper] + 1) / 2
            gripper = float(self._open + closing * (self._closed - self._open))
            action = np.delete(action, self._gripper)
        start = np.zeros(self._commanded)
        if self._adds_up:
            start = np.array(reference, np.float64)
        return Command(start + self._scale * action, start, gripper)

    def carried_out(self, command: Command) -> np.ndarray:
        """The action whose command this is: what really happened, after the limits.

        Returns:
            float32 [A] in [-1, 1]. An action whose command no limit cut comes back as it was, to
            the precision of float32; a gripper that stays as it is counts as half open, 0.
        """
        action = (command.values - command.reference) / self._scale
        if self._gripper is not None:
            closing = 0.5
            if command.gripper is not None:
                closing = (command.gripper - self._open) / (self._closed - self._open)
            action = np.insert(action, self._gripper, 2 * closing - 1)
        return np.clip(action, -1, 1).astype(np.float32)

    def twist(self, command: Command) -> np.ndarray:
        """A twist in the units of its receiver: float64 [6], x y z roll pitch yaw."""
        twist = np.zeros(len(AXES))
        twist[self._axes] = command.values
        return twist / self._twist_units
