# SPDX-License-Identifier: Apache-2.0
"""Tasks of the stand-in arm, and the person beside it: for benches that train it in real time."""

import contextlib
import copy
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
import yaml
from fault_run import END_LIMIT, Graph, wait
from geometry_msgs.msg import PoseStamped, TwistStamped
from PIL import Image as Picture
from sensor_msgs.msg import Image, JointState
from stand_in import REGION, mock_arm
from std_msgs.msg import Bool, Float64, Float64MultiArray, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from furl_interfaces.msg import Action, Observation
from furl_ros.bridge.convert import from_picture_msg, to_float_field, to_ns
from furl_ros.bridge.executor import Executor
from furl_ros.bridge.leaving import leave
from furl_ros.bridge.qos import ALIGNED, EVENTS, LATCHED, SENSOR, VIEWS
from furl_ros.core.arm.pictures import view
from furl_ros.core.arm.profile import Camera
from furl_ros.core.trainer import WINDOW

ROBOT = Path(__file__).parents[1] / 'config' / 'robot.yaml'
FAULTS = {
    'frame_latency': 0.03,
    'dropped_share': 0.05,
    'late_share': 0.05,
    'command_latency': 0.02,
    'command_jitter': 0.01,
}
ABOVE, NEAR = 0.1, 0.05  # m: the place of a reach over the block, and how near to it is enough
CLOSED = 0.02  # m: a drawer less open than this is closed
TOTAL = 10**6  # steps: runs end by time or success
SIDE = 160  # pixels of a film strip's pictures
SHAKING = 0.1  # deviation of what the hand adds to each value of an action

FIST = 0.8  # rad: of the gripper's joint, closed
PACE_S, GAIN, FASTEST, ARRIVED = 0.05, 3.0, 0.15, 0.01  # s, 1/s, m/s, m: driving by hand
UP = 0.2  # rad: of the shoulder, some 8 cm at the tool
SERVO = 0.4  # m/s that a 1 means
SCENE = {'kinds': ['trajectory', 'service'], 'service': '/reset_scene'}
REACH = {
    'prompt': 'reach the red block with the gripper',
    # What the arm has pushed, block or drawer, goes back: the goal picture shows them so.
    'robot': {'episode': {'reset': SCENE}},
}
SLIDE = {
    'prompt': 'push the drawer closed',
    'robot': {
        'name': 'mock-arm-slide',
        'command': {'scale': 0.12},
        'observation': {
            'slider': {
                'topic': '/slider_position',
                'type': 'std_msgs/msg/Float64',
                'fields': ['data'],
                'offset': 0.05,
                'scale': 0.05,
                'stale_s': 0.5,
            }
        },
        # The tool stays in front of the handle, where it cannot slip off to the side and be caught
        # behind it, and below its top: from above it would press on it.
        'workspace': {'low': [0.35, -0.165, 0.08], 'high': [0.55, -0.135, 0.105], 'margin': 0.02},
        'episode': {
            # The tool goes back; only then the drawer springs open again.
            'reset': SCENE | {'positions': [2.4638, -1.5769, 2.2429, -2.2368, -1.5708, -0.6778]},
        },
    },
}
TASKS = {'reach': REACH, 'slide': SLIDE}
GOALS = {'reach': [(0.45, 0.15, 0.12)], 'slide': [(0.42, -0.15, 0.09), (0.55, -0.15, 0.09)]}
"""Places of the tool on the way to the goal, m."""


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two nested mappings; the other's values count."""
    result = copy.deepcopy(one)
    for name, value in other.items():
        inside = isinstance(value, dict) and isinstance(result.get(name), dict)
        result[name] = merged(result[name], value) if inside else value
    return result


def params(task: str, path: Path) -> dict[str, Any]:
    """Write the parameter file of a task: config/robot.yaml, but for what the task is.

    Returns:
        The description of the robot in it.
    """
    content = yaml.safe_load(ROBOT.read_text())
    (section,) = content.values()
    section['ros__parameters'] = merged(
        merged(section['ros__parameters'], {'robot': REGION}), TASKS[task]
    )
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return section['ros__parameters']['robot']


