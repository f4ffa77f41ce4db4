# SPDX-License-Identifier: Apache-2.0
"""The cameras of a physical arm: gives each observation the picture that belongs to it.

A camera runs freely and has stamps of its own. Of its pictures the nearest to each observation is
cut out, turned and mirrored, and published under the observation's stamp.
"""

import sys
import time
from pathlib import Path

import cv2
import numpy as np
import yaml
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from furl_interfaces.msg import Observation
from furl_ros.bridge.config import CameraNodeConfig
from furl_ros.bridge.convert import (
    from_compressed_msg,
    from_image_msg,
    to_image_msg,
    to_ns,
    to_time,
)
from furl_ros.bridge.node import OK, WARN, FurlNode, run
from furl_ros.bridge.parameters import declare
from furl_ros.bridge.qos import ALIGNED, EVENTS, LATCHED, LOCKSTEP, SENSOR
from furl_ros.core.arm.frames import NearestFrame, Pairing
from furl_ros.core.arm.pictures import view
from furl_ros.core.arm.profile_reading import read_profile
from furl_ros.core.settings import SettingError

KEPT = 16  # newest pictures that an observation may still get
TICK_S = 0.02  # seconds between two looks at observations that wait

Picture = Image | CompressedImage


class CameraNode(FurlNode):
    """See the module's docstring; topics are listed in docs/real-robot.md."""

    def __init__(self) -> None:
        super().__init__('camera_node')
        self.config = declare(self, CameraNodeConfig)
        profile = read_profile(yaml.safe_load(self.config.robot) or {})
        names = profile.used_cameras
        if len(names) != 1:
            raise SettingError(
                f'use_camera names {len(names)} cameras; accepted: one of'
                f' {", ".join(profile.cameras) or "the cameras of the profile"}'
            )
        (self.name,) = names
        self.camera = profile.cameras[self.name]
        self.frames = NearestFrame(self.camera.tolerance_s, self.camera.wait_s, KEPT)
        self.pictures: dict[int, Picture] = {}

        self.publisher = self.create_publisher(Image, 'camera_view/image_raw', LOCKSTEP)
        self.goal_publisher = self.create_publisher(Image, 'goal_image', LATCHED)
        self.seen_publisher = self.create_publisher(String, 'camera_seen', EVENTS)
        kind = CompressedImage if self.camera.compressed else Image
        self.create_subscription(kind, self.camera.topic, self.on_picture, SENSOR)
        self.create_subscription(Observation, 'observation', self.on_observation, ALIGNED)
        self.create_timer(TICK_S, self.on_tick, clock=self.steady_clock)
        if self.config.goal_image:
            self.publish_goal()

    def publish_goal(self) -> None:
        """Publish (latched) the picture of the goal from its file.

        Raises:
            SettingError: it cannot be read.
        """
        path = Path(self.config.goal_image).expanduser()
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            raise SettingError(f"goal_image is '{path}'; accepted: a picture (PNG, JPEG)")
        stamp = self.get_clock().now().nanoseconds
        self.goal_publisher.publish(to_image_msg(picture[..., ::-1], stamp, self.name))

    def on_picture(self, message: Picture) -> None:
        """Keep a picture for the observations near it."""
        stamp, now = to_ns(message.header.stamp), time.monotonic()
        if stamp in self.pictures:
            self.counts['pictures with the stamp of another'] += 1
            return
        self.seen_publisher.publish(String(data=self.name))
        self.pictures[stamp] = message
        self.finish(self.frames.add_frame(stamp, now))
        kept = set(self.frames.frames)
        self.pictures = {s: picture for s, picture in self.pictures.items() if s in kept}
        warning = self.frames.take_warning()
        if warning:
            self.get_logger().error(warning)

    def on_observation(self, message: Observation) -> None:
        """An observation wants its picture."""
        if not self.is_ours(message, 'observation'):
            return
        stamp = to_ns(message.header.stamp)
        self.finish(self.frames.add_observation(stamp, time.monotonic()))

    def on_tick(self) -> None:
        """Those that waited long enough go without."""
        self.finish(self.frames.tick(time.monotonic()))

    def finish(self, pairings: list[Pairing]) -> None:
        """Publish the pictures of observations that are decided; an empty one where there is none.

        An empty picture cannot be scored, and says so to those who wait for the score.
        """
        for pairing in pairings:
            answer = Image(encoding='rgb8')
            if pairing.frame is not None:
                try:
                    with self.stages('convert'):
                        picture = view(self.camera, self.read(self.pictures[pairing.frame]))
                    answer = to_image_msg(picture, pairing.observation, self.name)
                except ValueError as error:
                    self.count_bad('bad pictures', str(error))
            answer.header.stamp = to_time(pairing.observation)
            self.publisher.publish(answer)

    def read(self, picture: Picture) -> np.ndarray:
        """The picture of a message, uint8 RGB [H, W, 3]; raises ValueError."""
        if isinstance(picture, CompressedImage):
            return from_compressed_msg(picture)
        return from_image_msg(picture)

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        counts = dict(self.frames.counts)
        offset = self.frames.offset_s
        level = WARN if self.counts or offset is not None else OK
        if offset is not None:
            counts['clock_offset_s'] = round(offset, 4)
        return level, f'camera {self.name}', {'camera': self.name, **counts}


def main() -> None:
    """Entry point of ``ros2 run furl_ros camera_node``."""
    sys.exit(run(CameraNode))


if __name__ == '__main__':
    main()
