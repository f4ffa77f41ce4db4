# SPDX-License-Identifier: Apache-2.0
"""record_node: what is in the bag of a run, and what goes wrong on the way."""

from contextlib import contextmanager

import numpy as np
import pytest
from graph_support import hosted
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import Image
from std_msgs.msg import Float64, String

from furl_interfaces.msg import Observation
from furl_ros.bags.reading import Bag
from furl_ros.bags.writing import BagWriter
from furl_ros.bridge.convert import from_image_msg, to_image_msg
from furl_ros.bridge.qos import EVENTS, LATCHED, LOCKSTEP, SENSOR


@pytest.fixture
def written(monkeypatch):
    """Topics of the messages that were written, in their order."""
    topics = []
    write = BagWriter.write

    def keep(bag, topic, time, data):
        write(bag, topic, time, data)
        topics.append(topic)

    monkeypatch.setattr(BagWriter, 'write', keep)
    return topics


@contextmanager
def recording(folder, **parameters):
    """A record_node and a probe; afterwards the bag is whole."""
    with hosted('record_node', run_folder=folder, **parameters) as probe:
        node = probe.command
        probe.wait(lambda: node.node is not None, 'record_node')
        yield probe, node


def publisher(probe, kind, topic, qos):
    """One that record_node listens to."""
    made = probe.node.create_publisher(kind, topic, qos)
    probe.wait(made.get_subscription_count, f'record_node to hear {topic}')
    return made


def bag_of(folder):
    (path,) = (folder / 'bags').iterdir()
    return Bag(path)


def test_what_is_sent_is_in_the_bag(tmp_path, written):
    with recording(tmp_path, record_topics="'/(value|observation|note)'") as (probe, _):
        note = publisher(probe, String, '/note', LATCHED)
        value = publisher(probe, Float64, '/value', SENSOR)
        steps = publisher(probe, Observation, '/observation', LOCKSTEP)
        probe.node.create_publisher(Float64, '/other', EVENTS)
        note.publish(String(data='it begins'))
        for number in range(100):
            steps.publish(Observation(step=number, state=[number / 2]))
        probe.wait(lambda: len(written) == 101, 'all that cannot be lost')
        probe.wait(lambda: '/value' in written or value.publish(Float64(data=4.5)), '/value')
    bag = bag_of(tmp_path)
    assert [(t.name, t.kind.split('/')[-1], t.count) for t in bag.topics()] == [
        ('/note', 'String', 1),
        ('/observation', 'Observation', 100),
        ('/value', 'Float64', written.count('/value')),
    ]
    seen = [deserialize_message(m.data, Observation) for m in bag.messages('/observation')]
    assert [(o.step, o.state[0]) for o in seen] == [(n, n / 2) for n in range(100)]
    with Reader(bag.path) as reader:
        qos = {c.topic: c.ext.offered_qos_profiles[0] for c in reader.connections}
        hashes = {c.digest[:7] for c in reader.connections}
    assert qos['/note'].durability.name == 'TRANSIENT_LOCAL'
    assert qos['/value'].reliability.name == 'BEST_EFFORT'
    assert hashes == {'RIHS01_'}


def test_pictures_where_somebody_looks(tmp_path, written):
    """A recorder alone has nobody draw for it."""
    with recording(tmp_path) as (probe, _):
        unseen = probe.node.create_publisher(Image, '/unseen', SENSOR)
        probe.listen(Image, '/seen', SENSOR, lambda _: None)
        seen = probe.node.create_publisher(Image, '/seen', SENSOR)
        probe.wait(lambda: seen.get_subscription_count() == 2, 'record_node to hear /seen')
        picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
        sent = to_image_msg(picture, 5, 'camera')
        probe.wait(lambda: '/seen' in written or seen.publish(sent), '/seen')
        assert unseen.get_subscription_count() == 0
        probe.wait(lambda: '/diagnostics' in written, 'what it tells itself')
    message = next(iter(bag_of(tmp_path).messages('/seen')))
    assert np.array_equal(from_image_msg(deserialize_message(message.data, Image)), picture)


def test_it_ends_at_its_limit(tmp_path):
    with recording(tmp_path, record_topics='/picture', record_limit_mb=1) as (probe, node):
        pictures = publisher(probe, Image, '/picture', LOCKSTEP)
        for _ in range(8):
            pictures.publish(to_image_msg(np.zeros((300, 300, 3), np.uint8), 5, 'camera'))
        node.wait_for('the recording ends: it has reached record_limit_mb')
    count = sum(1 for _ in bag_of(tmp_path).messages())
    assert 4 <= count < 8


def test_where_nothing_can_be_written_the_run_goes_on(tmp_path):
    (tmp_path / 'bags').write_text('in the way')
    with recording(tmp_path) as (probe, node):
        node.wait_for('not recorded any more')
        told = probe.statuses
        probe.wait(
            lambda: (
                'record_node' in told and told['record_node'].message.startswith('not recorded')
            ),
            'the word',
        )