class Operator:
    """The person beside the arm, as a node of this process; a context manager."""

    def __init__(self, task: str) -> None:
        self.state, self.stops = '', 0
        self.running, self.slider, self.block = True, 1.0, np.full(3, np.inf)
        self.solved, self.tool, self.picture = False, np.full(3, np.inf), None
        self.speed = 0.0  # m/s that an action of 1 means, where the operator drives; 0: he does not
        self.solutions = self.failures = 0
        self._places: list[tuple[float, float, float]] = []
        self._hand = np.random.default_rng(0)
        self.films: list[tuple[bool, list[np.ndarray]]] = []
        self._film: dict[int, np.ndarray] = {}
        self._stamps: list[int] = []
        self._left = threading.Event()
        rclpy.init()
        self.node = rclpy.create_node('operator')
        self.publisher = self.node.create_publisher(Bool, '/success', EVENTS)
        for kind, topic, handler, qos in (
            (String, '/arm_node/state', self._on_state, LATCHED),
            (Bool, '/robot_program_running', self._on_program, LATCHED),
            (PoseStamped, '/block_pose', self._on_block, EVENTS),
            (Float64, '/slider_position', self._on_slider, EVENTS),
            (Observation, '/observation', self._on_observation, ALIGNED),
            (Image, '/camera_view/image_raw', self._on_picture, VIEWS),
            (PoseStamped, '/tool_pose', self._on_tool, SENSOR),
        ):
            self.node.create_subscription(kind, topic, handler, qos)
        self.task = task
        self.twists = self.node.create_publisher(TwistStamped, '/twist', EVENTS)
        self.trajectories = self.node.create_publisher(JointTrajectory, '/joint_trajectory', EVENTS)
        self.actions = self.node.create_publisher(Action, '/operator_action', EVENTS)
        # It pushes with the fist.
        self.fingers = self.node.create_publisher(Float64MultiArray, '/gripper_commands', EVENTS)
        self.executor = Executor()
        self.executor.add_node(self.node)
        self._threads = [
            threading.Thread(target=self.executor.spin),
            threading.Thread(target=self._look_after),
        ]

    def __enter__(self) -> 'Operator':
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._threads[1].join()
        self.executor.stop()
        self._threads[0].join()
        self.executor.shutdown()
        leave(self.node)
        rclpy.try_shutdown()

    def _on_state(self, message: String) -> None:
        self.stops += message.data.startswith('stopped')
        self.state = message.data

    def _on_program(self, message: Bool) -> None:
        self.running = message.data

    def _on_block(self, message: PoseStamped) -> None:
        place = message.pose.position
        self.block = np.array([place.x, place.y, place.z])

    def _on_slider(self, message: Float64) -> None:
        self.slider = message.data

    def _on_tool(self, message: PoseStamped) -> None:
        place = message.pose.position
        self.tool = np.array([place.x, place.y, place.z])
        if self.task == 'reach':
            away = self.tool - self.block - np.array([0.0, 0.0, ABOVE])
            self._say(bool(np.linalg.norm(away) < NEAR))
        else:
            self._say(self.slider < CLOSED)

    def _say(self, solved: bool) -> None:
        if solved != self.solved:
            self.solved = solved
            self.publisher.publish(Bool(data=solved))

    def _on_observation(self, message: Observation) -> None:
        if message.step == 0:
            self._stamps, self._film, self._places = [], {}, list(GOALS[self.task])
        if self.speed:
            self._drive_on(bool(message.terminated or message.truncated))
        self._stamps.append(to_ns(message.header.stamp))
        if message.terminated or message.truncated:
            self.solutions += message.success
            self.failures += not message.success
            film = [self._film[stamp] for stamp in self._stamps if stamp in self._film]
            # The first ones are of the warm-up; of the others the newest are kept.
            self.films = [*self.films[:WINDOW], *self.films[WINDOW:][-WINDOW:]]
            self.films.append((message.success, film))

    def _on_picture(self, message: Image) -> None:
        if message.data:
            picture = cv2.resize(
                from_picture_msg(message), (SIDE, SIDE), interpolation=cv2.INTER_AREA
            )
            self._film[to_ns(message.header.stamp)] = picture

    def take_goal(self, robot: dict[str, Any], path: Path) -> None:
        """Drive the arm from its start to the goal, as one does with a joystick; take a picture.

        Raises:
            SystemExit: it did not get there, or there is no picture.
        """
        (camera,) = robot['cameras'].values()
        keeper = self.node.create_subscription(Image, camera['topic'], self._keep, SENSOR)
        if not wait(lambda: self.trajectories.get_subscription_count() and self.running, END_LIMIT):
            raise SystemExit('there is no arm')
        self.fingers.publish(Float64MultiArray(data=[FIST]))
        self._move(robot['joints']['names'], robot['episode']['reset']['positions'], 3)
        time.sleep(4.0)
        self.call('/reset_scene')
        for place in GOALS[self.task]:
            end = time.monotonic() + END_LIMIT
            while np.abs(way := place - self.tool).max() > ARRIVED:
                if time.monotonic() > end:
                    raise SystemExit(f'the arm does not come to {place}: it is at {self.tool}')
                self._drive(np.clip(GAIN * way, -FASTEST, FASTEST))
                time.sleep(PACE_S)
        if not wait(lambda: self.solved, END_LIMIT):
            raise SystemExit(
                f'{self.task} is not solved at the goal: the tool is at {self.tool}, the block at'
                f' {self.block}, the drawer open by {self.slider:.3f} m'
            )
        self.picture = None
        if not wait(lambda: self.picture is not None, END_LIMIT):
            raise SystemExit('there is no picture of the goal')
        # From the file of the robot: `roi` is all that its camera has.
        seen = view(Camera(roi=tuple(camera['roi'])), from_picture_msg(self.picture))
        Picture.fromarray(seen).save(path)
        self.node.destroy_subscription(keeper)

    def _keep(self, message: Image) -> None:
        self.picture = message

    def _drive(self, velocity: np.ndarray) -> None:
        message = TwistStamped()
        message.header.stamp = self.node.get_clock().now().to_msg()
        message.header.frame_id = 'base_link'
        linear = message.twist.linear
        linear.x, linear.y, linear.z = (float(value) / SERVO for value in velocity)
        self.twists.publish(message)

    def _drive_on(self, over: bool) -> None:
        """Drive on in an episode, or let go where it is over."""
        action = np.zeros(0)
        if not over:
            way = self._places[0] - self.tool
            if np.abs(way).max() < ARRIVED and len(self._places) > 1:
                way = self._places.pop(0) - self.tool
            action = np.clip(GAIN * way / self.speed, -1, 1) + self._hand.normal(0, SHAKING, 3)
        self.actions.publish(Action(action=to_float_field(np.clip(action, -1, 1))))

    def _look_after(self) -> None:
        """Arm the arm whenever it can be armed; free it where it cannot get away by itself."""
        while not self._left.wait(0.5):
            if not self.running:
                self.call('/unlock_protective_stop')
                self.call('/resend_robot_program')
            elif self.state.startswith('stopped'):
                if 'no reset' in self.state:
                    self._lift()
                self.call('/arm_node/disarm')
            elif self.state.startswith('disarmed'):
                self.call('/arm_node/arm')

    def _lift(self) -> None:
        """Lift the arm straight up: a finger may be caught behind the drawer's handle."""
        heard: list[JointState] = []
        # Only now: they come 125 times a second.
        ears = self.node.create_subscription(JointState, '/joint_states', heard.append, SENSOR)
        came = wait(lambda: bool(heard), END_LIMIT)
        self.node.destroy_subscription(ears)
        if not came:
            return
        place = dict(zip(heard[0].name, heard[0].position, strict=True))
        arm = {name: value for name, value in place.items() if not name.startswith('robotiq')}
        arm['shoulder_lift_joint'] -= UP
        self._move(list(arm), list(arm.values()), 2)
        time.sleep(2.5)

    def _move(self, names: list[str], positions: list[float], seconds: int) -> None:
        """Have the arm go to these joint positions, rad, in this time."""
        point = JointTrajectoryPoint(positions=positions)
        point.time_from_start.sec = seconds
        self.trajectories.publish(JointTrajectory(joint_names=names, points=[point]))

    def call(self, name: str) -> None:
        """Call a Trigger, if it is there."""
        client = self.node.create_client(Trigger, name)
        with contextlib.suppress(Exception):
            if wait(client.service_is_ready, 1.0):
                wait(client.call_async(Trigger.Request()).done, 5.0)
        self.node.destroy_client(client)


@contextlib.contextmanager
def graph_of(
    task: str, seed: int, folder: Path, settings: Mapping[str, Any]
) -> Iterator[tuple[Graph, Operator, dict[str, Any]]]:
    """A graph that trains in an empty folder, the operator beside it, and its robot."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    robot = params(task, folder / 'arm.yaml')
    run = folder / 'run'
    arm = mock_arm(folder / 'mock_arm.log', **FAULTS, seed=seed)
    with arm, Operator(task) as operator:
        operator.take_goal(robot, folder / 'goal.png')
        graph = Graph(
            folder / 'launch.log',
            run,
            'robot.launch.py',
            params_file=folder / 'arm.yaml',
            run_folder=run,
            goal_image=folder / 'goal.png',
            seed=seed,
            **({'total_steps': TOTAL} | dict(settings)),
        )
        try:
            yield graph, operator, robot
        finally:
            if graph.process.poll() is None:
                graph.interrupt()
                wait(lambda: graph.process.poll() is not None, END_LIMIT)
            graph.remove()
