# SPDX-License-Identifier: Apache-2.0
"""The simulated robot: camera, state and reset of one environment.

Lock-step: every observation waits for the action that carries its stamp. Real time: a timer goes
on at ``control_rate`` with the newest action.
"""

import sys
import time
from array import array
from typing import Any

import numpy as np
from geometry_msgs.msg import Point
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, Image, JointState
from visualization_msgs.msg import Marker

from furl_interfaces.msg import Action, Observation, SourceInfo
from furl_interfaces.srv import Reset
from furl_ros.bridge.config import SimNodeConfig
from furl_ros.bridge.convert import check_stamp, to_float_field, to_image_msg, to_ns, to_time
from furl_ros.bridge.join import Sensed
from furl_ros.bridge.node import OK, FurlNode, run
from furl_ros.bridge.parameters import declare
from furl_ros.bridge.qos import ALIGNED, EVENTS, LATCHED, LOCKSTEP, VIEWS
from furl_ros.bridge.scenes import SceneTopics
from furl_ros.bridge.serving import Serving
from furl_ros.bridge.steps import to_camera_info, to_observation
from furl_ros.core.health import Level, Rate
from sim.config import SimConfig
from sim.envs import Step, make
from sim.oracle import goal_image

CAMERA_FRAME, WORLD_FRAME = 'camera_optical_frame', 'world'
LOOK_ROUND_S = 1.0  # seconds after which somebody who looks on is seen while nothing moves


