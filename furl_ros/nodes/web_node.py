# SPDX-License-Identifier: Apache-2.0
"""The browser viewer: what a run looks like, and buttons for it, on a page.

While no browser shows the page it listens to little more than the status, once a second. While one
does, it takes the newest picture and scene a few times a second, and leaves the others where they
are: best effort and one message deep, so that nobody waits for it.
"""

import math
import queue
import re
import secrets
import socket
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseArray
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.client import Client
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from rclpy.task import Future
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from furl_interfaces.msg import PromptEmbedding, TrainingStatus
from furl_ros.bridge.config import WebNodeConfig
from furl_ros.bridge.convert import from_image_msg
from furl_ros.bridge.node import OK, FurlNode, run
from furl_ros.bridge.parameters import declare
from furl_ros.bridge.qos import EVENTS, LATCHED, NEWEST
from furl_ros.bridge.shapes import KINDS, from_marker, from_poses
from furl_ros.bridge.topics import prefix_of, scored_pictures
from furl_ros.core.health import Level
from furl_ros.core.settings import SettingError
from furl_ros.monitor.curves import Curves
from furl_ros.monitor.standing import LEVELS, NO_NUMBER, number, seconds_left, state_of
from furl_ros.monitor.web_guard import is_loopback
from furl_ros.monitor.web_page import ESTOP, FIGURES, STOP, Page

SERVICES = {
    'pause': 'learner_node/pause',
    'resume': 'learner_node/resume',
    'save': 'learner_node/save_checkpoint',
    'evaluate': 'learner_node/evaluate',
    STOP: 'learner_node/cancel',
    ESTOP: 'arm_node/estop',
}
"""What each button calls."""
PARAMETERS = {'prompt': 'reward_node', 'rho': 'learner_node'}
"""Whose parameter each of them is."""
# Columns of the run's curves.csv, for what was before we came.
STORED = {
    'success_rate': 'success_rate_20',
    'vlm_reward': 'vlm_reward_mean',
    'vlm_critic_loss': 'vlm/critic_loss',
    'sac_critic_loss': 'sac/critic_loss',
    'vlm_actor_loss': 'vlm/actor_loss',
    'sac_actor_loss': 'sac/actor_loss',
    'steps_per_second': 'steps_per_second',
}
LOOK_ROUND_S = 1.0  # seconds between two looks at who is there


