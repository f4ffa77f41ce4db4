# SPDX-License-Identifier: Apache-2.0
"""The pictures of a bag."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from furl_ros.bags.reading import Bag
from furl_ros.bridge.convert import from_picture_msg, to_ns
from furl_ros.core.arm.pictures import view
from furl_ros.core.arm.profile import Camera
from furl_ros.core.settings import SettingError

T = TypeVar('T')
KINDS = {'sensor_msgs/msg/Image': Image, 'sensor_msgs/msg/CompressedImage': CompressedImage}


class Shot(NamedTuple):
    """One picture."""

    stamp: int
    """Of its header, nanoseconds; where that is 0 the time when it was recorded."""
    frame: np.ndarray
    """uint8 RGB [H, W, 3]."""


def choose_topic(bag: Bag, wanted: str) -> str:
    """The topic whose pictures are looked at.

    Args:
        bag: the recording.
        wanted: its name; '' where there is only one.

    Raises:
        SettingError: there is no such topic, or several and none is wanted; names those there are.
    """
    found = [topic for topic in bag.topics() if topic.kind in KINDS]
    names = ', '.join(f'{topic.name} ({topic.count} pictures)' for topic in found) or 'none'
    if not found:
        raise SettingError(f'{bag.path} has no pictures that can be read{_damage(bag)}')
    if wanted in (topic.name for topic in found):
        return wanted
    if wanted or len(found) > 1:
        raise SettingError(f"topic is '{wanted}'; accepted with {bag.path}: {names}")
    return found[0].name


def _damage(bag: Bag) -> str:
    for _ in bag.messages():
        pass
    return f': {bag.damage[0]}' if bag.damage else ''


def pictures(
    bag: Bag, topic: str, camera: Camera, bad: Counter[str], every: int = 1
) -> Iterator[Shot]:
    """The pictures of a topic, in the order of the recording.

    Args:
        bag: the recording.
        topic: of ``choose_topic``.
        camera: what to do with each: cut out, turn, mirror.
        bad: counts those that cannot be read, by reason.
        every: take each so-many-th.
    """
    for number, message in enumerate(bag.messages(topic)):
        if number % every:
            continue
        # What the deserialisation makes of damaged data is not of one kind.
        try:
            picture = deserialize_message(message.data, KINDS[message.kind])
            frame = view(camera, from_picture_msg(picture))
        except Exception as error:
            bad[' '.join(str(error).split())] += 1
            continue
        yield Shot(to_ns(picture.header.stamp) or message.time, frame)


def batches(shots: Iterable[Shot], most: int) -> Iterator[list[Shot]]:
    """Pictures together, as they come, as long as they are of one size."""
    waiting: list[Shot] = []
    for shot in shots:
        if waiting and (shot.frame.shape != waiting[0].frame.shape or len(waiting) == most):
            yield waiting
            waiting = []
        waiting.append(shot)
    if waiting:
        yield waiting


class Few(Generic[T]):
    """Some of what is added, evenly spread, and no more than fit.

    Args:
        most: how many are kept; where more come every other one goes.
    """

    def __init__(self, most: int) -> None:
        self.kept: list[T] = []
        self.every, self._most, self._added = 1, most, 0

    def add(self, one: T) -> None:
        """Take one, or not."""
        if self._added % self.every == 0:
            self.kept.append(one)
            if len(self.kept) > self._most:
                self.kept = self.kept[::2]
                self.every *= 2
        self._added += 1
