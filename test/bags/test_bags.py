# SPDX-License-Identifier: Apache-2.0
"""Bags: what ours hold is what others read, what others hold is what we read, whole or damaged."""

from array import array

import numpy as np
import pytest
from bag_support import (
    COMPRESSED,
    FLOAT,
    IMAGE,
    START,
    STEP,
    STORE,
    TOPIC,
    as_sent,
    file_of,
    image,
    our_bag,
    their_bag,
)
from mcap.writer import Writer
from rclpy.serialization import serialize_message
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin

from furl_interfaces.msg import Observation
from furl_ros.bags.reading import Bag
from furl_ros.bags.writing import BagWriter, whole_definition
from furl_ros.core.settings import SettingError
from furl_ros.nodes.record_node import definition_of

COUNT = 400
ZSTD = CompressionFormat.ZSTD


@pytest.fixture(scope='module')
def pictures():
    return [as_sent(image(number, number / COUNT)) for number in range(COUNT)]


class TestOurs:
    def test_is_read_by_another_library(self, tmp_path, pictures):
        folder = our_bag(tmp_path / 'bag', pictures)
        with AnyReader([folder]) as reader:
            found = {topic: info.msgcount for topic, info in reader.topics.items()}
            assert found == {TOPIC: COUNT, '/number': COUNT}
            connections = [c for c in reader.connections if c.topic == TOPIC]
            for number, (connection, time, data) in enumerate(reader.messages(connections)):
                read = reader.deserialize(data, connection.msgtype)
                assert time == START + number * STEP + 1_000
                assert (read.width, read.encoding) == (48, 'rgb8')
                assert bytes(read.data) == bytes(image(number, number / COUNT).data)
                assert read.header.frame_id == 'camera'
        with Reader(folder) as reader:
            assert reader.duration == (COUNT - 1) * STEP + 1
            assert reader.message_count == 2 * COUNT

    def test_of_messages_that_only_we_have(self, tmp_path):
        """Its definitions are in it: whoever reads it needs no package of ours."""
        kind = 'furl_interfaces/msg/Observation'
        with BagWriter(tmp_path / 'bag', definition_of) as bag:
            bag.add_topic('/observation', kind, {})
            sent = Observation(step=3, state=[1.0, 2.0], task_reward=-1.0)
            bag.write('/observation', START, serialize_message(sent))
        with AnyReader([tmp_path / 'bag']) as reader:
            ((connection, _, data),) = reader.messages()
            read = reader.deserialize(data, connection.msgtype)
        assert (read.step, read.state.tolist(), read.task_reward) == (3, [1.0, 2.0], -1.0)

    def test_definitions_are_those_of_another_library(self):
        for kind in (IMAGE, COMPRESSED, FLOAT, 'trajectory_msgs/msg/JointTrajectory'):
            theirs, _ = STORE.generate_msgdef(kind, ros_version=2)
            parts = [
                {text.split('\n', 1)[0] for text in definition.split('=' * 80 + '\n')[1:]}
                for definition in (whole_definition(kind, definition_of), theirs)
            ]
            assert parts[0] == parts[1]

    def test_an_empty_one(self, tmp_path):
        with BagWriter(tmp_path / 'bag', definition_of):
            pass
        assert Bag(tmp_path / 'bag').topics() == []

    def test_a_folder_that_is_there(self, tmp_path):
        with pytest.raises(OSError, match='exists'):
            BagWriter(tmp_path, definition_of)


def read(path, *topics):
    bag = Bag(path)
    return list(bag.messages(*topics)), bag


