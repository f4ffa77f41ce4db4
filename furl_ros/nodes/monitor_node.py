# SPDX-License-Identifier: Apache-2.0
"""The annotated picture, and the scene for rviz: what the robot sees and what the model thinks.

It listens to the robot only while somebody looks at one of the two, best effort, so that nobody
ever waits for it.
"""

import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseArray
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from sensor_msgs.msg import Image
from visualization_msgs.msg import Marker, MarkerArray

from furl_interfaces.msg import FrameScore, Observation, PromptEmbedding, SourceInfo, TrainingStatus
from furl_ros.bridge.config import MonitorNodeConfig
from furl_ros.bridge.convert import from_image_msg, to_image_msg, to_ns
from furl_ros.bridge.markers import Markers
from furl_ros.bridge.node import OK, FurlNode, run
from furl_ros.bridge.parameters import declare
from furl_ros.bridge.qos import LATCHED, NEWEST, WATCHED
from furl_ros.bridge.topics import prefix_of, scored_pictures
from furl_ros.core.health import Level
from furl_ros.monitor.pictures import Moment, annotated
from furl_ros.monitor.watched_episode import Score, SeenStep, WatchedEpisode
from sim.tasks import TASKS

LOOK_ROUND_S = 1.0  # seconds between two looks at who looks on
PATIENCE_S = 1.0  # seconds after which a picture is shown without its score
NOWHERE = np.zeros((0, 3))
KEPT = 64  # newest pictures that may still get a score


