# SPDX-License-Identifier: Apache-2.0
"""Records the topics of a run as a bag, as they are sent: for ros2 bag, Foxglove and score_bag.

The executor's thread receives, the main thread writes. Nobody waits for this node: what it cannot
write in time is missing in the bag, and counted.
"""

import contextlib
import importlib
import queue
import re
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo

from furl_ros.bags.writing import BagWriter
from furl_ros.bridge.config import RecordNodeConfig
from furl_ros.bridge.graph import check_pattern
from furl_ros.bridge.node import OK, FurlNode, run
from furl_ros.bridge.parameters import declare
from furl_ros.core.health import Level, disk_left_megabytes
from furl_ros.core.settings import SettingError

BAGS = 'bags'  # folder in the run's
LOOK_S = 1.0  # seconds between two looks at which topics there are
DEPTH = 1_000  # messages of a topic that wait for this node
MOST_WAITING = 128 * 2**20  # bytes that wait to be written
LEAST_DISK_MB = 1_000  # a recording ends when less is free
# Who makes these works only for those who look.
FOR_EYES = re.compile(r'sensor_msgs/msg/(Compressed)?Image|visualization_msgs/msg/Marker(Array)?')


class Received(NamedTuple):
    """A message that waits to be written."""

    topic: str
    time: int
    data: bytes


class RecordNode(FurlNode):
    """See the module's docstring; docs/recordings.md tells what comes of it."""

    def __init__(self, **options: Any) -> None:
        super().__init__('record_node', **options)
        self.config = declare(self, RecordNodeConfig)
        if not self.config.run_folder:
            raise SettingError("run_folder is ''; accepted: the folder of the run")
        check_pattern(self.config.record_topics)
        self.pattern = re.compile(self.config.record_topics)
        name = time.strftime('%Y%m%d-%H%M%S')
        self.folder = Path(self.config.run_folder).expanduser() / BAGS / name
        self.kinds: dict[str, str] = {}  # of the topics that are recorded, or cannot be, by name
        self.about: dict[str, dict[str, str]] = {}
        self.received: queue.SimpleQueue[Received] = queue.SimpleQueue()
        self.waiting = 0  # bytes in it
        self.lock = threading.Lock()
        self.written, self.size, self.ended = 0, 0, ''
        self.look()
        self.create_timer(LOOK_S, self.look, clock=self.steady_clock)

    # In the executor's thread

    def look(self) -> None:
        """Subscribe to what is new."""
        if self.ended:
            return
        for name, kinds in self.get_topic_names_and_types():
            if name not in self.kinds and self.is_wanted(name, kinds[0]):
                self.hear(name, kinds[0])

    def is_wanted(self, name: str, kind: str) -> bool:
        """Whether a topic is recorded, as things stand now."""
        if '/_' in name or not self.count_publishers(name):
            return False
        if self.config.record_topics:
            return self.pattern.fullmatch(name) is not None
        if not name.startswith(self.get_namespace().rstrip('/') + '/'):
            return False
        return not FOR_EYES.fullmatch(kind) or self.count_subscribers(name) > 0

    def hear(self, name: str, kind: str) -> None:
        """Subscribe to a topic, with what its publishers offer."""
        self.kinds[name] = kind
        package, _, short = kind.split('/')
        try:
            message = getattr(importlib.import_module(f'{package}.msg'), short)
            definition_of(kind)
        except (ImportError, AttributeError, OSError) as error:
            self.count_bad('topics not recorded', f'{name}: {kind}: {error}')
            return
        publishers = self.get_publishers_info_by_topic(name)
        self.about[name] = {
            'offered_qos_profiles': qos_text(publishers),
            'type_description_hash': str(publishers[0].topic_type_hash) if publishers else '',
        }
        self.create_subscription(
            message, name, partial(self.on_message, name), fitting(publishers), raw=True
        )

    def on_message(self, topic: str, data: bytes) -> None:
        """Keep a message for the one who writes."""
        with self.lock:
            full = self.waiting + len(data) > MOST_WAITING
            self.waiting += 0 if full else len(data)
        if full:
            self.count_bad('messages not recorded', f'{topic}: the disk is too slow')
        elif not self.ended:
            self.received.put(Received(topic, time.time_ns(), data))

    def diagnose(self) -> tuple[Level, str, dict[str, object]]:
        values = {
            'messages': self.written,
            'megabytes': round(self.size / 2**20, 1),
            'topics': len(self.about),
            'waiting_mb': round(self.waiting / 2**20, 1),
        }
        return OK, self.ended or f'recording to {self.folder}', values

    # In the main thread

    def work(self, stop: threading.Event) -> int:
        """Write what comes until stopped, or until the bag is large enough."""
        try:
            with BagWriter(self.folder, definition_of) as bag:
                self.get_logger().info(f'recording to {self.folder}')
                while not stop.is_set() and not self.ended:
                    self.write_next(bag, timeout=0.2)
                with contextlib.suppress(queue.Empty):
                    while not self.ended:
                        self.write(bag, self.received.get_nowait())
        except OSError as error:
            self.end(f'not recorded any more: {error}')
        stop.wait()
        return 0

    def write_next(self, bag: BagWriter, timeout: float) -> None:
        """Write the message that waits, if there is one; look whether the end has come."""
        with contextlib.suppress(queue.Empty):
            self.write(bag, self.received.get(timeout=timeout))
        limit = self.config.record_limit_mb
        if self.size > limit * 2**20:
            self.end(f'the recording ends: it has reached record_limit_mb ({limit})')
        elif self.written % 1_000 == 0 and disk_left_megabytes(self.folder) < LEAST_DISK_MB:
            self.end(f'the recording ends: less than {LEAST_DISK_MB} MB are left on the disk')

    def write(self, bag: BagWriter, message: Received) -> None:
        """Write a message."""
        with self.lock:
            self.waiting -= len(message.data)
        with self.stages('write'):
            if not bag.has_topic(message.topic):
                bag.add_topic(message.topic, self.kinds[message.topic], self.about[message.topic])
            bag.write(*message)
        self.written, self.size = self.written + 1, bag.size

    def end(self, why: str) -> None:
        """Record no more; the run goes on."""
        self.ended = why
        self.get_logger().warning(why)


