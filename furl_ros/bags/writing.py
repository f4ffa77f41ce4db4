# SPDX-License-Identifier: Apache-2.0
"""Bags as ``ros2 bag`` and Foxglove open them: one MCAP file in a folder, and what is in it."""

import contextlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml
from mcap.writer import CompressionType, Writer

from furl_ros.bags.reading import CDR, MCAP, METADATA
from furl_ros.core.storage import write_whole

VERSION = 9  # of the metadata: that of Jazzy
CHUNK = 2**20  # bytes that are written at once; a recorder that is killed loses no more
_FIELD = re.compile(r'^\s*([\w/]+)(?:<=\d+)?(?:\[[^\]]*\])?\s+\w+', re.MULTILINE)
_SEPARATOR = '=' * 80


def whole_definition(kind: str, definition_of: Callable[[str], str]) -> str:
    """The text of a message type, and below it those of all types inside, as MCAP wants them.

    Args:
        kind: such as 'sensor_msgs/msg/Image'.
        definition_of: the text of the .msg file of a type.
    """
    texts, waiting = {kind: definition_of(kind)}, [kind]
    while waiting:
        one = waiting.pop()
        package = one.split('/')[0]
        for field in _FIELD.findall(_without_comments(texts[one])):
            inner = _full_name(field, package)
            if inner and inner not in texts:
                texts[inner] = definition_of(inner)
                waiting.append(inner)
    first, *others = texts.items()
    parts = [f'{_SEPARATOR}\nMSG: {_short(name)}\n{text}' for name, text in others]
    return '\n'.join([first[1], *parts])


def _without_comments(text: str) -> str:
    return re.sub(r'#.*', '', text)


def _full_name(field: str, package: str) -> str:
    """Type of a field that is a message, such as 'std_msgs/msg/Header'; '' for a plain one."""
    *packages, name = field.split('/')
    if not packages and not name[0].isupper():
        return ''
    return f'{packages[0] if packages else package}/msg/{name}'


def _short(kind: str) -> str:
    package, *_, name = kind.split('/')
    return f'{package}/{name}'


class BagWriter:
    """A bag that is being recorded; a context manager.

    Args:
        folder: of the bag; made here.
        definition_of: the text of the .msg file of a type.

    Attributes:
        size: bytes in it so far, more or less: what was given, before it is packed.

    Raises:
        OSError: the folder is there already, or cannot be made.
    """

    def __init__(self, folder: Path, definition_of: Callable[[str], str]) -> None:
        folder.mkdir(parents=True)
        self.folder, self.size = folder, 0
        self._definition_of = definition_of
        self._path = folder / f'{folder.name}{MCAP}'
        self._open = contextlib.ExitStack()
        file = self._open.enter_context(open(self._path, 'wb'))  # noqa: SIM115 (it is closed)
        self._writer = Writer(file, chunk_size=CHUNK, compression=CompressionType.LZ4)
        self._writer.start(profile='ros2', library='furl_ros')
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._about: dict[str, dict[str, str]] = {}
        self._counts: dict[str, int] = {}
        self._first, self._last = 0, 0

    def __enter__(self) -> 'BagWriter':
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_topic(self, name: str, kind: str, about: Mapping[str, str]) -> None:
        """Make room for a topic.

        Args:
            name: in full.
            kind: its type, such as 'sensor_msgs/msg/Image'.
            about: what ``ros2 bag`` wants to know: offered_qos_profiles, type_description_hash.

        Raises:
            OSError: there is no definition of the type.
        """
        if kind not in self._schemas:
            text = whole_definition(kind, self._definition_of)
            self._schemas[kind] = self._writer.register_schema(kind, 'ros2msg', text.encode())
        self._channels[name] = self._writer.register_channel(
            name, CDR, self._schemas[kind], dict(about)
        )
        self._counts[name] = 0
        self._about[name] = {'name': name, 'type': kind, 'serialization_format': CDR, **about}

    def has_topic(self, name: str) -> bool:
        """Whether there is room for a topic."""
        return name in self._channels

    def write(self, topic: str, time: int, data: bytes) -> None:
        """Add a message, CDR, that was received at a time (nanoseconds)."""
        self._writer.add_message(self._channels[topic], time, data, time)
        self._counts[topic] += 1
        self.size += len(data)
        self._first = min(self._first or time, time)
        self._last = max(self._last, time)

    def close(self) -> None:
        """Write the index, and what is in the bag."""
        with self._open:
            self._writer.finish()
        span = {
            'starting_time': {'nanoseconds_since_epoch': self._first},
            'duration': {'nanoseconds': self._last - self._first},
            'message_count': sum(self._counts.values()),
        }
        about = {
            'version': VERSION,
            'storage_identifier': MCAP[1:],
            **span,
            'topics_with_message_count': [
                {'topic_metadata': self._about[name], 'message_count': count}
                for name, count in self._counts.items()
            ],
            'compression_format': '',
            'compression_mode': '',
            'relative_file_paths': [self._path.name],
            'files': [{'path': self._path.name, **span}],
            'custom_data': None,
            'ros_distro': 'jazzy',
        }
        write_whole(
            self.folder / METADATA,
            yaml.safe_dump({'rosbag2_bagfile_information': about}, sort_keys=False),
        )
