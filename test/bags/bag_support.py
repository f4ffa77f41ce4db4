# SPDX-License-Identifier: Apache-2.0
"""Bags for tests, and the pictures in them."""

from pathlib import Path
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Float64

from furl_ros.bags.writing import BagWriter
from furl_ros.bridge.convert import to_compressed_msg, to_image_msg
from furl_ros.nodes.record_node import definition_of

START, STEP = 1_000_000_000_000, 50_000_000  # nanoseconds
IMAGE, COMPRESSED, FLOAT = (
    'sensor_msgs/msg/Image',
    'sensor_msgs/msg/CompressedImage',
    'std_msgs/msg/Float64',
)
TOPIC = '/camera/image_raw'
STORE = get_typestore(Stores.ROS2_JAZZY)


def frame(place: float, size: int = 48) -> np.ndarray:
    """A red block on a grey table, at a place from 0 (left) to 1 (right)."""
    picture = np.full((size, size, 3), 90, np.uint8)
    left = round(place * (size - 12))
    picture[18:30, left : left + 12] = (220, 30, 20)
    return picture


def image(number: int, place: float) -> Image:
    return to_image_msg(frame(place), START + number * STEP, 'camera')


def jpeg(number: int, place: float) -> CompressedImage:
    return to_compressed_msg(frame(place), START + number * STEP, 'camera', 'png')


def as_sent(message: Any) -> bytes:
    """The bytes of a message; they differ from time to time in those that mean nothing."""
    return message if isinstance(message, bytes) else serialize_message(message)


def our_bag(folder: Path, messages: list, topic: str = TOPIC, kind: str = IMAGE) -> Path:
    """A bag as record_node writes it, with a topic of numbers beside that of the messages."""
    with BagWriter(folder, definition_of) as bag:
        bag.add_topic(topic, kind, {})
        bag.add_topic('/number', FLOAT, {})
        for number, message in enumerate(messages):
            time = START + number * STEP + 1_000
            bag.write(topic, time, as_sent(message))
            bag.write('/number', time, serialize_message(Float64(data=float(number))))
    return folder


def their_bag(
    folder: Path,
    messages: list,
    plugin: StoragePlugin = StoragePlugin.MCAP,
    compression: tuple | None = None,
    kind: str = IMAGE,
    topic: str = TOPIC,
) -> Path:
    """A bag as another library writes it."""
    writer = Writer(folder, version=9, storage_plugin=plugin)
    if compression:
        writer.set_compression(*compression)
    with writer:
        connection = writer.add_connection(topic, kind, typestore=STORE)
        for number, message in enumerate(messages):
            writer.write(connection, START + number * STEP + 1_000, as_sent(message))
    return folder


def file_of(folder: Path) -> Path:
    """The one file of a bag that holds messages."""
    (path,) = (p for p in folder.iterdir() if p.suffix in ('.mcap', '.db3'))
    return path
