# SPDX-License-Identifier: Apache-2.0
"""The camera node; the test plays the cameras and the arm."""

import contextlib
import itertools
import json
import time
from array import array

import cv2
import numpy as np
import pytest
from arm_stage import now_and_then
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from graph_support import HostedNode, Probe, by_stamp, new_domain
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from furl_interfaces.msg import FrameScore, Observation
from furl_ros.bridge import convert
from furl_ros.bridge.qos import ALIGNED, EVENTS, LATCHED, SENSOR, VIEWS
from furl_ros.core.arm.pictures import view
from furl_ros.core.arm.profile import Camera
from furl_ros.core.config import VlmConfig
from furl_ros.core.vlm import cosine, load_vlm

MS = 1_000_000
START = 1_700_000_000 * 1000 * MS
PATIENT = 60.0  # seconds that observations wait, where the test says when they have waited enough
ROBOT = {
    'joints': {'names': ['pan'], 'lower': -1, 'upper': 1, 'max_velocity': 1, 'max_acceleration': 1},
    'command': {'kind': 'joint_positions', 'topic': 'commands', 'scale': 0.1, 'max_step': 0.2},
    'observation': {
        'joints': {'topic': 'joint_states', 'type': 'sensor_msgs/msg/JointState'}
        | {'fields': 'position[*]'}
    },
}


def text(value):
    """A parameter that is a text, as the command line takes it."""
    return "'" + str(value).replace("'", "''") + "'"


def camera_node(domain, cameras, use_camera='', **parameters):
    """Run the node; each camera's topic is its name."""
    robot = ROBOT | {'use_camera': use_camera}
    robot['cameras'] = {name: {'topic': name} | values for name, values in cameras.items()}
    parameters |= {'robot': text(json.dumps(robot))}
    words = [w for name, value in parameters.items() for w in ('-p', f'{name}:={value}')]
    return HostedNode('camera_node', domain, words)


class Rig:
    """A running node, with cameras and an arm that the test plays.

    Attributes:
        views: what the node published for observations, by stamp.
    """

    def __init__(self, probe, cameras, node):
        self.probe, self.node = probe, node
        self.views = probe.record(Image, 'camera_view/image_raw', VIEWS)
        self.seen = probe.record(String, 'camera_seen', EVENTS)
        self.cameras = {
            name: probe.node.create_publisher(
                CompressedImage if values.get('compressed') else Image, name, SENSOR
            )
            for name, values in cameras.items()
        }
        self.observations = probe.node.create_publisher(Observation, 'observation', ALIGNED)
        for publisher in (*self.cameras.values(), self.observations):
            probe.wait(publisher.get_subscription_count, publisher.topic)
        probe.wait(lambda: probe.node.count_publishers('camera_seen'), 'the node')

    def show(self, name, message, stamp=None):
        """A camera sends a picture, which the node then has: the way there may lose it."""
        if stamp is not None:
            message.header.stamp = convert.to_time(stamp)
        count, publisher = len(self.seen), self.cameras[name]
        again = now_and_then(lambda: publisher.publish(message))
        self.probe.wait(lambda: again() or len(self.seen) > count, f'a picture of {name}')

    def refuse(self, pictures):
        """Cameras send what the node cannot read, (name, message) each, until it has counted it."""

        def publish():
            for name, message in pictures:
                self.cameras[name].publish(message)

        again = now_and_then(publish)
        least = self.node.counts['bad pictures'] + 3 * len(pictures)
        self.probe.wait(lambda: again() or self.node.counts['bad pictures'] >= least, 'refusals')

    def ask(self, stamp):
        """The arm publishes an observation."""
        message = Observation()
        message.header.stamp = convert.to_time(stamp)
        self.observations.publish(message)
        node = self.node.node
        self.probe.wait(lambda: stamp in node.wanted or stamp in node.answered, 'its arrival')

    def answer(self, stamp):
        """The picture of an observation."""
        self.probe.wait(lambda: stamp in by_stamp(self.views), f'the picture of {stamp}')
        return by_stamp(self.views)[stamp]

    def count(self, name, least=1):
        self.probe.wait_for_count('camera_node', name, least)


@contextlib.contextmanager
def rig(cameras, domain=None, **parameters):
    domain = domain or new_domain()
    with camera_node(domain, cameras, **parameters) as node, Probe(domain) as probe:
        probe.command = node
        yield Rig(probe, cameras, node)
        node.end()


def numbered(number, stamp):
    """A picture that tells which one it is."""
    return convert.to_image_msg(np.full((72, 96, 3), number % 256, np.uint8), stamp, 'optical')


def random_frame(seed=0, height=60, width=80):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def is_empty(message):
    return not (message.height or message.width or message.data)


