# SPDX-License-Identifier: Apache-2.0
"""The graph of robot.launch.py on the stand-in arm, and a person beside it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from arm_stage import PATIENCE_S, now_and_then
from geometry_msgs.msg import PoseStamped
from graph_support import CONFIG, HostedNode, Probe, run_node
from rclpy.task import Future
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from furl_interfaces.msg import Action, Observation
from furl_ros.bridge.convert import to_float_field
from furl_ros.bridge.qos import EVENTS, SENSOR
from furl_ros.core.exported import to_onnx

SMALL = {
    'warmup_steps': 60,
    'batch_size': 32,
    'head_batch_size': 32,
    'checkpoint_every': 0,
    'log_every': 0.5,
}

# Nobody is there who unlocks an arm that was too strong against the table.
SMALL_ARM = {'width': 160, 'height': 120, 'camera_rate': 20.0, 'stop_force': 5_000.0}

# What the stand-in arm calls what a profile names. Each of these stands for another name alone.
TOPICS = {
    '/scaled_joint_trajectory_controller/joint_trajectory': '/joint_trajectory',
    '/gripper_controller/commands': '/gripper_commands',
    '/tcp_pose_broadcaster/pose': '/tool_pose',
    '/camera/camera/color/image_raw/compressed': '/camera/image_raw/compressed',
    '/camera/camera/color/image_raw': '/camera/image_raw',
    '/servo_node/delta_twist_cmds': '/twist',
    '/servo_node/pause_servo': '/pause_servo',
    '/franka_robot_state_broadcaster/current_pose': '/tool_pose',
    '/drive_home': '/home',
    'fr3_link0': 'base_link',
}
# The stand-in has no seventh joint, and other ends of the six.
OF_THE_STAND_IN = yaml.safe_load((CONFIG / 'robot.yaml').read_text())['/**']['ros__parameters'][
    'robot'
]['joints']
ACTION_S = 30.0


def params(folder: Path, profile: str = 'robot.yaml', time_limit_s: float = 2.0) -> Path:
    """A profile of config/ on the stand-in arm, with short episodes, small batches and pictures."""
    text = (CONFIG / profile).read_text()
    for theirs, ours in TOPICS.items():
        text = text.replace(theirs, ours)
    content = yaml.safe_load(text)
    values = content['/**']['ros__parameters']
    values |= SMALL
    robot = values['robot']
    if 'fr3_joint1' in robot['joints']['names']:
        robot['joints'] |= {n: OF_THE_STAND_IN[n] for n in ('names', 'lower', 'upper')}
    robot['episode'] |= {'time_limit_s': time_limit_s}
    robot['episode']['reset'] |= {'move_s': 1.0, 'timeout_s': PATIENCE_S}
    names = ('observation_s', 'camera_s', 'nodes_s', 'loop_s')
    robot['watchdogs'] |= dict.fromkeys(names, PATIENCE_S) | {'action_s': ACTION_S}
    robot['joints']['stale_s'] = PATIENCE_S
    for source in (*robot['observation'].values(), robot['workspace']['pose']):
        if 'topic' in source:
            source['stale_s'] = PATIENCE_S
    for camera in robot['cameras'].values():
        camera |= {'roi': [20, 0, 120, 120], 'tolerance_s': 0.5, 'wait_s': 2.0}
    path = folder / 'arm.yaml'
    path.write_text(yaml.safe_dump(content))
    return path


def arm(probe: Probe) -> None:
    """Arm it, once all that is watched was heard."""
    probe.wait(now_and_then(lambda: probe.call(Trigger, 'arm_node/arm').success), 'arming')


def tell_success(probe: Probe) -> None:
    """A person who sees whether the tool is on the left of where it began."""
    publisher = probe.node.create_publisher(Bool, '/success', EVENTS)

    def look(message: PoseStamped) -> None:
        publisher.publish(Bool(data=message.pose.position.y > 0.05))

    probe.listen(PoseStamped, '/tool_pose', SENSOR, look)


class Person:
    """Drives every second episode to the left, and throws one of the others away."""

    def __init__(self, probe: Probe) -> None:
        self._drives = probe.node.create_publisher(Action, 'operator_action', EVENTS)
        self._rerecord = probe.node.create_client(Trigger, 'arm_node/rerecord')
        self._thrown: Future | None = None
        self._hand = np.random.default_rng(0)
        probe.listen(Observation, 'observation', 20_000, self._look)

    def _look(self, message: Observation) -> None:
        if message.episode % 2:
            action = self._hand.uniform(-1, 1, 3)
            action[1] = 0.3
            self._drives.publish(Action(action=to_float_field(action), agent='operator'))
        elif message.episode and message.step >= 20 and not self.is_asking:
            self._thrown = self._rerecord.call_async(Trigger.Request())

    @property
    def has_thrown(self) -> bool:
        """Whether an episode was thrown away."""
        return bool(self._thrown and self._thrown.done() and self._thrown.result().success)

    @property
    def is_asking(self) -> bool:
        """Whether he did that, or has no answer yet: where it came too late, he asks again."""
        return self._thrown is not None and (not self._thrown.done() or self.has_thrown)


def a_policy(path: Path, states: int, actions: int) -> Path:
    """One that nobody trained, in a file."""
    rng = np.random.default_rng(0)
    layers = [
        (rng.normal(0, 0.3, (16, states)), rng.normal(0, 0.1, 16)),
        (rng.normal(0, 0.3, (actions, 16)), rng.normal(0, 0.1, actions)),
    ]
    path.write_bytes(to_onnx(layers, -np.ones(actions), np.ones(actions), {}))
    return path


@contextlib.contextmanager
def hosted_arm(probe: Probe, **settings: Any) -> Iterator[HostedNode]:
    """The stand-in arm with small pictures; it outlives the graphs, and ends well."""
    with run_node(probe.domain, 'mock_arm_node', **(SMALL_ARM | settings)) as node:
        probe.command = node
        probe.wait(lambda: probe.node.count_publishers('/joint_states'), 'the arm')
        yield node
        node.end()
