# SPDX-License-Identifier: Apache-2.0
"""The robot: it carries commands out in fixed steps of physics, and stops to protect itself."""

from collections.abc import Sequence
from typing import NamedTuple

import mujoco
import numpy as np

from sim.mock_arm import scene
from sim.mock_arm.config import ArmConfig
from sim.mock_arm.controllers import (
    BASE_FRAME,
    TOOL_FRAME,
    Controller,
    Hold,
    Point,
    RefusedError,
    Trajectory,
    Twist,
    Velocities,
    check_values,
)
from sim.mock_arm.drive import Drive, ProtectiveStopError
from sim.mock_arm.scene import JOINTS

HOME = (2.8, -1.8306, 2.0048, -1.745, -1.5708, -0.3416)
"""The gripper points down, 0.25 m above the table and 0.4 m in front of the robot; rad."""
HOME_SPEED = 0.6
"""Of the fastest joint on the way home, on average, rad/s."""
GRIPPER_CLOSED = 0.8
"""Position of the gripper's joint, rad; 0 is open."""
GRIPPER_SPEED = 1.3
"""Of the gripper's joint, rad/s."""
DAMPING = 0.02
"""Of the inverse kinematics, against singular values of the Jacobian that are as small."""
_COMMAND_RANGE = 255  # of the gripper's actuator


class Pose(NamedTuple):
    """Position [3], metres, and quaternion [4], w first, in the base frame."""

    position: np.ndarray
    quaternion: np.ndarray