class TestReading:
    @pytest.mark.parametrize('plugin', StoragePlugin)
    @pytest.mark.parametrize(
        'compression',
        [None, (CompressionMode.FILE, ZSTD), (CompressionMode.MESSAGE, ZSTD)],
        ids=('plain', 'packed', 'messages packed'),
    )
    def test_what_another_library_wrote(self, tmp_path, pictures, plugin, compression):
        folder = their_bag(tmp_path / 'bag', pictures, plugin, compression)
        messages, bag = read(folder)
        assert bag.damage == []
        assert [m.time for m in messages] == [START + n * STEP + 1_000 for n in range(COUNT)]
        assert {(m.topic, m.kind) for m in messages} == {(TOPIC, IMAGE)}
        assert [m.data for m in messages] == pictures

    def test_chunks_packed_by_another_library(self, tmp_path, pictures):
        compression = (CompressionMode.STORAGE, ZSTD)
        folder = their_bag(tmp_path / 'bag', pictures, StoragePlugin.MCAP, compression)
        assert len(read(folder)[0]) == COUNT

    def test_ours(self, tmp_path, pictures):
        folder = our_bag(tmp_path / 'bag', pictures)
        messages, bag = read(folder, TOPIC)
        assert [m.data for m in messages] == pictures
        assert [(t.name, t.count) for t in bag.topics()] == [(TOPIC, COUNT), ('/number', COUNT)]
        assert bag.damage == []
        assert len(read(file_of(folder), TOPIC)[0]) == COUNT, 'the file alone'

    def test_files_in_their_order(self, tmp_path):
        """A long recording is split: bag_2 comes before bag_10."""
        whole = tmp_path / 'whole'
        whole.mkdir()
        sent = {number: as_sent(image(number, 0)) for number in (10, 2, 1)}
        for number, message in sent.items():
            part = their_bag(tmp_path / f'bag_{number}', [message])
            file_of(part).rename(whole / f'bag_{number}.mcap')
        messages, _ = read(whole)
        assert [m.data for m in messages] == [sent[number] for number in (1, 2, 10)]

    @pytest.mark.parametrize('name', ['nothing', 'text.txt', 'folder'])
    def test_no_bag(self, tmp_path, name):
        (tmp_path / 'text.txt').write_text('hello')
        (tmp_path / 'folder').mkdir()
        with pytest.raises(SettingError, match=f"bag is '.*{name}'; accepted: a folder of ros2"):
            Bag(tmp_path / name)


class TestDamaged:
    def test_cut_off(self, tmp_path, pictures):
        """The recorder was killed: no index, no description, half a chunk."""
        folder = our_bag(tmp_path / 'bag', pictures)
        path = file_of(folder)
        (folder / 'metadata.yaml').unlink()
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        messages, bag = read(folder, TOPIC)
        assert 0.2 * COUNT < len(messages) < COUNT
        assert [m.data for m in messages] == pictures[: len(messages)]
        assert len(bag.damage) == 1
        assert bag.damage[0].startswith('bag.mcap: ')

    def test_a_bad_chunk(self, tmp_path):
        """What comes after it is read."""
        rng = np.random.default_rng(0)
        noisy = []
        for number in range(COUNT):
            message = image(number, 0)
            message.data = array('B', rng.integers(0, 256, len(message.data), np.uint8).tobytes())
            noisy.append(as_sent(message))
        path = file_of(our_bag(tmp_path / 'bag', noisy))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
        messages, bag = read(path, TOPIC)
        assert COUNT - 200 < len(messages) < COUNT
        assert messages[-1].data == noisy[-1]
        assert len(bag.damage) == 1
        assert 'a chunk is left out' in bag.damage[0]

    def test_a_bad_sqlite_file(self, tmp_path, pictures):
        path = file_of(their_bag(tmp_path / 'bag', pictures, StoragePlugin.SQLITE3))
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        messages, bag = read(path)
        assert len(messages) < COUNT
        assert len(bag.damage) == 1

    @pytest.mark.parametrize('content', [b'', b'nonsense' * 100])
    @pytest.mark.parametrize('name', ['bag.mcap', 'bag.db3', 'bag.mcap.zstd', 'bag.db3.zstd'])
    def test_no_content(self, tmp_path, name, content):
        (tmp_path / name).write_bytes(content)
        messages, bag = read(tmp_path)
        assert messages == []
        assert len(bag.damage) == 1

    def test_its_description_or_a_file_that_it_names(self, tmp_path, pictures):
        folder = our_bag(tmp_path / 'bag', pictures)
        path = folder / 'metadata.yaml'
        more = path.read_text().replace('- bag.mcap', '- bag.mcap\n  - bag_1.mcap', 1)
        for text, damage in (
            (more, 'bag_1.mcap is missing'),
            ('a: [', 'metadata.yaml cannot be read'),
        ):
            path.write_text(text)
            messages, bag = read(folder, TOPIC)
            assert len(messages) == COUNT
            assert bag.damage == [damage]

    def test_other_encodings_are_left_alone(self, tmp_path):
        """Foxglove's own messages, for one."""
        with open(tmp_path / 'bag.mcap', 'wb') as file:
            writer = Writer(file)
            writer.start()
            schema = writer.register_schema('foxglove.RawImage', 'protobuf', b'')
            channel = writer.register_channel('/camera', 'protobuf', schema)
            writer.add_message(channel, 1, b'x', 1)
            writer.finish()
        assert Bag(tmp_path / 'bag.mcap').topics() == []