@pytest.mark.parametrize('compressed', [False, True])
def test_pictures_are_cut_out_made_smaller_turned_and_mirrored(compressed):
    settings = {'roi': (10, 4, 64, 48), 'shrink_to': 32, 'rotate': 90, 'flip': 'horizontal'}
    frame = random_frame()
    message = convert.to_image_msg(frame[..., ::-1], 0, '')
    message.encoding = 'bgr8'
    if compressed:
        message = convert.to_compressed_msg(frame, 0, '', 'png')
    with rig({'wrist': settings | {'compressed': compressed, 'wait_s': PATIENT}}) as robot:
        robot.show('wrist', message, START)
        robot.ask(START)
        answer = robot.answer(START)
    expected = view(Camera(**settings), frame)
    assert expected.shape == (43, 32, 3)
    assert answer.encoding == 'rgb8'
    assert np.array_equal(convert.from_image_msg(answer), expected)


def test_late_dropped_and_repeated_pictures_are_counted():
    with rig({'front': {'wait_s': 0.3, 'tolerance_s': 0.02}}) as robot:
        robot.ask(START)
        assert is_empty(robot.answer(START))
        robot.count('front/observations without a frame')
        robot.show('front', numbered(1, START))
        robot.count('front/frames late')
        robot.show('front', numbered(2, START + 100 * MS))
        robot.ask(START + 99 * MS)
        robot.ask(START + 98 * MS)
        answer = robot.answer(START + 98 * MS)
        assert (answer.data[0], answer.header.frame_id) == (2, 'front')
        robot.count('front/frames repeated')
        # Again and again the same picture: nobody is told that the camera was seen.
        seen = len(robot.seen)
        for _ in range(5):
            robot.cameras['front'].publish(numbered(2, START + 100 * MS))
        robot.count('front/frames with the stamp of another')
        assert len(robot.seen) == seen
        robot.show('front', numbered(3, START + 90 * MS))
        robot.count('front/frames out of order')
        for number in range(4, 20):
            robot.show('front', numbered(number, START + number * 100 * MS))
        robot.count('front/frames dropped', 5)


@pytest.mark.parametrize('ahead', [-1_000_000, 3])
def test_a_camera_on_another_clock_is_noticed(ahead):
    """Said once; nothing is corrected by it."""
    with rig({'front': {'wait_s': 0.1}}) as robot:
        number = 0

        def noticed():
            nonlocal number
            number += 1
            stamp = time.time_ns()
            robot.ask(stamp)
            message = numbered(number, stamp + ahead * 1000 * MS)
            robot.cameras['front'].publish(message)
            return 'front/clock_offset_s' in robot.probe.diagnostics.get('camera_node', {})

        robot.probe.wait(noticed, 'the offset')
        offset = float(robot.probe.diagnostics['camera_node']['front/clock_offset_s'])
        assert offset == pytest.approx(ahead, abs=1)
        more = number + 30
        robot.probe.wait(lambda: noticed() and number > more, 'more pictures')
        assert all(is_empty(message) for message in robot.views)
        output = robot.probe.command.output
        assert output.count('its clock is another one') == 1
        where = 'behind' if ahead < 0 else 'ahead of'
        assert where in output


def test_a_silent_camera_is_told_until_it_is_back():
    stamps = itertools.count(START, MS)
    with rig({'front': {}}) as robot:

        def show():
            """One more picture; whether the diagnostics have seen any."""
            message = convert.to_image_msg(random_frame(), next(stamps), '')
            robot.cameras['front'].publish(message)
            return robot.probe.statuses['camera_node'].level == DiagnosticStatus.OK

        for _ in range(2):
            robot.probe.wait_for_level(
                'camera_node', DiagnosticStatus.WARN, 'front/picture_age_s is '
            )
            robot.probe.wait(now_and_then(show), 'a camera that is well')


