# SPDX-License-Identifier: Apache-2.0
"""A small run of the whole graph on a real task: everything lines up by stamp."""

import sys

import numpy as np
import pytest
import yaml
from graph_support import (
    assert_clean,
    by_stamp,
    checkpoints,
    read_alignment,
    read_table,
    read_trainer,
)
from stable_baselines3 import SAC

from furl_interfaces.msg import FrameScore, TrainingStatus
from furl_ros.bridge.convert import from_heads_msg, to_ns
from furl_ros.core.heads import RewardHeads
from furl_ros.core.run import load_config

STEPS, WARMUP, HORIZON, PUBLISH_EVERY = 230, 100, 50, 50


@pytest.fixture(scope='module')
def replay(train_run):
    return read_trainer(checkpoints(train_run.folder)[-1])[0]


def test_it_ends_by_itself(train_run):
    assert_clean(train_run.graph, processes=5)
    assert train_run.graph.output.count('shutting down') == 1
    # There are no colours where it is no terminal.
    assert '\x1b' not in train_run.graph.output


def test_the_run_folder_is_complete(train_run):
    folder = train_run.folder
    config = load_config(folder)
    assert config['task'] == 'drawer-close-v3'
    assert config['warmup_steps'] == WARMUP
    assert 'resume' not in yaml.safe_load((folder / 'config.yaml').read_text())
    assert list((folder / 'tensorboard').glob('events.out.tfevents.*'))
    assert [path.name for path in checkpoints(folder)] == ['step_000000200', 'step_000000230']
    episodes, evaluations, steps = (
        [int(row['total_steps']) for row in read_table(folder / f'{name}.csv')]
        for name in ('episodes', 'evaluations', 'curves')
    )
    assert episodes == [50, 100, 150, 200]
    assert evaluations == [100, 200, 230]
    assert steps == sorted(set(steps))
    assert steps[-1] == STEPS


def test_the_agent_opens_without_this_package(train_run, monkeypatch):
    for name in list(sys.modules):
        if name.split('.')[0] in ('furl_ros', 'furl_interfaces', 'sim'):
            monkeypatch.setitem(sys.modules, name, None)
    agent = SAC.load(train_run.folder / 'vlm_agent.zip', device='cpu')
    action, _ = agent.predict(np.zeros(39, np.float32), deterministic=True)
    assert action.shape == (4,)


def test_the_replay_holds_every_step_once_and_in_order(train_run, replay):
    observations = [o for o in train_run.observations if o.step > 0]
    assert len(observations) == STEPS
    assert replay['stamp'].tolist() == [to_ns(o.header.stamp) for o in observations]
    assert (np.diff(replay['stamp']) > 0).all()
    assert replay['step'].tolist() == [o.step for o in observations]
    assert replay['episode'].tolist() == [o.episode for o in observations]
    assert replay['step'].tolist() == [1 + i % HORIZON for i in range(STEPS)]


def test_states_actions_and_rewards_are_those_of_the_stamps(train_run, replay):
    observations = by_stamp(train_run.observations)
    for row, stamp in enumerate(replay['stamp'].tolist()):
        after = observations[stamp]
        before = observations[to_ns(after.previous_stamp)]
        np.testing.assert_array_equal(replay['next_state'][row], after.state)
        np.testing.assert_array_equal(replay['state'][row], before.state)
        # The bounds of Meta-World's actions are -1 and 1 already.
        np.testing.assert_allclose(replay['action'][row], after.action, atol=1e-6)
        assert replay['task_reward'][row] == after.task_reward == after.success - 1.0
        assert replay['success'][row] == after.success
        assert not replay['terminated'][row]


def test_each_observation_was_answered_by_the_action_that_was_carried_out(train_run):
    actions = by_stamp(train_run.actions)
    assert len(actions) == STEPS
    for observation in train_run.observations:
        if observation.step > 0:
            action = actions[to_ns(observation.previous_stamp)]
            np.testing.assert_array_equal(np.clip(action.action, -1, 1), observation.action)
    agents = [action.agent for action in train_run.actions]
    assert agents[:WARMUP] == ['random'] * WARMUP
    assert set(agents[WARMUP:]) <= {'vlm', 'sac'}


