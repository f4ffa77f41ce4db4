# SPDX-License-Identifier: Apache-2.0
"""Demonstrations: the file, what they fill, and what of each batch comes from them."""

import dataclasses

import gymnasium
import numpy as np
import pytest

from furl_ros.core.alignment import Aligner
from furl_ros.core.config import AlignConfig, ScoringConfig, TrainConfig
from furl_ros.core.demonstrations import (
    SOURCE,
    Demonstrations,
    check_demonstrations,
    load_demonstrations,
    save_demonstrations,
)
from furl_ros.core.heads import RewardHeads
from furl_ros.core.replay import Replay, Transition
from furl_ros.core.settings import SettingError
from furl_ros.core.trainer import Trainer

WIDTH, STATE = 4, 3
STATES = gymnasium.spaces.Box(-np.inf, np.inf, (STATE,), np.float32)
ACTIONS = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
CONFIG = TrainConfig(warmup_steps=10, batch_size=40, buffer_size=1_000, hidden_units=8)
TEXT = np.ones(WIDTH, np.float32)
ABOUT = {'task': 'drawer-open-v3', 'vlm': 'furl-tiny', 'success_reward': '0/1'}


def episode(number, length=6, success=True, width=WIDTH):
    """Its values tell where they are from; the last step is the success."""
    return [
        Transition(
            np.full(STATE, number * 100 + step, np.float32),
            np.full(1, 0.5, np.float32),
            np.full(STATE, number * 100 + step + 1, np.float32),
            float(success and step == length - 1),
            success and step == length - 1,
            success and step == length - 1,
            np.full(width, step + 1, np.float16),
            step + 1,
            SOURCE,
            number,
            step + 1,
            np.full(width, step, np.float16),
            0,
            True,
        )
        for step in range(length)
    ]


def shown(*episodes):
    rows = [transition for one in episodes for transition in one]
    return Demonstrations(
        [t._replace(stamp=number + 1) for number, t in enumerate(rows)], dict(ABOUT)
    )


def trainer(method='furl', **changes):
    config = dataclasses.replace(CONFIG, method=method, **changes)
    one = Trainer(config, STATES, ACTIONS, TEXT, ScoringConfig('progress'), proprioception=(0,))
    if one.method.heads != 'none':
        one.set_heads(RewardHeads((WIDTH, 8, 4), seed=1), 1)
    return one


class TestFile:
    def test_what_is_saved_is_loaded(self, tmp_path):
        saved = shown(episode(0), episode(1, success=False))
        save_demonstrations(tmp_path / 'shown', saved)
        loaded = load_demonstrations(tmp_path / 'shown')
        assert loaded.about == ABOUT
        assert [len(one) for one in loaded.episodes] == [6, 6]
        for one, other in zip(saved.transitions, loaded.transitions, strict=True):
            for name, value in one._asdict().items():
                assert np.array_equal(value, getattr(other, name)), name

    def test_no_such_file(self, tmp_path):
        with pytest.raises(SettingError, match='not a readable checkpoint file'):
            load_demonstrations(tmp_path / 'none')
        Aligner(AlignConfig(), 'furl', TEXT, None, 0, 0).save(tmp_path / 'heads')
        with pytest.raises(SettingError, match='accepted: a file of demonstrate'):
            load_demonstrations(tmp_path / 'heads')

    @pytest.mark.parametrize('name', ['task', 'vlm', 'success_reward'])
    def test_of_another_run(self, name):
        config = ABOUT | {'rho': 1.0}
        check_demonstrations(shown(episode(0)), config)
        with pytest.raises(SettingError, match=f"{name} is 'other'; accepted with these"):
            check_demonstrations(shown(episode(0)), config | {name: 'other'})


class TestReplay:
    def test_they_are_there_before_the_first_step(self):
        one = trainer()
        one.show(shown(episode(0), episode(1, success=False)))
        assert (len(one.replay), one.steps, one.owed, one.episodes) == (12, 0, 0, 0)
        assert one.replay.arrays['demonstration'][:12].all()
        # They are episodes with a success, or without, as any other.
        assert one.replay._succeeded[:12].tolist() == [True] * 6 + [False] * 6
        assert one.replay.has_success

    def test_shown_failures_are_no_success(self):
        one = trainer()
        one.show(shown(episode(1, success=False)))
        assert not one.replay.has_success

    def test_a_method_without_a_model_has_no_need_of_embeddings(self):
        one = trainer('sac')
        one.show(shown(episode(0)))
        assert len(one.replay) == 6

    def test_a_policy_that_sees_is_given_no_more(self):
        one = trainer(observe='embedding')
        one.show(shown(episode(2)))
        assert one.replay.arrays['state'][:6].tolist() == [[200 + step] for step in range(6)]

    def test_of_another_robot(self):
        other = [t._replace(action=np.zeros(2, np.float32)) for t in episode(0)]
        with pytest.raises(
            SettingError, match=r'of \[3, 2, 4\] values; accepted here: \[3, 1, 4\]'
        ):
            trainer().show(shown(other))

    def test_of_another_model(self):
        with pytest.raises(SettingError, match=r'accepted here: \[3, 1, 4\]'):
            trainer().show(shown(episode(0, width=5)))


class TestShares:
    def row(self, number, demonstration):
        state = np.full(1, number, np.float32)
        values = (state, np.zeros(1), state, 0.0, False, False, np.zeros(0), number, 0, 0, number)
        return Transition(*values, demonstration=demonstration)

    def replay(self, plain, shown_count):
        replay = Replay(100, 1, 1, 0)
        for number in range(plain + shown_count):
            replay.add(self.row(number, number >= plain))
        return replay

    def count(self, replay, share, plain, success_share=0.0):
        generator = np.random.default_rng(0)
        batch = replay.sample(generator, 1_000, success_share, share)
        return int((batch.states >= plain).sum())

    def test_by_hand(self):
        replay = self.replay(90, 10)
        # One half and a tenth of the other half.
        assert self.count(replay, 0.5, 90) == pytest.approx(550, abs=30)
        assert self.count(replay, 0.0, 90) == pytest.approx(100, abs=30)
        assert self.count(replay, 1.0, 90) == 1_000

    def test_where_there_are_none(self):
        assert self.count(self.replay(50, 0), 0.5, 50) == 0

    def test_beside_the_share_of_successes(self):
        replay = self.replay(50, 10)
        replay._succeeded[:5], replay._success_slots = True, None
        batch = replay.sample(np.random.default_rng(0), 1_000, 0.75, 0.75)
        assert int((batch.states < 5).sum()) == 750
        assert int((batch.states >= 50).sum()) == 250

    def test_what_an_operator_does_is_one_of_them(self):
        replay = self.replay(5, 0)
        assert self.count(replay, 1.0, 100) == 0
        replay.add(self.row(100, True))
        assert self.count(replay, 1.0, 100) == 1_000


def test_rings_hold_their_frames():
    aligner = Aligner(AlignConfig(ring_size=100), 'furl', TEXT, None, 0, warmup_steps=10)
    aligner.show(shown(episode(0), episode(1, success=False), episode(2)))
    assert (len(aligner.positives), len(aligner.negatives)) == (12, 6)
    assert aligner.transitions == 0
    assert aligner.update() == {}, 'the warm-up comes first'
    with pytest.raises(SettingError, match='embeddings of 5 values; accepted: 4'):
        aligner.show(shown(episode(0, width=5)))
