# SPDX-License-Identifier: Apache-2.0
"""What is in a bag, message by message, also where the bag is damaged. No ROS.

A bag is a folder as ``ros2 bag`` makes it, or one of the files in it (.mcap, .db3). Files are read
from their beginning, not by their index: one whose recorder was killed has none.
"""

import contextlib
import re
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import yaml
import zstandard
from mcap.records import Channel, Chunk, McapRecord, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk

from furl_ros.core.settings import SettingError

METADATA = 'metadata.yaml'
MCAP, SQLITE, ZSTD = '.mcap', '.db3', '.zstd'
CDR = 'cdr'
LARGEST_RECORD = 2**30  # bytes; a length beyond it is not one
_ROWS = (
    'SELECT topics.name, topics.type, topics.serialization_format, messages.timestamp,'
    ' messages.data FROM messages JOIN topics ON messages.topic_id = topics.id'
    ' ORDER BY messages.id'
)


class Recorded(NamedTuple):
    """One message of a bag."""

    topic: str
    kind: str
    """Type, such as 'sensor_msgs/msg/Image'."""
    time: int
    """When it was recorded, nanoseconds."""
    data: bytes
    """As it was sent, CDR."""


class Topic(NamedTuple):
    """A topic of a bag, and how many messages of it could be read."""

    name: str
    kind: str
    count: int


class Bag:
    """A recording.

    Args:
        path: a folder with .mcap or .db3 files, or one such file; each may be packed (.zstd).

    Attributes:
        damage: what could not be read so far, one entry for each place; empty when all could.

    Raises:
        SettingError: there is nothing that looks like a bag.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.damage: list[str] = []
        about = self._read_metadata()
        self._files = self._find_files(about)
        self._packed = str(about.get('compression_mode') or '').lower() == 'message'

    def _read_metadata(self) -> dict[str, Any]:
        """What ``ros2 bag`` wrote of the whole bag; empty where there is nothing of it."""
        path = self.path / METADATA
        if not path.is_file():
            return {}
        try:
            return dict(yaml.safe_load(path.read_text())['rosbag2_bagfile_information'])
        except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError):
            self.damage.append(f'{METADATA} cannot be read')
            return {}

    def _find_files(self, about: dict[str, Any]) -> list[Path]:
        if self.path.is_file() and _kind_of(self.path):
            return [self.path]
        found = []
        if self.path.is_dir():
            found = sorted((p for p in self.path.iterdir() if _kind_of(p)), key=_in_order)
        if not found:
            raise SettingError(
                f"bag is '{self.path}'; accepted: a folder of ros2 bag, or a file of one ({MCAP},"
                f' {SQLITE})'
            )
        names = {Path(str(name)).name for name in about.get('relative_file_paths') or ()}
        for name in sorted(names - {path.name for path in found}):
            self.damage.append(f'{name} is missing')
        return found

    def messages(self, *topics: str) -> Iterator[Recorded]:
        """The messages of some topics, or of all; where the bag is damaged those that can be read.

        They come in the order in which they were written.
        """
        for path in self._files:
            read = self._from_mcap if _kind_of(path) == MCAP else _from_sqlite
            # A damaged file makes the libraries raise whatever comes.
            try:
                for message in read(path):
                    if not topics or message.topic in topics:
                        yield self._unpacked(message)
            except GeneratorExit:
                raise
            except Exception as error:
                self.damage.append(f'{path.name}: {_in_a_line(error)}')

    def _from_mcap(self, path: Path) -> Iterator[Recorded]:
        """The messages of an MCAP file; chunks that are damaged are left out, and told."""
        schemas: dict[int, Schema] = {}
        channels: dict[int, Channel] = {}
        with _opened(path) as file:
            reader = StreamReader(file, emit_chunks=True, record_size_limit=LARGEST_RECORD)
            for record in reader.records:
                for one in self._inside(record, path):
                    if isinstance(one, Schema):
                        schemas[one.id] = one
                    elif isinstance(one, Channel):
                        channels[one.id] = one
                    elif isinstance(one, Message):
                        channel = channels[one.channel_id]
                        if channel.message_encoding == CDR and channel.schema_id in schemas:
                            kind = schemas[channel.schema_id].name
                            yield Recorded(channel.topic, kind, one.log_time, one.data)

    def _inside(self, record: McapRecord, path: Path) -> list[McapRecord]:
        """The records of a chunk; any other record is its own."""
        if not isinstance(record, Chunk):
            return [record]
        try:
            return breakup_chunk(record, validate_crc=True)
        except Exception as error:
            self.damage.append(f'{path.name}: a chunk is left out ({_in_a_line(error)})')
            return []

    def _unpacked(self, message: Recorded) -> Recorded:
        if not self._packed:
            return message
        return message._replace(data=zstandard.ZstdDecompressor().decompress(message.data))

    def topics(self) -> list[Topic]:
        """All topics with messages that can be read, by name."""
        before = list(self.damage)
        counts = Counter((message.topic, message.kind) for message in self.messages())
        # Who reads on finds the same again.
        self.damage = before
        return [Topic(name, kind, count) for (name, kind), count in sorted(counts.items())]


def _kind_of(path: Path) -> str:
    """'.mcap', '.db3', or '' for other files."""
    name = path.name.removesuffix(ZSTD)
    return next((end for end in (MCAP, SQLITE) if name.endswith(end)), '')


def _in_order(path: Path) -> list[Any]:
    """Key that puts bag_2 before bag_10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r'(\d+)', path.name)]


def _in_a_line(error: Exception) -> str:
    return ' '.join(f'{type(error).__name__}: {error}'.split())


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with open(path, 'rb') as file:
        yield file if path.suffix != ZSTD else zstandard.ZstdDecompressor().stream_reader(file)


def _from_sqlite(path: Path) -> Iterator[Recorded]:
    """The messages of an sqlite file, up to where it is damaged."""
    with contextlib.ExitStack() as stack:
        if path.suffix == ZSTD:
            plain = stack.enter_context(tempfile.NamedTemporaryFile(suffix=SQLITE))
            packed = stack.enter_context(_opened(path))
            while part := packed.read(2**20):
                plain.write(part)
            plain.flush()
            path = Path(plain.name)
        connection = sqlite3.connect(f'{path.absolute().as_uri()}?mode=ro', uri=True)
        stack.callback(connection.close)
        for name, kind, encoding, time, data in connection.execute(_ROWS):
            if encoding == CDR:
                yield Recorded(name, kind, time, data)