class SimNode(FurlNode):
    """See the module's docstring; topics and services are listed in docs/topics.md."""

    def __init__(self, **options: Any) -> None:
        super().__init__('sim_node', **options)
        self.sim_config = declare(self, SimConfig)
        self.config = declare(self, SimNodeConfig)
        self.env = make(self.sim_config)
        self.period_ns = round(self.env.control_period * 1e9)
        start = self.config.start_time
        self.next_stamp = time.time_ns() if start < 0 else max(1, round(start * 1e9))
        self.episode = -1
        self.step = 0
        self.now: Sensed | None = None
        self.evaluation = False  # what the episode is for
        self.newest_action: tuple[float, np.ndarray] | None = None
        self.serving = Serving(self)
        self.step_rate = Rate(time.monotonic())
        self.began, self.behind = 0.0, 0  # of the episode: when it began, control steps missed

        stream = VIEWS if self.config.real_time else LOCKSTEP
        self.image_publisher = self.create_publisher(Image, 'camera/image_raw', stream)
        self.info_publisher = self.create_publisher(CameraInfo, 'camera/camera_info', stream)
        self.observation_publisher = self.create_publisher(Observation, 'observation', ALIGNED)
        self.joint_publisher = self.create_publisher(JointState, 'joint_states', EVENTS)
        self.marker_publisher = self.create_publisher(Marker, 'goal_marker', LATCHED)
        self.goal_publisher = self.create_publisher(Image, 'goal_image', LATCHED)
        self.source_publisher = self.create_publisher(SourceInfo, 'source_info', LATCHED)
        self.scene = SceneTopics(self, self.env, WORLD_FRAME)
        self.create_timer(LOOK_ROUND_S, self.show_scene, clock=self.steady_clock)
        self.clock_publisher = None
        if self.config.publish_clock and not self.config.real_time:
            self.clock_publisher = self.create_publisher(ClockMessage, '/clock', EVENTS)
        self.create_subscription(Action, 'action', self.on_action, LOCKSTEP)
        self.create_service(Reset, 'reset', self.on_reset)
        if self.config.real_time:
            self.create_timer(1 / self.config.control_rate, self.on_tick, clock=self.steady_clock)

        self.publish_source_info()
        if self.config.publish_goal_image:
            self.publish_goal_image()
        self.get_logger().info(
            f'{self.sim_config.task}: state {self.env.observation_space.shape[0]},'
            f' action {self.env.action_space.shape[0]},'
            f' {self.sim_config.width}x{self.sim_config.height} from {self.sim_config.camera!r}'
        )

    def publish_source_info(self) -> None:
        """Tell (latched) what this robot senses and accepts."""
        message = SourceInfo(
            run=self.run_id,
            task=self.sim_config.task,
            state_size=int(self.env.observation_space.shape[0]),
            proprioception=array('I', self.env.proprioception),
            action_low=to_float_field(self.env.action_space.low),
            action_high=to_float_field(self.env.action_space.high),
            control_period=(
                1 / self.config.control_rate if self.config.real_time else self.env.control_period
            ),
            lockstep=not self.config.real_time,
        )
        message.header.stamp = to_time(self.next_stamp)
        self.source_publisher.publish(message)

    def publish_goal_image(self) -> None:
        """Publish (latched) the goal image, where the task has a scripted policy."""
        frame = goal_image(self.sim_config)
        if frame is not None:
            message = to_image_msg(frame, self.next_stamp, CAMERA_FRAME)
        else:
            # An empty picture tells those who wait for it that there is none.
            message = Image(encoding='rgb8')
            message.header.stamp = to_time(self.next_stamp)
            self.get_logger().warning(
                f'no goal image: no scripted policy solves {self.sim_config.task} here'
            )
        self.goal_publisher.publish(message)

    def on_reset(self, request: Reset.Request, response: Reset.Response) -> Reset.Response:
        """Start an episode; its first observation and frame carry the answered stamp."""
        refusal = self.serving.refusal(request.run)
        if refusal:
            response.error_code, response.error_msg = Reset.Response.OTHER_RUN, refusal
            self.count_bad('resets refused', refusal)
            return response
        try:
            check_stamp(request.after)
        except ValueError as error:
            response.error_code, response.error_msg = (
                Reset.Response.FAILED,
                f'after is wrong: {error}',
            )
            self.count_bad('bad resets', response.error_msg)
            return response
        self.serving.run = request.run
        self.next_stamp = max(self.next_stamp, to_ns(request.after) + self.period_ns)
        try:
            with self.stages('reset'):
                step = self.env.reset(request.seed if request.use_seed else None)
        except Exception as error:
            self.get_logger().error(f'reset failed: {error}')
            response.error_code, response.error_msg = Reset.Response.FAILED, str(error)
            return response
        self.episode += 1
        self.step = 0
        self.evaluation = request.evaluation
        self.newest_action = None
        self.publish_goal_marker()
        self.publish(step, is_reset=True)
        self.began, self.behind = time.monotonic(), 0
        response.stamp = to_time(self.now.stamp)
        response.episode = self.episode
        return response

    def on_action(self, message: Action) -> None:
        """Lock-step: carry the action out. Real time: keep it for the next tick."""
        if message.run != self.serving.run:
            self.count_bad('actions of another run', message.run or 'without a name')
            return
        action = np.asarray(message.action, np.float32)
        if action.shape != self.env.action_space.shape or not np.isfinite(action).all():
            self.count_bad(
                'bad actions',
                f'{action.tolist()}; accepted: {self.env.action_space.shape[0]} finite values',
            )
            return
        if self.config.real_time:
            self.newest_action = (time.monotonic(), action)
        elif self.now is None or self.now.last or to_ns(message.header.stamp) != self.now.stamp:
            self.counts['actions for another observation'] += 1
        else:
            self.advance(action)

    def on_tick(self) -> None:
        """Real time: one control step."""
        if self.now is None or self.now.last:
            return
        now = time.monotonic()
        # The first step comes up to a period late, and so may each.
        behind = int((now - self.began) * self.config.control_rate) - self.step - 1
        if behind > self.behind:
            self.counts['control steps missed'] += behind - self.behind
            self.behind = behind
        action = np.zeros(self.env.action_space.shape, np.float32)
        if self.newest_action is not None:
            received, newest = self.newest_action
            if now - received <= self.config.action_timeout:
                action = newest
            else:
                self.counts['steps without a fresh action'] += 1
        self.advance(action)

    def advance(self, action: np.ndarray) -> None:
        """Step the environment and publish what it senses."""
        with self.stages('step_and_render'):
            step = self.env.step(action)
        self.step += 1
        with self.stages('publish'):
            self.publish(step, is_reset=False)

    def publish(self, step: Step, is_reset: bool) -> None:
        """Publish one step under a fresh stamp, the frame first: it has the longest way."""
        if self.config.real_time:
            self.next_stamp = max(self.next_stamp, time.time_ns())
        stamp = self.next_stamp
        self.next_stamp += 1 if self.config.real_time else self.period_ns
        message_stamp = to_time(stamp)
        if self.clock_publisher is not None:
            self.clock_publisher.publish(ClockMessage(clock=message_stamp))
        if step.frame is not None:
            self.image_publisher.publish(to_image_msg(step.frame, stamp, CAMERA_FRAME))
        previous = stamp if is_reset else self.now.stamp
        self.now = Sensed(
            stamp,
            previous,
            self.episode,
            self.step,
            step.state,
            step.action,
            step.task_reward,
            step.success,
            step.terminated,
            step.truncated,
            self.evaluation,
        )
        observation = to_observation(self.now, WORLD_FRAME, self.env.episode_seed)
        observation.run = self.serving.run
        self.observation_publisher.publish(observation)
        # The rest is for those who look on: made when there is one.
        intrinsics = self.env.intrinsics
        watched = self.info_publisher.get_subscription_count() > 0
        if watched and step.frame is not None and intrinsics is not None:
            self.info_publisher.publish(to_camera_info(intrinsics, stamp, CAMERA_FRAME))
        if self.joint_publisher.get_subscription_count():
            joints = JointState(name=self.env.joint_names, position=self.env.joint_positions())
            joints.header.stamp = message_stamp
            self.joint_publisher.publish(joints)
        self.show_scene()

    def show_scene(self) -> None:
        """Show the scene to those who look on, from the first reset on."""
        if self.now is not None:
            self.scene.show(self.now.stamp)

    def publish_goal_marker(self) -> None:
        """Show the goal of the episode as a sphere (rviz)."""
        goal = self.env.goal_position()
        if goal is None:
            return
        marker = Marker(ns='goal', type=Marker.SPHERE, action=Marker.ADD)
        marker.header.frame_id = WORLD_FRAME
        marker.header.stamp = to_time(self.next_stamp)
        marker.pose.position = Point(x=float(goal[0]), y=float(goal[1]), z=float(goal[2]))
        marker.pose.orientation.w = 1.0
        marker.scale.x = marker.scale.y = marker.scale.z = 0.04
        marker.color.g = marker.color.a = 1.0
        self.marker_publisher.publish(marker)

    def diagnose(self) -> tuple[Level, str, dict[str, object]]:
        steps = self.stages.calls.get('step_and_render', 0)
        values = {
            'task': self.sim_config.task,
            'episode': self.episode,
            'step': self.step,
            'steps_per_s': round(self.step_rate(steps, time.monotonic()), 1),
        }
        return OK, 'waiting for reset' if self.now is None else 'running', values

    def close(self) -> None:
        self.env.close()


def main() -> None:
    """Entry point of ``ros2 run furl_ros sim_node``."""
    sys.exit(run(SimNode))


if __name__ == '__main__':
    main()
