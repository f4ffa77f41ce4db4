# SPDX-License-Identifier: Apache-2.0
"""A stand-in for hardware: an arm, its driver, controllers and camera behind standard topics.

It plays somebody else's robot, so it makes and reads its messages itself. The main thread steps
the physics with real time, a thread of its own draws, and the executor's thread takes commands.
"""

import contextlib
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, TwistStamped
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import Bool, Float64, Float64MultiArray, Header
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from furl_ros.bridge.node import ERROR, OK, WARN, FurlNode, run
from furl_ros.bridge.parameters import declare
from furl_ros.bridge.qos import EVENTS, LATCHED, SENSOR
from furl_ros.core.health import Level
from furl_ros.core.timing import Stages
from sim.mock_arm.arm import Arm, Pose
from sim.mock_arm.camera import Camera
from sim.mock_arm.config import ArmConfig, CameraConfig, FaultConfig
from sim.mock_arm.controllers import BASE_FRAME, GRIPPER_JOINT, Point, RefusedError
from sim.mock_arm.faults import DROPPED, LATE, REPEATED, Faults
from sim.mock_arm.scene import JOINTS

CAMERA_FRAME = 'camera_optical_frame'
RATE = 125
"""Of joint_states, tool_pose and of the intake of commands, Hz."""
SCENE_EVERY = 5
"""Ticks from one message about block and slider to the next."""
MOST_BEHIND = 0.1
"""Seconds that the physics catches up; what the machine takes away beyond is lost, and counted."""
# Names come in any order; joint_state_broadcaster's is often that of the alphabet.
ORDER = sorted(range(len(JOINTS) + 1), key=lambda index: [*JOINTS, GRIPPER_JOINT][index])
NAMES = [[*JOINTS, GRIPPER_JOINT][index] for index in ORDER]


class Shot(NamedTuple):
    """A picture, uint8 [height, width, 3], and its stamp in nanoseconds."""

    stamp: int
    picture: np.ndarray