def definition_of(kind: str) -> str:
    """The text of the .msg file of a type such as 'sensor_msgs/msg/Image'.

    Raises:
        OSError: it is not installed.
    """
    package, folder, name = kind.split('/')
    try:
        share = Path(get_package_share_directory(package))
    except PackageNotFoundError as error:
        raise OSError(f'package {package} is not installed') from error
    return (share / folder / f'{name}.msg').read_text()


def fitting(publishers: list[TopicEndpointInfo]) -> QoSProfile:
    """The best that all publishers of a topic offer."""

    def all_have(name: str, value: Any) -> bool:
        offered = [getattr(publisher.qos_profile, name) for publisher in publishers]
        return bool(offered) and all(one == value for one in offered)

    reliable = all_have('reliability', ReliabilityPolicy.RELIABLE)
    latched = all_have('durability', DurabilityPolicy.TRANSIENT_LOCAL)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def qos_text(publishers: list[TopicEndpointInfo]) -> str:
    """What publishers offer, as ros2 bag writes it (and plays it back with)."""
    return yaml.safe_dump(
        [
            {
                'history': 'keep_last',
                'depth': DEPTH,
                'reliability': publisher.qos_profile.reliability.name.lower(),
                'durability': publisher.qos_profile.durability.name.lower(),
                'deadline': {'sec': 9223372036, 'nsec': 854775807},
                'lifespan': {'sec': 9223372036, 'nsec': 854775807},
                'liveliness': 'automatic',
                'liveliness_lease_duration': {'sec': 9223372036, 'nsec': 854775807},
                'avoid_ros_namespace_conventions': False,
            }
            for publisher in publishers
        ],
        sort_keys=False,
    )


def main() -> None:
    """Entry point of ``ros2 run furl_ros record_node``."""
    sys.exit(run(RecordNode))


if __name__ == '__main__':
    main()