class MonitorNode(FurlNode):
    """See the module's docstring; docs/monitoring.md shows what comes of it."""

    def __init__(self, **options: Any) -> None:
        super().__init__('monitor_node', **options)
        self.config = declare(self, MonitorNodeConfig)
        # What comes between two pictures is read at once: that costs less.
        self.gather = 0.05
        self.prefix = prefix_of(self.config.source)
        self.episode = WatchedEpisode()
        self.prompt, self.agent, self.success_rate = '', '', math.nan
        self.place_at = self.config.place_in_state
        self.frames: dict[int, tuple[float, Image]] = {}
        self.shown = 0
        self.folder = tempfile.TemporaryDirectory(prefix='furl_ros-meshes-')
        self.markers = Markers(Path(self.folder.name))
        self.watching: list[Subscription] = []
        self.watching_picture: list[Subscription] = []
        self.picture_topic = ''
        self.watching_scene: list[Subscription] = []
        self.timer: Timer | None = None

        self.picture_publisher = self.create_publisher(Image, 'monitor/picture', LATCHED)
        self.scene_publisher = self.create_publisher(MarkerArray, 'monitor/scene', LATCHED)
        self.create_subscription(PromptEmbedding, 'prompt_embedding', self.on_prompt, LATCHED)
        self.create_subscription(TrainingStatus, 'training_status', self.on_status, LATCHED)
        self.create_subscription(
            SourceInfo, f'{self.prefix}source_info', self.on_source_info, LATCHED
        )
        self.create_timer(LOOK_ROUND_S, self.look_round, clock=self.steady_clock)

    def close(self) -> None:
        self.folder.cleanup()

    # Who looks on

    def look_round(self) -> None:
        """Begin to listen when somebody looks, stop when nobody does."""
        picture = self.picture_publisher.get_subscription_count() > 0
        scene = self.scene_publisher.get_subscription_count() > 0
        self.follow(self.watching, picture or scene, self.watch)
        # A camera_node may come after us.
        topic = scored_pictures(self, self.config.source) if picture else ''
        if topic != self.picture_topic:
            self.picture_topic = topic
            self.follow(self.watching_picture, False, self.watch_picture)
        self.follow(self.watching_picture, picture, self.watch_picture)
        self.follow(self.watching_scene, scene, self.watch_scene)
        if self.watching and self.timer is None:
            self.timer = self.create_timer(1 / self.config.rate, self.show, clock=self.steady_clock)
            self.look_for_robots()
        elif not self.watching and self.timer is not None:
            self.destroy_timer(self.timer)
            self.timer = None
            self.episode, self.frames = WatchedEpisode(), {}

    def look_for_robots(self) -> None:
        """Say so when the robot that is to be shown is not there, but others are."""
        own = self.resolve_topic_name(f'{self.prefix}observation')
        space = f'{self.get_namespace().rstrip("/")}/'
        topics = [
            name
            for name, types in self.get_topic_names_and_types()
            if 'furl_interfaces/msg/Observation' in types and self.count_publishers(name)
        ]
        if topics and own not in topics:
            others = [t.removeprefix(space).removesuffix('/observation') for t in sorted(topics)]
            self.get_logger().warning(
                f'there is no robot {self.config.source!r} here; source:=<name> shows another one:'
                f' {", ".join(others)}'
            )

    def follow(
        self,
        subscriptions: list[Subscription],
        wanted: bool,
        make: Callable[[], list[Subscription]],
    ) -> None:
        """Have these subscriptions as long as they are wanted."""
        if wanted and not subscriptions:
            subscriptions += make()
        elif not wanted:
            for subscription in subscriptions:
                self.destroy_subscription(subscription)
            subscriptions.clear()

    def watch(self) -> list[Subscription]:
        """Listen to the steps and scores of the robot."""
        return [
            self.create_subscription(
                Observation, f'{self.prefix}observation', self.on_observation, WATCHED
            ),
            self.create_subscription(
                FrameScore, f'{self.prefix}frame_score', self.on_score, WATCHED
            ),
        ]

    def watch_picture(self) -> list[Subscription]:
        """Listen to the pictures."""
        return [self.create_subscription(Image, self.picture_topic, self.on_frame, NEWEST)]

    def watch_scene(self) -> list[Subscription]:
        """Listen to what is in the scene and where."""
        return [
            self.create_subscription(
                MarkerArray, f'{self.prefix}scene', self.on_scene, LATCHED, raw=True
            ),
            self.create_subscription(PoseArray, f'{self.prefix}scene_poses', self.on_poses, NEWEST),
            self.create_subscription(
                Marker, f'{self.prefix}goal_marker', self.markers.set_goal, LATCHED
            ),
        ]

    # What is known of the run

    def on_prompt(self, message: PromptEmbedding) -> None:
        """The task in words, and again when it was changed."""
        self.prompt = message.prompt

    def on_status(self, message: TrainingStatus) -> None:
        """Who acts, and how often it succeeds."""
        self.agent, self.success_rate = message.agent, message.success_rate

    def on_source_info(self, message: SourceInfo) -> None:
        """What the robot does tells where in its state the gripper is."""
        if self.config.place_in_state < 0:
            self.place_at = 0 if message.task in TASKS else -1

    def on_observation(self, message: Observation) -> None:
        """One step."""
        place = None
        if self.place_at >= 0 and len(message.state) >= self.place_at + 3:
            place = tuple(message.state[self.place_at : self.place_at + 3])
        seen = SeenStep(message.episode, message.step, message.success, self.agent, place)
        self.episode.add_step(to_ns(message.header.stamp), seen)

    def on_score(self, message: FrameScore) -> None:
        """What the model says of one frame."""
        cosine, reward = (
            min(1.0, max(-1.0, value)) if math.isfinite(value) else math.nan
            for value in (message.cosine, message.reward)
        )
        score = Score(cosine, reward, message.heads_version)
        self.episode.add_score(to_ns(message.header.stamp), score)

    def on_frame(self, message: Image) -> None:
        """One picture; most are never shown, so it is left as it is."""
        self.frames[to_ns(message.header.stamp)] = (time.monotonic(), message)
        if len(self.frames) > KEPT:
            del self.frames[next(iter(self.frames))]

    def on_scene(self, raw: bytes) -> None:
        """What is in the scene."""
        try:
            with self.stages('scene'):
                self.markers.set_scene(raw)
        except (OSError, ValueError) as error:
            self.count_bad('bad scenes', str(error))

    def on_poses(self, message: PoseArray) -> None:
        """Where it is."""
        self.markers.set_poses(message.poses)

    # What is shown

    def show(self) -> None:
        """Publish the newest picture and scene."""
        if self.watching_picture:
            self.show_picture()
        if self.watching_scene:
            self.show_scene()

    def show_scene(self) -> None:
        """Publish the scene, with the episode up to the newest step that is scored."""
        stamp = self.episode.newest_scored or self.episode.newest
        with self.stages('markers'):
            moments, places = self.episode.until(stamp) if stamp else ([], NOWHERE)
            message = self.markers.message(places, moments, self.text(moments))
        self.scene_publisher.publish(message)

    def show_picture(self) -> None:
        """Publish the newest picture that is scored; after a while also one that is not."""
        stamp = self.newest_frame()
        if stamp is None or stamp == self.shown:
            return
        try:
            with self.stages('picture'):
                frame = from_image_msg(self.frames[stamp][1])
                size = (self.config.width, self.config.height)
                picture = annotated(frame, self.prompt, self.episode.until(stamp)[0], size)
        except ValueError as error:
            self.count_bad('bad pictures', str(error))
            del self.frames[stamp]
            return
        self.shown = stamp
        frame_id = self.frames[stamp][1].header.frame_id
        self.picture_publisher.publish(to_image_msg(picture, stamp, frame_id))

    def newest_frame(self) -> int | None:
        """Stamp of the picture to show; None when there is none."""
        known = [stamp for stamp in self.frames if self.episode.knows(stamp)]
        scored = self.episode.newest_scored
        fit = [stamp for stamp in known if scored is not None and stamp <= scored]
        if fit and fit[-1] != self.shown:
            return fit[-1]
        late = time.monotonic() - PATIENCE_S
        waited = [stamp for stamp in known if self.frames[stamp][0] < late]
        return max([*waited[-1:], *fit[-1:]], default=None)

    def text(self, moments: list[Moment]) -> str:
        """What is written above the scene."""
        rate = '-' if math.isnan(self.success_rate) else f'{self.success_rate:.2f}'
        lines = [self.prompt, 'no step yet', f'success, last 20 episodes: {rate}']
        if moments:
            now = moments[-1]
            scored = f'raw {now.cosine:+.3f}, aligned {now.reward:+.3f}'
            lines[1:2] = [
                f'step {now.step}, {now.agent or "somebody"} acts',
                scored if math.isfinite(now.reward) else 'not scored',
            ]
        return '\n'.join(lines)

    def diagnose(self) -> tuple[Level, str, dict[str, object]]:
        looks = 'somebody looks' if self.watching else 'nobody looks'
        return OK, looks, {'pictures kept': len(self.frames)}


def main() -> None:
    """Entry point of ``ros2 run furl_ros monitor_node``."""
    sys.exit(run(MonitorNode))


if __name__ == '__main__':
    main()