class WebNode(FurlNode):
    """Shows a run on a page, and calls its services for who looks at it."""

    def __init__(self, **options: Any) -> None:
        super().__init__('web_node', **options)
        self.config = declare(self, WebNodeConfig)
        self.gather = 1.0 / self.config.rate
        self.curves = Curves(FIGURES)
        self.shown_run: tuple[str, str] | None = None
        self.status: TrainingStatus | None = None
        self.rho: float | None = None
        self.health: dict[str, str] = {}
        self.scene, self.parts = b'', np.empty(0, np.int64)
        self.watching: list[Subscription] = []
        self.picture_topic, self.picture_reader = '', None
        # The page's threads put calls here; they are made in the executor's.
        self.orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.waking = self.create_guard_condition(self.carry_out)
        self.triggers = {
            name: self.create_client(Trigger, service) for name, service in SERVICES.items()
        }
        self.setters = {
            name: self.create_client(SetParameters, f'{node}/set_parameters')
            for name, node in PARAMETERS.items()
        }
        self.page = self.open_page()
        self.create_subscription(TrainingStatus, 'training_status', self.on_status, LATCHED)
        self.create_subscription(PromptEmbedding, 'prompt_embedding', self.on_prompt, LATCHED)
        self.create_timer(LOOK_ROUND_S, self.look_round, clock=self.steady_clock)
        self.get_logger().info(f'viewer: {self.page.url}')

    def open_page(self) -> Page:
        """Serve the page; raises SettingError where its address is none of this machine."""
        host, token = self.config.host, self.config.token
        if not re.fullmatch('[A-Za-z0-9_-]*', token):
            raise SettingError('token is of other signs; accepted: letters, digits, - and _')
        if not token and not is_loopback(host):
            token = secrets.token_urlsafe(16)
        try:
            # The server's own thread would not say why.
            family = socket.getaddrinfo(host, None)[0][0]
            socket.create_server((host, 0), family=family).close()
        except OSError as error:
            raise SettingError(
                f"host is '{host}'; accepted: a name or an address of this machine ({error})"
            ) from None
        return Page(
            host,
            self.config.port,
            token,
            on_press=self.on_press,
            on_prompt=lambda text: self.order(lambda: self.change('prompt', text)),
            on_rho=lambda rho: self.order(lambda: self.change('rho', rho)),
            on_watchers=lambda: self.order(self.look_round),
        )

    def close(self) -> None:
        self.page.close()

    # Orders of people

    def order(self, call: Callable[[], None]) -> None:
        """Have the executor's thread make a call; from any thread."""
        self.orders.put(call)
        self.waking.trigger()

    def carry_out(self) -> None:
        """Make the calls that were ordered."""
        while not self.orders.empty():
            self.orders.get()()

    def on_press(self, name: str) -> None:
        """A button was pressed; in a thread of the page's."""
        if name == ESTOP:
            # Not behind pictures that are being taken. A call may be made in any thread.
            self.press(name)
        else:
            self.order(lambda: self.press(name))

    def press(self, name: str) -> None:
        """Call the service of a button."""

        def told(answer: Trigger.Response) -> str:
            return answer.message or ('done' if answer.success else 'refused')

        self.ask(self.triggers[name], Trigger.Request(), told)

    def change(self, name: str, value: str | float) -> None:
        """A person typed a new value: set the parameter."""
        kind = ParameterType.PARAMETER_STRING
        given = ParameterValue(type=kind, string_value=value) if isinstance(value, str) else None
        given = given or ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)

        def told(answer: SetParameters.Response) -> str:
            # A call that failed there has an empty answer.
            if not answer.results:
                return 'the call failed'
            result = answer.results[0]
            return f'{name} is now {value}' if result.successful else result.reason

        request = SetParameters.Request(parameters=[Parameter(name=name, value=given)])
        self.ask(self.setters[name], request, told)

    def ask(self, client: Client, request: Any, told: Callable[[Any], str]) -> None:
        """Call a service, and show on the page what came of it."""
        if not client.service_is_ready():
            self.page.say(f'{client.srv_name}: nobody is there')
            return
        self.page.say(f'{client.srv_name}: asked')

        def answered(future: Future) -> None:
            self.page.say(f'{client.srv_name}: {told(future.result())}')

        client.call_async(request).add_done_callback(answered)

    # What is always listened to

    def on_status(self, message: TrainingStatus) -> None:
        """Where the run stands, once a second."""
        if self.shown_run != (message.run, message.run_folder):
            self.shown_run = (message.run, message.run_folder)
            self.begin_curves(Path(message.run_folder))
        self.status = message
        self.curves.add(message.total_steps, {name: getattr(message, name) for name in FIGURES})
        if self.watching:
            self.show_status()

    def begin_curves(self, folder: Path) -> None:
        """Another run: its curves begin with what is in its folder, if that is on this machine."""
        self.curves.clear()
        path = folder / 'curves.csv'
        try:
            if path.is_file():
                self.curves.read(path, STORED)
        except (OSError, ValueError) as error:
            self.count_bad('curves not read', f'{path}: {error}')

    def on_prompt(self, message: PromptEmbedding) -> None:
        """The prompt of the run, and again when it was changed."""
        self.page.show_prompt(message.prompt)

    # What is listened to while somebody looks

    def look_round(self) -> None:
        """Begin to listen with the first browser, stop with the last; see who can be asked."""
        if not self.page.watchers:
            self.unwatch()
            return
        if not self.watching:
            self.watch()
        self.page.offer_estop(self.triggers[ESTOP].service_is_ready())
        self.follow_pictures()

    def watch(self) -> None:
        """Listen to everything that the page shows."""
        prefix = prefix_of(self.config.source)
        self.watching = [
            self.create_subscription(Image, 'monitor/picture', self.on_annotated, NEWEST),
            self.create_subscription(
                MarkerArray, f'{prefix}scene', self.on_scene, LATCHED, raw=True
            ),
            self.create_subscription(PoseArray, f'{prefix}scene_poses', self.on_poses, NEWEST),
            self.create_subscription(DiagnosticArray, '/diagnostics', self.on_health, EVENTS),
        ]
        self.health.clear()
        self.show_status()

    def unwatch(self) -> None:
        """Listen to nothing that nobody sees."""
        for subscription in self.watching:
            self.destroy_subscription(subscription)
        self.watching = []
        self.follow_pictures()

    def follow_pictures(self) -> None:
        """Subscribe to the robot's pictures: those that are scored, where a camera_node joins."""
        topic = scored_pictures(self, self.config.source) if self.watching else ''
        if topic == self.picture_topic:
            return
        if self.picture_reader is not None:
            self.destroy_subscription(self.picture_reader)
        self.picture_topic, self.picture_reader = topic, None
        if topic:
            self.picture_reader = self.create_subscription(Image, topic, self.on_picture, NEWEST)

    def on_picture(self, message: Image) -> None:
        """What the robot sees."""
        self.show_picture('camera', message)

    def on_annotated(self, message: Image) -> None:
        """What the robot sees, and what the model thinks of it."""
        self.show_picture('reward', message)

    def show_picture(self, name: str, message: Image) -> None:
        """Show a picture that can be read."""
        try:
            frame = from_image_msg(message)
        except ValueError as error:
            self.count_bad('bad pictures', f'{name}: {error}')
            return
        with self.stages('picture'):
            self.page.show_picture(name, frame)

    def on_scene(self, raw: bytes) -> None:
        """The parts of the scene; large, and the same one comes again with the next browser."""
        if raw == self.scene:
            return
        self.scene = raw
        message = deserialize_message(raw, MarkerArray)
        markers = [m for m in message.markers if m.action == Marker.ADD and m.type in KINDS]
        try:
            shapes = [from_marker(marker) for marker in markers]
            poses = from_poses([marker.pose for marker in markers])
        except ValueError as error:
            self.count_bad('bad scenes', str(error))
            return
        # Poses name no parts: they are those of all markers in the order of their ids.
        self.parts = np.array([marker.id for marker in markers], np.int64)
        with self.stages('scene'):
            self.page.show_scene(shapes, poses)

    def on_poses(self, message: PoseArray) -> None:
        """Where the parts of the scene are now."""
        try:
            poses = from_poses(message.poses)
        except ValueError as error:
            self.count_bad('bad poses', str(error))
            return
        if self.parts.size and self.parts.max() < len(poses):
            with self.stages('poses'):
                self.page.move_scene(poses[self.parts])

    def on_health(self, message: DiagnosticArray) -> None:
        """What a node says of itself."""
        for status in message.status:
            level = LEVELS[min(status.level[0], 3)]
            self.health[status.name] = f'{level}: {status.message}'

    def show_status(self) -> None:
        """Show what is known of the run."""
        status = self.status
        self.page.show_health(dict(sorted(self.health.items())))
        if status is None:
            self.page.show_status({'state': 'no run yet'})
            return
        with self.stages('curves'):
            self.page.show_curves(self.curves)
        self.page.show_status(rows_of(status))
        if self.rho != status.rho:
            self.rho = status.rho
            self.page.show_rho(round(status.rho, 6))

    def diagnose(self) -> tuple[Level, str, dict[str, object]]:
        watchers = self.page.watchers
        return OK, f'{watchers} watching', {'watchers': watchers}