def test_every_frame_was_scored_and_its_embedding_stored(train_run, replay):
    scores = by_stamp(train_run.scores)
    assert set(scores) == set(by_stamp(train_run.images)) == set(by_stamp(train_run.observations))
    assert {score.status for score in train_run.scores} == {FrameScore.OK}
    for row, stamp in enumerate(replay['stamp'].tolist()):
        stored = np.asarray(scores[stamp].embedding, np.float32).astype(np.float16)
        np.testing.assert_array_equal(replay['embedding'][row], stored)


def test_heads_are_published_at_their_transitions(train_run, replay):
    heads = train_run.heads
    assert [h.transitions for h in heads] == list(range(0, STEPS, PUBLISH_EVERY))
    # One update per transition after the warm-up.
    assert [h.version for h in heads] == [max(0, h.transitions - WARMUP) for h in heads]
    for message in heads[1:]:
        assert to_ns(message.header.stamp) == replay['stamp'][message.transitions - 1]


def test_scores_come_from_the_version_of_the_heads_that_they_name(train_run):
    text = np.asarray(train_run.prompts[-1].text_embedding, np.float32)
    heads = {h.version: RewardHeads.from_flat(**from_heads_msg(h)) for h in train_run.heads}
    versions = [score.heads_version for score in train_run.scores]
    assert versions == sorted(versions)
    assert len(set(versions)) > 1
    for score in train_run.scores[::10]:
        if score.heads_version in heads and len(train_run.heads) > 1:
            embedding = np.asarray(score.embedding, np.float32)[None]
            expected = heads[score.heads_version].score(embedding, text)[0]
            assert score.reward == pytest.approx(expected, abs=1e-4)


def test_checkpoints_hold_one_moment_of_learner_and_alignment(train_run):
    for path in checkpoints(train_run.folder):
        replay, trainer = read_trainer(path)
        arrays, alignment = read_alignment(path)
        steps = int(path.name.removeprefix('step_'))
        assert trainer['steps'] == alignment['transitions'] == len(replay['stamp']) == steps
        assert alignment['version'] == steps - WARMUP
        # The update that the newest step calls for may still be owed.
        assert 0 <= steps - WARMUP - trainer['updates'] <= 1
        finished = steps // HORIZON * HORIZON
        rings = [arrays[name]['embeddings'] for name in ('positives', 'negatives')]
        assert sum(map(len, rings)) <= finished
        assert (path / 'vlm_agent.zip').is_file()
        assert (path / 'sac_agent.zip').is_file()


def test_a_checkpoint_has_the_very_heads_that_were_published(train_run):
    published = next(h for h in train_run.heads if h.transitions == 200)
    arrays, meta = read_alignment(train_run.folder / 'checkpoints' / 'step_000000200')
    assert meta['version'] == published.version
    np.testing.assert_array_equal(arrays['image_head'], published.image_head)
    np.testing.assert_array_equal(arrays['text_head'], published.text_head)


def test_status_and_episode_results_agree_with_the_tables(train_run):
    first, last = train_run.statuses[0], train_run.statuses[-1]
    assert (first.agent, first.replay_size, first.negatives) == ('', 0, 0)
    assert last.state == TrainingStatus.FINISHED
    assert (last.total_steps, last.target_steps, last.updates) == (STEPS, STEPS, STEPS - WARMUP)
    assert last.run_folder == str(train_run.folder)
    rows = read_table(train_run.folder / 'episodes.csv')
    assert [e.total_steps for e in train_run.episodes] == [int(row['total_steps']) for row in rows]
    assert [e.phase for e in train_run.episodes] == [row['phase'] for row in rows]
    assert [e.episode for e in train_run.episodes] == [0, 1, 2, 3]
    learned = [
        getattr(last, f'{name}_loss')
        for name in ('vlm_actor', 'vlm_critic', 'sac_actor', 'sac_critic', 'head')
    ]
    assert np.isfinite([*learned, last.vlm_reward]).all()
    assert (last.agent, last.replay_size) == (train_run.episodes[-1].phase, STEPS)
    assert last.rho == pytest.approx(0.05)
    assert last.positives + last.negatives > 0
