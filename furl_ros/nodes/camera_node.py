# SPDX-License-Identifier: Apache-2.0
"""The cameras of a physical arm: gives each observation the pictures that belong to it.

A camera runs freely and has stamps of its own. Of its pictures the nearest to each observation is
cut out, turned and mirrored, and published under the observation's stamp; with several cameras one
below the other, as one picture.
"""

import sys
import time
from array import array
from collections import Counter, deque
from pathlib import Path
from typing import Any

import yaml
from rclpy.event_handler import QoSMessageLostInfo, SubscriptionEventCallbacks
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from furl_interfaces.msg import Observation
from furl_ros.bridge.config import CameraNodeConfig
from furl_ros.bridge.convert import (
    Picture,
    check_picture_msg,
    check_stamp,
    from_compressed_msg,
    from_picture_msg,
    to_image_msg,
    to_ns,
    to_time,
)
from furl_ros.bridge.node import OK, WARN, FurlNode, run
from furl_ros.bridge.parameters import declare
from furl_ros.bridge.qos import ALIGNED, EVENTS, LATCHED, SENSOR, VIEWS
from furl_ros.core.arm.frames import NearestFrame, Pairing
from furl_ros.core.arm.pictures import stack, view
from furl_ros.core.arm.profile import Camera
from furl_ros.core.arm.profile_reading import read_profile
from furl_ros.core.health import Level, Rate
from furl_ros.core.settings import SettingError, explained

ANSWERED = 64  # newest observations that have had their picture, so that it is not published twice
KEPT = 8  # newest pictures that an observation may still get; of 4K one has 25 MB
TICK_S = 0.02  # seconds between two looks at observations that wait
# Counts that are no fault: a camera that is faster than the control loop, and one that is slower.
USUAL = ('frames dropped', 'frames repeated')

Found = tuple[int, Picture | None]
"""Stamp of an observation, and its picture."""