class Arm:
    """The robot, its driver and its controllers; the newest command of any kind wins.

    Args:
        config: see there.

    Attributes:
        model: of the whole scene.
        time: seconds of physics since it was made.
        protective_stop: why it stands still; '' when it does not.
        program_running: whether it takes commands.

    Raises:
        SettingError: the models of the robot are not installed.
    """

    def __init__(self, config: ArmConfig) -> None:
        self._config = config
        self.model = scene.build()
        self.model.opt.timestep = 1 / config.physics_rate
        self._data = mujoco.MjData(self.model)
        joints = [self.model.joint(name) for name in JOINTS]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dofs = np.array([joint.dofadr[0] for joint in joints])
        self._motors = np.array([self.model.actuator(name).id for name in scene.ACTUATORS])
        self._fingers = self.model.actuator(f'{scene.GRIPPER}fingers_actuator').id
        self._knuckle = self.model.joint(f'{scene.GRIPPER}left_driver_joint')
        self._slider = self.model.joint('slider')
        self._block = self.model.joint('block')
        self._pinch = self.model.site(scene.PINCH).id
        self._flange = self.model.site(scene.FLANGE).id
        # The motors are springs and dampers; told this much more, they follow without a lag.
        bias = self.model.actuator_biasprm[self._motors]
        self._lead = bias[:, 2] / bias[:, 1]
        root = self.model.body_rootid[self.model.body('base').id]
        of_robot = self.model.body_rootid == root
        self._is_robot = of_robot[self.model.geom_bodyid]
        grippers = [
            self.model.body(i).name.startswith(scene.GRIPPER) for i in range(self.model.nbody)
        ]
        self._is_gripper = np.array(grippers)[self.model.geom_bodyid]
        self._jacobian = np.zeros((6, self.model.nv))
        self._generator = np.random.default_rng(config.seed)

        self.time = 0.0
        self.protective_stop, self.program_running = '', True
        self._stopped_at = 0.0
        self._servo_paused = False
        self._data.qpos[self._qpos] = HOME
        lower, upper = self.model.jnt_range[[joint.id for joint in joints]].T
        self._drive = Drive(config, lower, upper, np.array(HOME))
        self._controller: Controller = Hold(np.array(HOME))
        self._gripper_goal = self._gripper = 0.0
        self._gripper_follows = True
        self.reset_scene()

    # Commands. Each raises RefusedError when it breaks the rules of its controller, or when no
    # program runs.

    def command_trajectory(
        self, names: Sequence[str], points: Sequence[Point], start_in: float | None
    ) -> None:
        """Follow a trajectory, see ``Trajectory``."""
        self._check_program()
        positions = np.append(self._drive.positions, self._gripper)
        velocities = np.append(self._drive.velocities, 0.0)
        self._controller = Trajectory(names, points, self.time, start_in, positions, velocities)
        self._gripper_follows = True

    def command_positions(self, values: Sequence[float]) -> None:
        """Go to positions, rad [6], and stay there."""
        self._check_program()
        self._controller = Hold(check_values(values, len(JOINTS)))

    def command_velocities(self, values: Sequence[float]) -> None:
        """Move with velocities, rad/s [6], until the driver's time-out."""
        self._check_program()
        timeout = self._config.command_timeout or float('inf')
        self._controller = Velocities(check_values(values, len(JOINTS)), self.time + timeout)

    def command_twist(self, frame: str, values: Sequence[float], age: float) -> None:
        """Move the tool.

        Args:
            frame: whose axes the twist has: BASE_FRAME or TOOL_FRAME.
            values: [6], linear and angular, times the scales of the settings.
            age: seconds since its stamp.
        """
        self._check_program()
        if self._servo_paused:
            raise RefusedError('servo is paused')
        if frame not in (BASE_FRAME, TOOL_FRAME):
            raise RefusedError(f'frame_id is {frame!r}; accepted: {BASE_FRAME}, {TOOL_FRAME}')
        twist = check_values(values, 6)
        if age > self._config.servo_timeout:
            raise RefusedError(
                f'its stamp is {age:.3f} s old; accepted: at most {self._config.servo_timeout}'
            )
        twist[:3] *= self._config.servo_linear_scale
        twist[3:] *= self._config.servo_angular_scale
        to_joints = self._twist_of_base if frame == BASE_FRAME else self._twist_of_tool
        self._controller = Twist(twist, self.time + self._config.servo_timeout - age, to_joints)

    def command_gripper(self, values: Sequence[float]) -> None:
        """Move the gripper's joint to a position, rad [1]: 0 open, 0.8 closed; more is clipped."""
        self._check_program()
        (goal,) = check_values(values, 1)
        self._aim_gripper(goal)
        self._gripper_follows = False

    def pause_servo(self, paused: bool) -> None:
        """Take no twists any more, or take them again; one that is carried out ends."""
        self._servo_paused = paused
        if paused and isinstance(self._controller, Twist):
            self._controller = Velocities(np.zeros(len(JOINTS)), self.time)

    def home(self) -> float:
        """Go home in joint space, opening the gripper; returns the seconds that it takes."""
        self._check_program()
        distance = np.abs(np.array(HOME) - self._drive.positions).max()
        seconds = max(0.5, float(distance) / HOME_SPEED)
        zeros = (0.0,) * len(JOINTS)
        self.command_trajectory(JOINTS, [Point(seconds, HOME, zeros, zeros)], None)
        self._aim_gripper(0.0)
        return seconds

    # The pendant.

    def stop(self) -> None:
        """Halt and end the program: nothing is taken until ``resend_program``."""
        self.program_running = False

    def unlock(self) -> None:
        """End a protective stop; the program stays stopped.

        Raises:
            RefusedError: it is too early.
        """
        waited = self.time - self._stopped_at
        if self.protective_stop and waited < self._config.unlock_delay:
            raise RefusedError(
                f'a protective stop can be unlocked after {self._config.unlock_delay} s;'
                f' {waited:.1f} have passed'
            )
        self.protective_stop = ''

    def resend_program(self) -> None:
        """Start the program anew; the arm stays where it is.

        Raises:
            RefusedError: in a protective stop.
        """
        if self.protective_stop:
            raise RefusedError(f'protective stop: {self.protective_stop}')
        if not self.program_running:
            self._controller = Velocities(np.zeros(len(JOINTS)), self.time)
            self.program_running = True

    def reset_scene(self) -> None:
        """Put block and slider back, as a person would: a little elsewhere each time."""
        config = self._config
        shift = self._generator.uniform(-1, 1, 3)
        opened = config.slider_start + config.slider_spread * shift[0]
        self._data.joint('slider').qpos[0] = np.clip(opened, 0, scene.SLIDER_LENGTH)
        x, y = np.array(scene.BLOCK_PLACE) + config.block_spread * shift[1:]
        self._data.joint('block').qpos[:] = [x, y, 0.02, 1, 0, 0, 0]
        for name in ('slider', 'block'):
            self._data.joint(name).qvel[:] = 0
        mujoco.mj_forward(self.model, self._data)

    # Physics.

    def step(self) -> None:
        """Go on by one step of physics."""
        seconds = self.model.opt.timestep
        try:
            if self.program_running:
                motion = self._controller.at(self.time)
                self._drive.follow(motion, seconds)
                if motion.gripper is not None and self._gripper_follows:
                    self._aim_gripper(motion.gripper)
            elif not self.protective_stop:
                self._drive.halt(seconds)
            self._move_motors(seconds)
            mujoco.mj_step(self.model, self._data)
            self.time += seconds
            self._feel()
        except ProtectiveStopError as stop:
            self._protect(str(stop))

    def _move_motors(self, seconds: float) -> None:
        self._data.ctrl[self._motors] = self._drive.positions + self._lead * self._drive.velocities
        most = GRIPPER_SPEED * seconds
        self._gripper += float(np.clip(self._gripper_goal - self._gripper, -most, most))
        self._data.ctrl[self._fingers] = self._gripper / GRIPPER_CLOSED * _COMMAND_RANGE

    def _feel(self) -> None:
        """Protect the arm and what it hits.

        The force from outside is a sum of vectors: that between the fingers is none, however
        hard they hold something.
        """
        contacts = self._data.contact
        if not len(contacts.geom):
            return
        robot, gripper = self._is_robot[contacts.geom], self._is_gripper[contacts.geom]
        outside, result = np.zeros(3), np.zeros(6)
        for index in np.flatnonzero(robot.any(1) & ~gripper.all(1)):
            mujoco.mj_contactForce(self.model, self._data, index, result)
            force = result[:3] @ contacts.frame[index].reshape(3, 3)
            if robot[index].all():
                if np.linalg.norm(force) > self._config.stop_force:
                    raise ProtectiveStopError('the arm hit itself')
            else:
                outside += force if robot[index, 1] else -force
        if np.linalg.norm(outside) > self._config.stop_force:
            raise ProtectiveStopError(
                f'a force of {np.linalg.norm(outside):.0f} N; the limit is'
                f' {self._config.stop_force}'
            )

    def _protect(self, reason: str) -> None:
        """Stand still where the arm is now."""
        if not self.protective_stop:
            self._stopped_at = self.time
            self.protective_stop = reason
        self.program_running = False
        self._drive.freeze(self.positions)
        self._gripper_goal = self._gripper

    def _check_program(self) -> None:
        if not self.program_running:
            reason = self.protective_stop and f' (protective stop: {self.protective_stop})'
            raise RefusedError(f'no program runs{reason}')

    def _aim_gripper(self, position: float) -> None:
        self._gripper_goal = float(np.clip(position, 0, GRIPPER_CLOSED))

    def _twist_of_tool(self, twist: np.ndarray) -> np.ndarray:
        rotation = self._data.site_xmat[self._flange].reshape(3, 3)
        return self._twist_of_base(np.concatenate([rotation @ twist[:3], rotation @ twist[3:]]))

    def _twist_of_base(self, twist: np.ndarray) -> np.ndarray:
        """Velocities of the joints [6] for a twist [6] of the tool, in axes of the base."""
        mujoco.mj_jacSite(
            self.model, self._data, self._jacobian[:3], self._jacobian[3:], self._pinch
        )
        jacobian = self._jacobian[:, self._dofs]
        squared = jacobian @ jacobian.T + DAMPING**2 * np.eye(6)
        velocities = jacobian.T @ np.linalg.solve(squared, twist)
        # All slower together, so that the tool keeps its direction.
        excess = np.abs(velocities).max() / self._config.max_joint_velocity
        return velocities / max(excess, 1.0)

    # What it senses.

    @property
    def positions(self) -> np.ndarray:
        """Of the joints, rad [6]."""
        return self._data.qpos[self._qpos]

    @property
    def velocities(self) -> np.ndarray:
        """Of the joints, rad/s [6]."""
        return self._data.qvel[self._dofs]

    @property
    def efforts(self) -> np.ndarray:
        """Of the motors, N m [6]."""
        return self._data.actuator_force[self._motors]

    @property
    def gripper_position(self) -> float:
        """Of its joint, rad: 0 open, 0.8 closed."""
        return float(self._data.qpos[self._knuckle.qposadr[0]])

    @property
    def gripper_velocity(self) -> float:
        """Of its joint, rad/s."""
        return float(self._data.qvel[self._knuckle.dofadr[0]])

    @property
    def tool_pose(self) -> Pose:
        """The middle between the finger tips, with the axes of the flange (z out of it)."""
        quaternion = np.empty(4)
        mujoco.mju_mat2Quat(quaternion, self._data.site_xmat[self._flange])
        return Pose(self._data.site_xpos[self._pinch].copy(), quaternion)

    @property
    def block_pose(self) -> Pose:
        """The middle of the block."""
        start = self._block.qposadr[0]
        return Pose(
            self._data.qpos[start : start + 3].copy(), self._data.qpos[start + 3 : start + 7].copy()
        )

    @property
    def slider_position(self) -> float:
        """How far the drawer is open, m."""
        return float(self._data.qpos[self._slider.qposadr[0]])

    def pose_of_all(self) -> np.ndarray:
        """What the camera needs to draw this moment: float [model.nq]."""
        return self._data.qpos.copy()
