# SPDX-License-Identifier: Apache-2.0
"""The robot's own controller: where the motors are told to be, within the limits of the joints."""

import numpy as np

from sim.mock_arm.config import ArmConfig
from sim.mock_arm.controllers import Motion

LOOKAHEAD = 0.05
"""Time constant with which the arm closes in on a position that is far away, seconds."""


class ProtectiveStopError(Exception):
    """The robot refuses to go on; the text says why."""


class Drive:
    """Follows commands with limited speed and acceleration.

    Args:
        config: the limits.
        lower, upper: float [6], ends of the joints, rad.
        positions: float [6], where the arm is, rad.

    Attributes:
        positions: float [6], where the arm is held, rad.
        velocities: float [6], rad/s.
    """

    def __init__(
        self, config: ArmConfig, lower: np.ndarray, upper: np.ndarray, positions: np.ndarray
    ) -> None:
        self._config, self._lower, self._upper = config, lower, upper
        self.freeze(positions)

    def freeze(self, positions: np.ndarray) -> None:
        """Stand still there, at once."""
        self.positions = positions.copy()
        self.velocities = np.zeros_like(positions)

    def follow(self, motion: Motion, seconds: float) -> None:
        """Go on for a time.

        Raises:
            ProtectiveStopError: more is asked for than the margins allow.
        """
        wanted, most = motion.velocities, self._config.max_joint_velocity
        if np.abs(wanted).max() > most * (1 + self._config.velocity_margin):
            raise ProtectiveStopError(
                f'a velocity of {np.abs(wanted).max():.2f} rad/s was commanded; the limit is {most}'
            )
        if motion.positions is not None:
            beyond = np.maximum(self._lower - motion.positions, motion.positions - self._upper)
            if beyond.max() > self._config.position_margin:
                raise ProtectiveStopError(
                    f'a position {beyond.max():.2f} rad beyond the end of joint {beyond.argmax()}'
                    ' was commanded'
                )
            missing = np.clip(motion.positions, self._lower, self._upper) - self.positions
            if np.abs(missing).max() > self._config.path_margin:
                raise ProtectiveStopError(
                    f'a position {np.abs(missing).max():.2f} rad away was commanded; the limit is'
                    f' {self._config.path_margin}'
                )
            # Not faster than it can be stopped again.
            stoppable = np.sqrt(2 * self._config.max_joint_acceleration * np.abs(missing))
            wanted = wanted + np.clip(missing / LOOKAHEAD, -stoppable, stoppable)
        self._speed_up(np.clip(wanted, -most, most), seconds)

    def halt(self, seconds: float) -> None:
        """Slow down for a time."""
        self._speed_up(np.zeros_like(self.velocities), seconds)

    def _speed_up(self, wanted: np.ndarray, seconds: float) -> None:
        most = self._config.max_joint_acceleration * seconds
        self.velocities = self.velocities + np.clip(wanted - self.velocities, -most, most)
        going = self.positions + self.velocities * seconds
        self.positions = np.clip(going, self._lower, self._upper)
        self.velocities = np.where(going == self.positions, self.velocities, 0.0)
