# SPDX-License-Identifier: Apache-2.0
"""Policies that see: the learner waits for what they are to see, and a whole graph trains one."""

import time

import numpy as np
import pytest
from graph_support import (
    HostedGraph,
    Probe,
    checkpoints,
    new_domain,
    read_table,
    read_trainer,
)
from learner_stage import LENGTH, WARMUP, WIDTH, Robot, Scored, learner
from stable_baselines3 import SAC

from furl_interfaces.msg import Action, FrameScore, Observation
from furl_ros.bridge.convert import to_ns
from furl_ros.core.run import load_config
from sim.envs import HAND

SEES = {'method': 'vlm', 'observe': 'embedding', 'autostart': True}


class Proprioceptive(Robot):
    """Of its three values the second one is its own; the others tell of the scene."""

    def special(self):
        return {'proprioception': [1]}


def test_each_action_waits_for_the_score_of_its_frame(tmp_path):
    with learner(tmp_path, Proprioceptive, total_steps=3 * LENGTH, **SEES) as (probe, robot, node):
        scored = Scored(probe, robot, scoring='cosine')
        waiting = []
        robot.on_sense = lambda: waiting.append(robot.now.stamp)
        while len(robot.answered) < 12:
            probe.wait(lambda: waiting, 'an observation')
            # Long enough for an action, were there no need to see.
            time.sleep(0.02)
            number, ends = len(robot.answered), robot.now.step == LENGTH
            assert robot.now.stamp == waiting[0], 'it has not gone on'
            scored.send_score(waiting.pop())
            if not ends:
                probe.wait(lambda n=number: len(robot.answered) > n, 'an action')
        probe.wait(lambda: waiting, 'an observation')
        robot.on_sense = scored.score
        scored.send_score(waiting.pop())
        node.expect_end()
    replay, _ = read_trainer(checkpoints(tmp_path / 'run')[-1])
    # Its own value alone, and each frame once.
    assert replay['state'].tolist() == [[t] for t in range(LENGTH)] * 3
    for stamp, embedding in zip(replay['stamp'], replay['embedding'], strict=True):
        assert embedding == pytest.approx(scored.embedding(int(stamp)), abs=1e-3)
    assert not replay['lag'].any()
    policy = SAC.load(tmp_path / 'run' / 'vlm_agent.zip', device='cpu')
    assert policy.observation_space.shape == (1 + WIDTH,)


def test_where_a_frame_cannot_be_scored_the_one_before_is_seen(tmp_path):
    total = WARMUP + LENGTH
    with learner(tmp_path, Proprioceptive, total_steps=total, **SEES) as (probe, robot, node):
        scored = Scored(probe, robot, scoring='cosine')

        def score():
            # The fifth frame of each episode.
            if robot.now.step == 5:
                scored.bad.add(robot.now.stamp)
            scored.score()

        robot.on_sense = score
        node.expect_end()
    replay, _ = read_trainer(checkpoints(tmp_path / 'run')[-1])
    # Neither the step to that frame nor the one from it can be learned from.
    assert set(replay['step'].tolist()) == set(range(1, LENGTH + 1)) - {5, 6}
    assert len(robot.answered) > total


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A short training of a policy that sees, with evaluations."""
    folder = tmp_path_factory.mktemp('seeing') / 'run'
    with Probe(new_domain()) as probe:
        sent = {'frame_score': {}, 'action': {}}
        for kind, topic in ((FrameScore, 'frame_score'), (Action, 'action')):

            def note(message, info, times=sent[topic]):
                times[to_ns(message.header.stamp)] = info['source_timestamp']

            probe.node.create_subscription(kind, topic, note, 10_000)
        observations = probe.record(Observation, 'observation')
        with HostedGraph(
            probe.domain,
            folder.parent,
            run_folder=folder,
            task='drawer-close-v3',
            observe='embedding',
            horizon=50,
            warmup_steps=50,
            total_steps=130,
            eval_every=100,
            eval_episodes=1,
            normalize_states=True,
        ) as graph:
            graph.expect_end()
    return folder, observations, sent


def test_no_pose_of_an_object_is_given_to_the_policy(run):
    folder, observations, _ = run
    replay, _ = read_trainer(checkpoints(folder)[-1])
    states = {to_ns(o.header.stamp): np.array(o.state, np.float32) for o in observations}
    assert replay['next_state'].shape[1] == len(HAND) == 8
    for stamp, state in zip(replay['stamp'], replay['next_state'], strict=True):
        assert np.array_equal(state, states[int(stamp)][list(HAND)])
    policy = SAC.load(folder / 'vlm_agent.zip', device='cpu')
    assert policy.observation_space.shape == (8 + replay['embedding'].shape[1],)


def test_it_acts_on_what_was_scored(run):
    """Each action is sent after the score of its frame."""
    # By the times of sending, for a listener may take two topics in any order.
    _, _, sent = run
    assert len(sent['action']) >= 130
    assert all(sent['frame_score'][stamp] < at for stamp, at in sent['action'].items())


def test_it_is_evaluated_on_frames_of_its_own(run):
    folder, _, _ = run
    assert [int(row['total_steps']) for row in read_table(folder / 'evaluations.csv')] == [100, 130]
    assert load_config(folder)['gather'] == 0