def test_messages_of_no_use_stop_nothing():
    """Sizes, encodings, stamps of pictures, and observations; what is good is still answered."""
    cameras = {'raw': {'wait_s': PATIENT}, 'file': {'compressed': True, 'wait_s': PATIENT}}
    good = convert.to_compressed_msg(random_frame(), 0, '', 'png')
    generator = np.random.default_rng(0)
    with rig(cameras, use_camera='mean') as robot:
        stamp = START
        refused = []
        for encoding in ('', 'grün', '16UC1', 'rgb8', 'mono16', 'nv21', 'nv24', 'bayer_rggb16'):
            for height, width, step, size in (
                (0, 0, 0, 0),
                (60, 80, 0, 99),
                (61, 81, 240, 14_641),
                (2**32 - 1, 2**32 - 1, 2**32 - 1, 10),
            ):
                picture = Image(height=height, width=width, step=step, encoding=encoding)
                picture.data = array('B', generator.bytes(size))
                refused.append(('raw', picture))
        for data in (b'', b'no picture', b'\xff\xd7\xff'):
            refused.append(('file', CompressedImage(data=array('B', data))))
        robot.refuse(refused)
        assert not robot.seen, 'what cannot be read is no sign of life'
        # What is seen only when it is decoded.
        for data in (b'\xff\xd8\xff nothing', b'\x89PNG\r\n\x1a\n', bytes(good.data)[:60]):
            stamp += 200 * MS
            robot.show('raw', convert.to_image_msg(random_frame(), 0, ''), stamp)
            robot.show('file', CompressedImage(data=array('B', data)), stamp)
            robot.ask(stamp)
            assert is_empty(robot.answer(stamp))
        robot.count('bad pictures', 3 * len(refused) + 3)
        for time_stamp in (Time(sec=5, nanosec=4_000_000_000), Time(sec=2**31 - 1)):
            picture = convert.to_image_msg(random_frame(), 0, '')
            picture.header.stamp = time_stamp
            observation = Observation()
            observation.header.stamp = time_stamp
            for _ in range(3):
                robot.cameras['raw'].publish(picture)
                robot.observations.publish(observation)
            robot.observations.publish(Observation(run='of somebody else'))
        robot.count('bad observations', 6)
        robot.count('messages of another run', 2)
        robot.count('bad pictures', 3 * len(refused) + 4)
        stamp += 200 * MS
        for name, message in (
            ('raw', convert.to_image_msg(random_frame(1), 0, '')),
            ('file', good),
        ):
            robot.show(name, message, stamp)
        robot.ask(stamp)
        robot.ask(stamp)
        # Whether the second one came before the answer or after it: it gets none of its own.
        robot.count('observations with the stamp of another')
        both = convert.from_image_msg(robot.answer(stamp))
        assert np.array_equal(both, np.concatenate([random_frame(1), random_frame()]))


def test_the_mean_of_two_cameras_is_scored():
    """With one of them missing, or of another size, the frame is marked as bad."""
    domain = new_domain()
    cameras = {'left': {'wait_s': 1.0}, 'right': {'wait_s': 1.0}}
    frames = [random_frame(seed, 120, 160) for seed in (1, 2)]
    vlm = load_vlm(VlmConfig(device='cpu'))
    prompt = vlm.encode_text('open a drawer')
    words = ['-p', 'device:=cpu', '-p', 'prompt:=open a drawer', '-p', 'views:=2']
    words += ['-r', 'camera/image_raw:=camera_view/image_raw']
    with (
        HostedNode('reward_node', domain, words) as reward,
        rig(cameras, domain, use_camera='mean') as robot,
    ):
        scores = robot.probe.record(FrameScore, 'frame_score', ALIGNED)

        def score(stamp):
            robot.ask(stamp)
            robot.probe.wait(lambda: stamp in by_stamp(scores), f'the score of {stamp}')
            return by_stamp(scores)[stamp]

        for name, frame in zip(cameras, frames, strict=True):
            robot.show(name, convert.to_image_msg(frame, START, ''))
        good = score(START)
        assert good.status == FrameScore.OK
        assert good.header.frame_id == 'mean'
        embeddings = vlm.encode_images(np.stack(frames))
        directions = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        expected = cosine(embeddings, prompt).mean() / np.linalg.norm(directions.mean(axis=0))
        assert good.cosine == pytest.approx(float(expected), abs=1e-3)
        one = START + 1000 * MS
        robot.show('left', convert.to_image_msg(frames[0], one, ''))
        assert score(one).status == FrameScore.BAD_FRAME
        other = START + 2000 * MS
        robot.show('left', convert.to_image_msg(frames[0], other, ''))
        robot.show('right', convert.to_image_msg(frames[1][:60], other, ''))
        assert score(other).status == FrameScore.BAD_FRAME
        robot.count('bad pictures')
        reward.end()


def test_a_goal_image_from_a_file(tmp_path):
    frame = random_frame()
    path = tmp_path / "the goal's.png"
    cv2.imwrite(str(path), frame[..., ::-1])
    with rig({'front': {}}, goal_image=text(path)) as robot:
        goals = robot.probe.record(Image, 'goal_image', LATCHED)
        robot.probe.wait(lambda: goals, 'the goal')
    assert np.array_equal(convert.from_image_msg(goals[0]), frame)


@pytest.mark.parametrize(
    ('content', 'words'),
    [(None, 'No such file'), (b'no picture', r"begins with b'no p'"), (b'\xff\xd8\xff', 'decoded')],
)
def test_a_goal_image_that_cannot_be_read_ends_it(tmp_path, content, words):
    path = tmp_path / 'goal.png'
    if content is not None:
        path.write_bytes(content)
    with camera_node(new_domain(), {'front': {}}, goal_image=text(path)) as node:
        node.expect_end(2)
        lines = node.output.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"error: goal_image is '{path}'; accepted: a picture (PNG, JPEG)")
    assert words in lines[0]


def test_without_a_camera_it_ends():
    with camera_node(new_domain(), {}) as node:
        node.expect_end(2)
        assert node.output == 'error: cameras is empty; accepted: one camera or more, by name\n'
