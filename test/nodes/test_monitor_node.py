# SPDX-License-Identifier: Apache-2.0
"""monitor_node, with a robot that the test plays: what is shown, and what goes wrong on the way."""

import re

import numpy as np
import pytest
from graph_support import Probe, hosted, new_domain, run_node
from sensor_msgs.msg import Image
from visualization_msgs.msg import Marker, MarkerArray

from furl_interfaces.msg import FrameScore, Observation, PromptEmbedding, TrainingStatus
from furl_ros.bridge.convert import to_image_msg, to_ns, to_time
from furl_ros.bridge.qos import ALIGNED, LATCHED, LOCKSTEP


class Robot:
    """Says what a graph would say, and reads what the monitor makes of it."""

    def __init__(self, probe):
        make = probe.node.create_publisher
        self.probe = probe
        self.frames = make(Image, 'camera/image_raw', LOCKSTEP)
        self.steps = make(Observation, 'observation', ALIGNED)
        self.scores = make(FrameScore, 'frame_score', ALIGNED)
        self.scenes = make(MarkerArray, 'scene', LATCHED)
        self.prompts = make(PromptEmbedding, 'prompt_embedding', LATCHED)
        self.status = make(TrainingStatus, 'training_status', LATCHED)
        self.stamp = 1_000

    def say(self, frame, score=None, **fields):
        """One step; returns its stamp."""
        self.stamp += 1_000
        step = Observation(step=self.stamp // 1_000, **fields)
        step.header.stamp = to_time(self.stamp)
        self.steps.publish(step)
        frame.header.stamp = step.header.stamp
        self.frames.publish(frame)
        if score is not None:
            score.header.stamp = step.header.stamp
            self.scores.publish(score)
        return self.stamp


@pytest.fixture(scope='module')
def alone():
    """The node by itself, which somebody looks at."""
    with hosted('monitor_node', rate=10.0) as probe:
        robot = Robot(probe)
        robot.prompts.publish(PromptEmbedding(prompt='push the button'))
        robot.status.publish(TrainingStatus(agent='relay', success_rate=0.25))
        robot.pictures = probe.record(Image, 'monitor/picture', LATCHED)
        robot.shown = probe.record(MarkerArray, 'monitor/scene', LATCHED)
        probe.wait(lambda: 'monitor_node' in probe.readers('/camera/image_raw'), 'the reader')
        yield robot


def good_frame():
    return to_image_msg(np.full((32, 32, 3), 200, np.uint8), 1, 'camera')


def test_bad_messages_are_counted_and_the_next_good_one_is_shown(alone):
    bad = Image(encoding='what', width=3, height=3)
    alone.probe.wait(
        lambda: (
            alone.say(bad, FrameScore(cosine=np.nan, reward=np.inf))
            and int(alone.probe.diagnostics.get('monitor_node', {}).get('bad pictures', 0))
        ),
        'a bad picture in the diagnostics',
    )
    alone.scenes.publish(MarkerArray(markers=[Marker(type=77)]))
    alone.probe.wait_for_count('monitor_node', 'bad scenes')
    assert not alone.pictures
    alone.probe.wait(
        lambda: alone.say(good_frame(), FrameScore(cosine=0.2, reward=0.4)) and alone.pictures,
        'a good picture',
    )


def test_a_frame_without_score_is_shown_after_a_while(alone):
    stamp = alone.say(good_frame())
    alone.probe.wait(
        lambda: alone.pictures and to_ns(alone.pictures[-1].header.stamp) >= stamp, 'the picture'
    )


def test_the_text_says_what_is_known(alone):
    def text():
        found = [m for m in alone.shown[-1].markers if m.ns == 'episode'] if alone.shown else []
        return found[0].text if found else ''

    parts = ('push the button\nstep ', ', relay acts', 'raw +0.250, aligned +0.500')
    whole = '.*'.join(map(re.escape, (*parts, '\nsuccess, last 20 episodes: 0.25')))
    alone.probe.wait(
        lambda: (
            alone.say(good_frame(), FrameScore(cosine=0.25, reward=0.5))
            and re.fullmatch(whole, text(), re.DOTALL)
        ),
        'the whole text',
    )


def test_pictures_of_a_camera_node_that_comes_later_are_taken_instead(alone):
    probe, first, second = alone.probe, '/camera/image_raw', '/camera_view/image_raw'
    later = probe.node.create_publisher(Image, second, LOCKSTEP)
    probe.wait(lambda: 'monitor_node' in probe.readers(second), 'the reader')
    probe.wait(lambda: 'monitor_node' not in probe.readers(first), 'its leaving')
    probe.node.destroy_publisher(later)
    probe.wait(lambda: 'monitor_node' in probe.readers(first), 'its coming back')


def test_it_names_the_robots_when_the_one_to_show_is_not_there():
    with Probe(new_domain()) as probe:
        for name in ('sim0', 'sim1'):
            probe.node.create_publisher(Observation, f'{name}/observation', ALIGNED)
        with run_node(probe.domain, 'monitor_node') as command:
            probe.record(Image, 'monitor/picture', LATCHED)
            line = command.wait_for(r'there is no robot .*')[0]
            assert line == "there is no robot '' here; source:=<name> shows another one: sim0, sim1"
            command.end()