class Stream:
    """The newest pictures of a camera, and the observations that want one of them."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.frames = NearestFrame(camera.tolerance_s, camera.wait_s, KEPT)
        self._pictures: dict[int, Picture] = {}
        self.seen = 0  # pictures so far, each once
        self.seen_at = time.monotonic()
        self.rate = Rate(self.seen_at)

    def knows(self, stamp: int) -> bool:
        """Whether there is a picture of that stamp."""
        return stamp in self._pictures

    def add_picture(self, stamp: int, picture: Picture, now: float) -> list[Found]:
        """Keep a picture (the first of its stamp); what is decided by that."""
        self._pictures.setdefault(stamp, picture)
        found = self._find(self.frames.add_frame(stamp, now))
        self._pictures = {kept: self._pictures[kept] for kept in self.frames.frames}
        return found

    def add_observation(self, stamp: int, now: float) -> list[Found]:
        """An observation wants its picture; what is decided by that."""
        return self._find(self.frames.add_observation(stamp, now))

    def tick(self, now: float) -> list[Found]:
        """What is decided by the time alone."""
        return self._find(self.frames.tick(now))

    def _find(self, pairings: list[Pairing]) -> list[Found]:
        return [
            (observation, None if frame is None else self._pictures[frame])
            for observation, frame in pairings
        ]


class CameraNode(FurlNode):
    """See the module's docstring; docs/real-robot.md tells what is done to the pictures."""

    def __init__(self, **options: Any) -> None:
        super().__init__('camera_node', **options)
        self.config = declare(self, CameraNodeConfig)
        profile = read_profile(yaml.safe_load(self.config.robot) or {})
        self.name = profile.use_camera
        if not self.name:
            raise SettingError('cameras is empty; accepted: one camera or more, by name')
        self.streams = {name: Stream(profile.cameras[name]) for name in profile.used_cameras}
        # Pictures found so far, by camera, of the observations that some camera has not decided.
        self.wanted: dict[int, dict[str, Picture | None]] = {}
        self.answered: deque[int] = deque(maxlen=ANSWERED)

        self.publisher = self.create_publisher(Image, 'camera_view/image_raw', VIEWS)
        self.goal_publisher = self.create_publisher(Image, 'goal_image', LATCHED)
        self.seen_publisher = self.create_publisher(String, 'camera_seen', EVENTS)
        for name, stream in self.streams.items():
            self.create_subscription(
                CompressedImage if stream.camera.compressed else Image,
                stream.camera.topic,
                lambda message, name=name: self.on_picture(name, message),
                SENSOR,
                event_callbacks=SubscriptionEventCallbacks(message_lost=self.on_lost),
            )
        self.create_subscription(Observation, 'observation', self.on_observation, ALIGNED)
        self.create_timer(TICK_S, self.on_tick, clock=self.steady_clock)
        if self.config.goal_image:
            self.publish_goal(Path(self.config.goal_image).expanduser())

    def publish_goal(self, path: Path) -> None:
        """Publish (latched) the picture of the goal from its file; raises SettingError."""
        with explained(f"goal_image is '{path}'; accepted: a picture (PNG, JPEG)"):
            file = CompressedImage(format=path.suffix, data=array('B', path.read_bytes()))
            picture = from_compressed_msg(file)
        stamp = self.get_clock().now().nanoseconds
        self.goal_publisher.publish(to_image_msg(picture, stamp, self.name))

    def on_lost(self, event: QoSMessageLostInfo) -> None:
        """The middleware says that pictures never reached us."""
        self.count_bad('pictures lost', f'{event.total_count} so far, on the way here')

    def on_picture(self, name: str, message: Picture) -> None:
        """Keep a picture for the observations near it."""
        # One that cannot be read is no sign of life, nor the nearest to anything.
        try:
            check_stamp(message.header.stamp)
            check_picture_msg(message)
        except ValueError as error:
            self.count_bad('bad pictures', f'{name}: {error}')
            return
        stream, stamp = self.streams[name], to_ns(message.header.stamp)
        # A camera that sends one picture again and again is not seen.
        if not stream.knows(stamp):
            stream.seen, stream.seen_at = stream.seen + 1, time.monotonic()
            self.seen_publisher.publish(String(data=name))
        self.take(name, stream.add_picture(stamp, message, time.monotonic()))
        warning = stream.frames.take_warning()
        if warning:
            self.get_logger().error(f'{name}: {warning}')

    def on_observation(self, message: Observation) -> None:
        """An observation wants its pictures."""
        if not self.is_ours(message, 'observation'):
            return
        try:
            check_stamp(message.header.stamp)
        except ValueError as error:
            self.count_bad('bad observations', str(error))
            return
        stamp = to_ns(message.header.stamp)
        if stamp in self.wanted or stamp in self.answered:
            self.counts['observations with the stamp of another'] += 1
            return
        self.wanted[stamp] = {}
        now = time.monotonic()
        for name, stream in self.streams.items():
            self.take(name, stream.add_observation(stamp, now))

    def on_tick(self) -> None:
        """Those that waited long enough go without."""
        now = time.monotonic()
        for name, stream in self.streams.items():
            self.take(name, stream.tick(now))

    def take(self, name: str, found: list[Found]) -> None:
        """Publish what was wanted when all cameras have decided."""
        for stamp, picture in found:
            pictures = self.wanted[stamp]
            pictures[name] = picture
            if len(pictures) == len(self.streams):
                del self.wanted[stamp]
                self.answered.append(stamp)
                self.publish(stamp, pictures)

    def publish(self, stamp: int, pictures: dict[str, Picture | None]) -> None:
        """Publish the pictures of an observation; an empty one where one of them is missing.

        An empty picture cannot be scored, and says so to those who wait for the score.
        """
        answer = Image(encoding='rgb8')
        if None not in pictures.values():
            try:
                with self.stages('convert'):
                    views = [
                        view(stream.camera, from_picture_msg(pictures[name]))
                        for name, stream in self.streams.items()
                    ]
                    answer = to_image_msg(stack(views), stamp, self.name)
            except ValueError as error:
                self.count_bad('bad pictures', str(error))
        answer.header.stamp = to_time(stamp)
        answer.header.frame_id = self.name
        self.publisher.publish(answer)

    def diagnose(self) -> tuple[Level, str, dict[str, object]]:
        values: dict[str, object] = {'camera': self.name}
        level, now = OK, time.monotonic()
        for name, stream in self.streams.items():
            values |= {f'{name}/{what}': stream.frames.counts[what] for what in USUAL}
            values[f'{name}/pictures_per_s'] = round(stream.rate(stream.seen, now), 1)
            values[f'{name}/picture_age_s'] = round(now - stream.seen_at, 2)
            if stream.frames.offset_s is not None:
                level = WARN
                values[f'{name}/clock_offset_s'] = round(stream.frames.offset_s, 4)
        return level, f'camera {self.name}', values

    def totals(self) -> Counter[str]:
        return self.counts + Counter(
            {
                f'{name}/{what}': count
                for name, stream in self.streams.items()
                for what, count in stream.frames.counts.items()
                if what not in USUAL
            }
        )


def main() -> None:
    """Entry point of ``ros2 run furl_ros camera_node``."""
    sys.exit(run(CameraNode))


if __name__ == '__main__':
    main()
