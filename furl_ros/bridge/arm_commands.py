# SPDX-License-Identifier: Apache-2.0
"""Commands of the arm's core as the messages that robots take."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import TwistStamped
from rclpy.action import ActionClient
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from furl_ros.bridge.convert import NANOSECONDS
from furl_ros.bridge.qos import EVENTS
from furl_ros.core.arm.action import ActionMap, Command
from furl_ros.core.arm.profile import (
    JOINT_TRAJECTORY,
    MOVE,
    NO_GRIPPER,
    TWIST,
    CommandConfig,
    Gripper,
    Profile,
)
from furl_ros.core.settings import SettingError

STAY_S = 0.1
"""Seconds in which a way ends where the arm is."""
GRIPPER_S = 0.5
"""Seconds for the way of a gripper's joint."""


def to_duration(seconds: float) -> Duration:
    """Seconds as a message."""
    whole, rest = divmod(round(seconds * NANOSECONDS), NANOSECONDS)
    return Duration(sec=whole, nanosec=rest)


def to_trajectory(names: Sequence[str], positions: np.ndarray, seconds: float) -> JointTrajectory:
    """One point to be reached in so many seconds from now on.

    joint_trajectory_controller starts a stamp of zero at once, and takes a last point without
    velocities.
    """
    point = JointTrajectoryPoint(positions=[float(value) for value in positions])
    point.time_from_start = to_duration(seconds)
    return JointTrajectory(joint_names=list(names), points=[point])


class ArmCommands:
    """Publishers of the commands of one robot.

    Args:
        node: the node that they belong to.
        profile: the robot.
        show: called with what would be sent, instead of sending it; None: send.

    Raises:
        SettingError: the profile asks for a package that is not installed.
    """

    def __init__(
        self, node: Node, profile: Profile, show: Callable[[str], None] | None = None
    ) -> None:
        self._node, self._profile, self._show = node, profile, show
        self._actions = ActionMap(profile)
        self._period = 1 / profile.control_rate
        command = profile.command
        kinds = {JOINT_TRAJECTORY: JointTrajectory, TWIST: TwistStamped}
        kind = kinds.get(command.kind, Float64MultiArray)
        self._arm = node.create_publisher(kind, command.topic, EVENTS)
        self._way = self._arm
        reset = profile.episode.reset
        if MOVE in reset.kinds and reset.trajectory_topic not in ('', command.topic):
            self._way = node.create_publisher(JointTrajectory, reset.trajectory_topic, EVENTS)
        self._gripper = make_gripper(node, profile.gripper)
        self._closing: float | None = None

    def unheard(self) -> str:
        """The first topic of commands to the arm that nobody listens to; '' when all are heard."""
        publishers = [] if self._show else [self._arm, self._way]
        return next((p.topic for p in publishers if not p.get_subscription_count()), '')

    def send(self, command: Command) -> None:
        """Send a command to the arm, and to the gripper where its value changes."""
        self._give(self._arm.publish, self._to_message(command))
        if command.gripper is not None and command.gripper != self._closing:
            self._closing = command.gripper
            self._give(self._gripper, command.gripper)

    def move(self, positions: Sequence[float], seconds: float) -> None:
        """Send the arm to joint positions, in so many seconds."""
        names = self._profile.joints.names
        self._give(self._way.publish, to_trajectory(names, np.asarray(positions), seconds))

    def stay(self, positions: np.ndarray) -> None:
        """End a ``move`` here, where another controller than that of the commands drives it."""
        if self._way is not self._arm:
            names = self._profile.joints.names
            self._give(self._way.publish, to_trajectory(names, positions, STAY_S))

    def _give(self, send: Callable[[Any], None], what: Any) -> None:
        if self._show is None:
            send(what)
        else:
            self._show(str(what))

    def _to_message(self, command: Command) -> JointTrajectory | Float64MultiArray | TwistStamped:
        config: CommandConfig = self._profile.command
        if config.kind == JOINT_TRAJECTORY:
            seconds = config.reach_s or self._period
            return to_trajectory(self._profile.joints.names, command.values, seconds)
        if config.kind == TWIST:
            message = TwistStamped()
            # Servo drops what is older than a tenth of a second: a stamp of zero always is.
            message.header.stamp = self._node.get_clock().now().to_msg()
            message.header.frame_id = config.frame_id
            twist = [float(value) for value in self._actions.twist(command)]
            linear, angular = message.twist.linear, message.twist.angular
            linear.x, linear.y, linear.z, angular.x, angular.y, angular.z = twist
            return message
        return Float64MultiArray(data=[float(value) for value in command.values])


def make_gripper(node: Node, gripper: Gripper) -> Callable[[float], None]:
    """What sends a value to the gripper.

    Raises:
        SettingError: it is moved by an action, and control_msgs is not installed.
    """
    if gripper.kind == NO_GRIPPER:
        return lambda _: None
    if gripper.kind == 'float_array':
        publisher = node.create_publisher(Float64MultiArray, gripper.topic, EVENTS)
        return lambda value: publisher.publish(Float64MultiArray(data=[value]))
    if gripper.kind == JOINT_TRAJECTORY:
        publisher = node.create_publisher(JointTrajectory, gripper.topic, EVENTS)
        return lambda value: publisher.publish(
            to_trajectory([gripper.joint], np.array([value]), GRIPPER_S)
        )
    try:
        from control_msgs import action
    except ImportError:
        raise SettingError(
            f'gripper.kind is {gripper.kind!r}, which needs the package control_msgs of ROS, and it'
            " is not installed; accepted without it: 'float_array', 'joint_trajectory'"
        ) from None
    if gripper.kind == 'gripper_action':
        client = ActionClient(node, action.GripperCommand, gripper.topic)

        def command(value: float) -> None:
            goal = action.GripperCommand.Goal()
            goal.command.position = value
            client.send_goal_async(goal)

        return command
    client = ActionClient(node, action.ParallelGripperCommand, gripper.topic)

    def move(value: float) -> None:
        goal = action.ParallelGripperCommand.Goal()
        goal.command.name, goal.command.position = [gripper.joint], [value]
        client.send_goal_async(goal)

    return move
