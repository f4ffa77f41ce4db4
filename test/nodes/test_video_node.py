# SPDX-License-Identifier: Apache-2.0
"""video_node, with a robot that the test plays: what is filmed, and what goes wrong on the way."""

import json
from contextlib import contextmanager

import av
import numpy as np
import pytest
from graph_support import TIMEOUT, hosted
from sensor_msgs.msg import Image

from furl_interfaces.msg import FrameScore, Observation, SourceInfo, TrainingStatus
from furl_ros.bridge.convert import to_image_msg, to_time
from furl_ros.bridge.qos import ALIGNED, LATCHED, LOCKSTEP
from furl_ros.nodes import video_node

SEED, OTHER_SEED = 5, 6
PERIOD = 100_000_000  # nanoseconds


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """What comes late on a busy machine is waited for."""
    monkeypatch.setattr(video_node, 'PATIENCE_S', TIMEOUT)
    monkeypatch.setattr(video_node, 'FAREWELL_S', TIMEOUT)


class Robot:
    """Plays episodes in the namespace eval, and looks at the node."""

    def __init__(self, probe, node):
        self.probe, self.node = probe, node
        self.images = probe.node.create_publisher(Image, 'eval/camera/image_raw', LOCKSTEP)
        self.observations = probe.node.create_publisher(Observation, 'eval/observation', ALIGNED)
        self.status = probe.node.create_publisher(TrainingStatus, 'training_status', LATCHED)
        self.scores = probe.node.create_publisher(FrameScore, 'eval/frame_score', ALIGNED)
        self.info = probe.node.create_publisher(SourceInfo, 'eval/source_info', LATCHED)
        self.info.publish(SourceInfo(control_period=0.1))
        self.stamp, self.episode = 1_000_000_000, -1

    def tell(self, total_steps):
        """The run has come this far, and the node knows it."""
        self.status.publish(TrainingStatus(total_steps=total_steps))
        self.probe.wait(lambda: self.node.total_steps == total_steps, 'the status')

    def wait_for_films(self, number):
        """Wait until as many films were made."""
        self.probe.wait(lambda: self.node.made >= number, f'film {number}')

    def score(self, stamp):
        message = FrameScore(cosine=0.1, reward=0.2, heads_version=3)
        message.header.stamp = to_time(stamp)
        self.scores.publish(message)

    def play(self, steps, seed=SEED, run='', success=False, lost=(), bad=()):
        """An episode; ``lost`` are steps without a frame, ``bad`` those with an unreadable one."""
        self.episode += 1
        self.tell(100 * (self.episode + 1))
        before = self.stamp
        for number in range(steps + 1):
            frame = to_image_msg(np.full((32, 32, 3), 9, np.uint8), self.stamp, 'camera')
            if number in bad:
                frame.encoding = 'nonsense'
            if number not in lost:
                self.images.publish(frame)
            message = Observation(
                run=run,
                episode=self.episode,
                step=number,
                seed=seed,
                state=[0.0],
                action=[0.0] if number else [],
                task_reward=-1.0 if number else 0.0,
                success=success and number == steps,
                truncated=number == steps,
            )
            message.header.stamp = to_time(self.stamp)
            message.previous_stamp = to_time(before)
            self.observations.publish(message)
            before, self.stamp = self.stamp, self.stamp + PERIOD


@contextmanager
def studio(folder, **parameters):
    """A robot, and a video_node that listens to it."""
    parameters = {'only_seed': SEED, 'scores': 'none', 'run_folder': folder} | parameters
    with hosted('video_node', **parameters) as probe:
        node = probe.command
        probe.wait(lambda: node.node is not None, 'the node')
        robot = Robot(probe, node.node)
        publishers = [robot.images, robot.observations, robot.status]
        if parameters['scores'] == 'listen':
            publishers.append(robot.scores)
        for publisher in publishers:
            probe.wait(publisher.get_subscription_count, 'video_node')
        probe.wait(lambda: node.node.period == 0.1, 'the length of a step')
        yield robot


def index(folder):
    return json.loads((folder / 'videos' / 'videos.json').read_text())


def test_episodes_of_the_seed_are_filmed_and_no_others(tmp_path):
    with studio(tmp_path) as robot:
        robot.play(12, seed=OTHER_SEED)
        robot.play(10)
        robot.wait_for_films(1)
        robot.play(8, run='another')
        robot.play(9, success=True)
        robot.wait_for_films(2)
    known = index(tmp_path)
    assert known['first'] == {
        'total_steps': 200,
        'success': False,
        'task_return': -10.0,
        'frames': 11,
        'scored': 0,
    }
    assert known['best'] == known['last']
    assert known['best']['success']
    assert known['best']['frames'] == 10
    with av.open(tmp_path / 'videos' / 'first.mp4') as container:
        assert container.streams.video[0].average_rate == 10
        assert container.streams.video[0].frames == 11


def test_a_film_names_the_step_of_its_episode(tmp_path):
    """The training has gone on when the last score comes."""
    with studio(tmp_path, scores='listen') as robot:
        begin = robot.stamp
        robot.play(4)
        robot.probe.wait(lambda: any(take.ended for take in robot.node.takes), 'the end')
        robot.tell(700)
        for number in range(5):
            robot.score(begin + number * PERIOD)
        robot.wait_for_films(1)
    film = index(tmp_path)['first']
    assert (film['total_steps'], film['frames'], film['scored']) == (100, 5, 5)


def test_frames_that_are_lost_or_unreadable_are_missing_in_the_film_alone(tmp_path, monkeypatch):
    with studio(tmp_path) as robot:
        robot.play(10, lost=(3, 4), bad=(7,))
        robot.probe.wait(
            lambda: any(take.ended and len(take.frames) == 9 for take in robot.node.takes),
            'all that was sent',
        )
        assert robot.node.made == 0
        monkeypatch.setattr(video_node, 'PATIENCE_S', 0.0)
        robot.wait_for_films(1)
        assert robot.node.counts['frames missing'] == 3
    assert index(tmp_path)['last']['frames'] == 8


def test_a_film_of_an_episode_that_has_just_ended_is_made_before_the_end(tmp_path):
    with studio(tmp_path) as robot:
        robot.play(10)
        robot.probe.wait(
            lambda: robot.node.made or any(take.ended for take in robot.node.takes), 'the end'
        )
    assert index(tmp_path)['last']['frames'] == 11


def test_without_a_reward_node_the_film_has_no_rewards(tmp_path):
    with studio(tmp_path, scores='ask') as robot:
        robot.play(20)
        robot.wait_for_films(1)
    assert index(tmp_path)['last']['scored'] == 0


def test_where_nothing_can_be_written_the_node_goes_on(tmp_path):
    (tmp_path / 'videos').write_text('in the way')
    with studio(tmp_path) as robot:
        robot.play(5)
        robot.probe.wait(lambda: robot.node.counts['films not written'], 'the count')
        (tmp_path / 'videos').unlink()
        robot.play(5)
        robot.wait_for_films(1)
    assert index(tmp_path)['last']['frames'] == 6
