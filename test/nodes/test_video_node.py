# SPDX-License-Identifier: Apache-2.0
"""video_node, with a robot that the test plays: what is filmed, and what goes wrong on the way."""

import json
from contextlib import contextmanager

import av
import numpy as np
import pytest
from graph_support import Probe, new_domain, run_node
from sensor_msgs.msg import Image

from furl_interfaces.msg import FrameScore, Observation, SourceInfo, TrainingStatus
from furl_ros.bridge.convert import to_image_msg, to_time
from furl_ros.bridge.qos import ALIGNED, LATCHED, LOCKSTEP

SEED, OTHER_SEED = 5, 6
PERIOD = 100_000_000  # nanoseconds


class Robot:
    """Plays episodes in the namespace eval."""

    def __init__(self, probe):
        self.probe = probe
        self.images = probe.node.create_publisher(Image, 'eval/camera/image_raw', LOCKSTEP)
        self.observations = probe.node.create_publisher(Observation, 'eval/observation', ALIGNED)
        self.status = probe.node.create_publisher(TrainingStatus, 'training_status', LATCHED)
        self.scores = probe.node.create_publisher(FrameScore, 'eval/frame_score', ALIGNED)
        info = probe.node.create_publisher(SourceInfo, 'eval/source_info', LATCHED)
        info.publish(SourceInfo(control_period=0.1))
        self.info = info
        self.stamp, self.episode = 1_000_000_000, -1

    def tell(self, total_steps):
        """The run has come this far, and the node knows it."""
        self.status.publish(TrainingStatus(total_steps=total_steps))
        known = self.probe.diagnostics
        self.probe.wait(
            lambda: known.get('video_node', {}).get('total_steps') == str(total_steps), 'the status'
        )

    def score(self, stamp):
        message = FrameScore(cosine=0.1, reward=0.2, heads_version=3)
        message.header.stamp = to_time(stamp)
        self.scores.publish(message)

    def play(self, steps, seed=SEED, run='', success=False, lost=(), bad=(), scored=False):
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
            if scored:
                self.score(self.stamp)
            before, self.stamp = self.stamp, self.stamp + PERIOD


@contextmanager
def studio(folder, **parameters):
    """A video_node, a probe and a robot that it listens to."""
    domain = new_domain()
    with Probe(domain) as probe:
        parameters = {'only_seed': SEED, 'scores': 'none', 'run_folder': folder} | parameters
        with run_node(domain, 'video_node', **parameters) as node:
            robot = Robot(probe)
            for publisher in (robot.images, robot.observations, robot.status):
                probe.wait(lambda p=publisher: p.get_subscription_count(), 'video_node')
            yield node, probe, robot
            node.interrupt()
            assert node.finish() == 0
            assert 'Traceback' not in node.output


def index(folder):
    return json.loads((folder / 'videos' / 'videos.json').read_text())


def films(probe, number):
    probe.wait(
        lambda: int(probe.diagnostics.get('video_node', {}).get('films', 0)) >= number,
        f'film {number}',
    )


def test_episodes_of_the_seed_are_filmed_and_no_others(tmp_path):
    with studio(tmp_path) as (_, probe, robot):
        robot.play(12, seed=OTHER_SEED)
        robot.play(10)
        films(probe, 1)
        robot.play(8, run='another')
        robot.play(9, success=True)
        films(probe, 2)
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
    with studio(tmp_path, scores='listen') as (_, probe, robot):
        begin = robot.stamp
        robot.play(4)
        robot.tell(700)
        for number in range(5):
            robot.score(begin + number * PERIOD)
        films(probe, 1)
    assert index(tmp_path)['first']['total_steps'] == 100


def test_frames_that_are_lost_or_unreadable_are_missing_in_the_film_alone(tmp_path):
    with studio(tmp_path) as (_, probe, robot):
        robot.play(10, lost=(3, 4), bad=(7,))
        films(probe, 1)
        assert int(probe.diagnostics['video_node']['frames missing']) == 3
    assert index(tmp_path)['last']['frames'] == 8


def test_a_film_of_an_episode_that_has_just_ended_is_made_before_the_end(tmp_path):
    with studio(tmp_path) as (node, _, robot):
        robot.play(10)
        node.wait_for('videos: last, first')
    assert index(tmp_path)['last']['frames'] == 11


def test_without_a_reward_node_the_film_has_no_rewards(tmp_path):
    with studio(tmp_path, scores='ask') as (_, probe, robot):
        robot.play(20)
        films(probe, 1)
    assert index(tmp_path)['last']['scored'] == 0


def test_scores_that_are_published_in_any_case_are_taken_as_they_come(tmp_path):
    with studio(tmp_path, scores='listen') as (_, probe, robot):
        probe.wait(robot.scores.get_subscription_count, 'video_node')
        robot.play(20, scored=True)
        films(probe, 1)
    assert index(tmp_path)['last']['frames'] == index(tmp_path)['last']['scored'] == 21


def test_where_nothing_can_be_written_the_node_goes_on(tmp_path):
    (tmp_path / 'videos').write_text('in the way')
    with studio(tmp_path) as (_, probe, robot):
        robot.play(5)
        probe.wait_for_count('video_node', 'films not written')
        (tmp_path / 'videos').unlink()
        robot.play(5)
        films(probe, 1)
    assert index(tmp_path)['last']['frames'] == 6


@pytest.mark.parametrize('folder', ["''"])
def test_a_run_folder_is_needed(folder):
    with run_node(new_domain(), 'video_node', run_folder=folder) as node:
        assert node.finish() == 2
    assert "error: run_folder is ''; accepted: the folder of the run" in node.output