def rows_of(status: TrainingStatus) -> dict[str, str]:
    """Where a run stands, for people."""
    state = state_of(status)
    # Of a run that goes on it says once more what the rows below say.
    if status.detail and status.state not in (TrainingStatus.WARMUP, TrainingStatus.TRAINING):
        state += f': {status.detail}'
    seconds = seconds_left(status)
    left = str(timedelta(seconds=round(seconds))) if math.isfinite(seconds) else NO_NUMBER
    return {
        'state': state,
        'steps': f'{status.total_steps:,} of {status.target_steps:,}',
        'speed': f'{number(status.steps_per_second, ".1f")} steps/s, {left} left',
        'success': f'{number(status.success_rate, ".2f")} (last 20 episodes),'
        f' {number(status.eval_success_rate, ".2f")} (evaluation)',
        'VLM reward': number(status.vlm_reward, '.3f'),
        'positives': f'{status.positives:,}, negatives: {status.negatives:,}',
        'who acts': status.agent or '-',
        'replay': f'{status.replay_size:,} transitions',
        'heads': f'version {status.heads_version}, stage {status.stage}',
        'run folder': status.run_folder,
    }


def main() -> None:
    """Entry point of ``ros2 run furl_ros web_node``."""
    sys.exit(run(WebNode))


if __name__ == '__main__':
    main()