class MockArmNode(FurlNode):
    """See the module's docstring; docs/mock_arm.md lists topics and services."""

    def __init__(self, **options: Any) -> None:
        super().__init__('mock_arm_node', **options)
        config = declare(self, ArmConfig)
        self.camera_config = declare(self, CameraConfig)
        self.faults = Faults(declare(self, FaultConfig), config.seed)
        self.arm = Arm(config)
        self.lock = threading.Lock()
        self.film_stages = Stages()  # times nest in a thread, so each has its own
        self.steps_per_tick = config.physics_rate // RATE
        self.ticks = 0
        self.last_shot: Shot | None = None
        self.shown_running: bool | None = None

        self.joint_publisher = self.create_publisher(JointState, 'joint_states', EVENTS)
        self.tool_publisher = self.create_publisher(PoseStamped, 'tool_pose', EVENTS)
        self.running_publisher = self.create_publisher(Bool, 'robot_program_running', LATCHED)
        self.block_publisher = self.create_publisher(PoseStamped, 'block_pose', EVENTS)
        self.slider_publisher = self.create_publisher(Float64, 'slider_position', EVENTS)
        self.image_publisher = self.create_publisher(Image, 'camera/image_raw', SENSOR)
        self.jpeg_publisher = self.create_publisher(
            CompressedImage, 'camera/image_raw/compressed', SENSOR
        )
        self.info_publisher = self.create_publisher(CameraInfo, 'camera/camera_info', SENSOR)

        self.take(JointTrajectory, 'joint_trajectory', self.on_trajectory)
        self.take(TwistStamped, 'twist', self.on_twist)
        for topic, command in (
            ('position_commands', self.arm.command_positions),
            ('velocity_commands', self.arm.command_velocities),
            ('gripper_commands', self.arm.command_gripper),
        ):
            self.take(Float64MultiArray, topic, lambda m, command=command: command(m.data))
        for name, act in (
            ('home', self.arm.home),
            ('stop', self.arm.stop),
            ('unlock_protective_stop', self.arm.unlock),
            ('resend_robot_program', self.arm.resend_program),
            ('reset_scene', self.arm.reset_scene),
        ):
            self.serve(Trigger, name, lambda _, act=act: act())
        self.serve(SetBool, 'pause_servo', lambda request: self.arm.pause_servo(request.data))
        width, height = self.camera_config.width, self.camera_config.height
        self.get_logger().info(f'a UR5e with a gripper; pictures of {width}x{height}')

    def take(self, kind: type, topic: str, carry_out: Callable[[Any], None]) -> None:
        """Subscribe to a topic of commands: each goes the slow way to the arm."""

        def send(message: Any) -> None:
            with self.lock:
                self.faults.commands.put((topic, carry_out, message), time.monotonic())

        self.create_subscription(kind, topic, send, EVENTS)

    def serve(self, kind: type, name: str, act: Callable[[Any], Any]) -> None:
        """Offer a service: what it does succeeds unless it is refused."""

        def answer(request: Any, response: Any) -> Any:
            with self.lock:
                try:
                    done = act(request)
                except RefusedError as refusal:
                    response.success, response.message = False, str(refusal)
                else:
                    response.success = True
                    response.message = '' if done is None else f'takes {done:.1f} s'
            return response

        self.create_service(kind, name, answer)

    def on_trajectory(self, message: JointTrajectory) -> None:
        """A trajectory has come to its controller."""
        start = _nanoseconds(message.header.stamp)
        points = [
            Point(
                point.time_from_start.sec + point.time_from_start.nanosec * 1e-9,
                point.positions,
                point.velocities,
                point.accelerations,
                point.effort,
            )
            for point in message.points
        ]
        start_in = (start - time.time_ns()) * 1e-9 if start else None
        self.arm.command_trajectory(message.joint_names, points, start_in)

    def on_twist(self, message: TwistStamped) -> None:
        """A twist has come to Servo."""
        linear, angular = message.twist.linear, message.twist.angular
        self.arm.command_twist(
            message.header.frame_id,
            [linear.x, linear.y, linear.z, angular.x, angular.y, angular.z],
            (time.time_ns() - _nanoseconds(message.header.stamp)) * 1e-9,
        )

    def work(self, stop: threading.Event) -> int:
        """Keep the physics at the pace of real time; draw beside it."""
        with self.filming(stop) as check_film:
            due = time.monotonic()
            while not stop.is_set():
                check_film()
                self.tick()
                due += 1 / RATE
                behind = time.monotonic() - due
                if behind > MOST_BEHIND:
                    lost = int(behind * RATE)
                    self.counts['ticks lost: the machine is too slow'] += lost
                    due += lost / RATE
                stop.wait(max(0.0, -behind))
        return 0

    def tick(self) -> None:
        """Carry out what has come, step the physics, tell what is sensed."""
        now = time.monotonic()
        with self.lock, self.stages('physics'):
            for topic, carry_out, message in self.faults.commands.take(now):
                try:
                    carry_out(message)
                except RefusedError as refusal:
                    self.count_bad(f'{topic} refused', str(refusal))
            before = self.arm.protective_stop
            for _ in range(self.steps_per_tick):
                self.arm.step()
            stopped, running = self.arm.protective_stop, self.arm.program_running
            sensed = self.sense()
            slider, block = self.arm.slider_position, self.arm.block_pose
        if stopped and not before:
            self.counts['protective stops'] += 1
            self.get_logger().error(f'protective stop: {stopped}')
        if running != self.shown_running:
            self.running_publisher.publish(Bool(data=running))
            self.shown_running = running
        with self.stages('publish'):
            self.faults.joints.put(sensed, now)
            for joints, tool in self.faults.joints.take(now):
                self.joint_publisher.publish(joints)
                self.tool_publisher.publish(tool)
            if self.ticks % SCENE_EVERY == 0:
                stamp = sensed[0].header.stamp
                self.slider_publisher.publish(Float64(data=slider))
                self.block_publisher.publish(_pose_message(block, stamp))
        self.ticks += 1

    def sense(self) -> tuple[JointState, PoseStamped]:
        """What the driver tells of this moment."""
        arm, stamp = self.arm, _stamp(time.time_ns())
        positions = self.faults.noisy(np.append(arm.positions, arm.gripper_position))
        joints = JointState(
            header=Header(stamp=stamp, frame_id=BASE_FRAME),
            name=NAMES,
            position=positions[ORDER].tolist(),
            velocity=np.append(arm.velocities, arm.gripper_velocity)[ORDER].tolist(),
            effort=np.append(arm.efforts, 0.0)[ORDER].tolist(),
        )
        return joints, _pose_message(arm.tool_pose, stamp)

    @contextlib.contextmanager
    def filming(self, stop: threading.Event) -> Iterator[Callable[[], None]]:
        """Film in a thread until the end; yields what raises the film's error, if it has one."""

        def check() -> None:
            if film.done():
                film.result()

        ready = threading.Event()
        with ThreadPoolExecutor(1, 'camera') as pool:
            film = pool.submit(self.film, ready, stop)
            try:
                # To open OpenGL takes long, and Python stands still meanwhile.
                while not ready.wait(0.1):
                    check()
                yield check
            finally:
                stop.set()

    def film(self, ready: threading.Event, stop: threading.Event) -> None:
        """Take and show pictures until the end; ``ready`` is set before the first."""
        config, frames = self.camera_config, self.faults.frames
        camera = Camera(self.arm.model, config.width, config.height)
        ready.set()
        try:
            due = time.monotonic()
            while not stop.is_set():
                if time.monotonic() >= due:
                    due = max(due + 1 / config.camera_rate, time.monotonic())
                    if self.is_watched():
                        self.shoot(camera)
                for shot in frames.take(time.monotonic()):
                    self.show(shot, camera)
                stop.wait(max(0.0, min(due, frames.next_due) - time.monotonic()))
        finally:
            camera.close()

    def is_watched(self) -> bool:
        """Whether anybody listens to the camera."""
        publishers = (self.image_publisher, self.jpeg_publisher, self.info_publisher)
        return any(publisher.get_subscription_count() for publisher in publishers)

    def shoot(self, camera: Camera) -> None:
        """Take a picture and send it the slow way."""
        fate = self.faults.fate_of_frame()
        if fate == DROPPED:
            return
        if fate != REPEATED or self.last_shot is None:
            with self.lock:
                state, stamp = self.arm.pose_of_all(), time.time_ns()
            stamp += round(self.camera_config.camera_clock_offset * 1e9)
            with self.film_stages('draw'):
                self.last_shot = Shot(stamp, camera.picture(state))
        more = self.faults.late_by if fate == LATE else 0.0
        self.faults.frames.put(self.last_shot, time.monotonic(), more)

    def show(self, shot: Shot, camera: Camera) -> None:
        """Publish a picture to those who listen."""
        header = Header(stamp=_stamp(shot.stamp), frame_id=CAMERA_FRAME)
        height, width, _ = shot.picture.shape
        if self.image_publisher.get_subscription_count():
            self.image_publisher.publish(
                Image(
                    header=header,
                    height=height,
                    width=width,
                    encoding='rgb8',
                    step=3 * width,
                    data=array('B', shot.picture.tobytes()),
                )
            )
        if self.jpeg_publisher.get_subscription_count():
            _, data = cv2.imencode('.jpg', cv2.cvtColor(shot.picture, cv2.COLOR_RGB2BGR))
            self.jpeg_publisher.publish(
                CompressedImage(
                    header=header,
                    format='rgb8; jpeg compressed bgr8',
                    data=array('B', data.tobytes()),
                )
            )
        if self.info_publisher.get_subscription_count():
            lens = camera.lens
            f, cx, cy = lens.focal, lens.cx, lens.cy
            self.info_publisher.publish(
                CameraInfo(
                    header=header,
                    width=lens.width,
                    height=lens.height,
                    distortion_model='plumb_bob',
                    d=[0.0] * 5,
                    k=[f, 0.0, cx, 0.0, f, cy, 0.0, 0.0, 1.0],
                    r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
                    p=[f, 0.0, cx, 0.0, 0.0, f, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
                )
            )

    def diagnose(self) -> tuple[Level, str, dict[str, object]]:
        values = {f'frames {fate}': count for fate, count in list(self.faults.counts.items())}
        values['ticks'] = self.ticks
        values['stage/draw_s'] = round(self.film_stages.seconds.get('draw', 0.0), 4)
        if self.arm.protective_stop:
            return ERROR, f'protective stop: {self.arm.protective_stop}', values
        if not self.arm.program_running:
            return WARN, 'no program runs', values
        return OK, 'running', values


def _nanoseconds(stamp: Time) -> int:
    return stamp.sec * 10**9 + stamp.nanosec


def _stamp(nanoseconds: int) -> Time:
    seconds, rest = divmod(nanoseconds, 10**9)
    return Time(sec=seconds, nanosec=rest)


def _pose_message(pose: Pose, stamp: Time) -> PoseStamped:
    message = PoseStamped(header=Header(stamp=stamp, frame_id=BASE_FRAME))
    place, turn = message.pose.position, message.pose.orientation
    place.x, place.y, place.z = pose.position.tolist()
    turn.w, turn.x, turn.y, turn.z = pose.quaternion.tolist()
    return message


def main() -> None:
    """Entry point of ``ros2 run furl_ros mock_arm_node``."""
    sys.exit(run(MockArmNode))


if __name__ == '__main__':
    main()
