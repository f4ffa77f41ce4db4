# SPDX-License-Identifier: Apache-2.0
"""An episode that is thrown away leaves replay, rings and counters as if it had never been."""

import gymnasium
import numpy as np
import pytest

from furl_ros.core.alignment import Aligner
from furl_ros.core.config import AlignConfig, ScoringConfig, TrainConfig
from furl_ros.core.relay import Relay
from furl_ros.core.replay import Replay, Transition
from furl_ros.core.storage import load_tree
from furl_ros.core.trainer import Trainer

WIDTH = 4


class Frames:
    """Steps of interleaved episodes; each has values of its own."""

    def __init__(self, seed, sources):
        self.rng, self.number = np.random.default_rng(seed), 0
        self.frame = {}
        self.sources = sources

    def step(self, source, episode, step, demonstration=False):
        self.number += 1
        value = float(self.number)
        if step == 1:
            self.frame[source] = np.full(WIDTH, value + 0.5, np.float32)
        before, after = self.frame[source], np.full(WIDTH, value, np.float32)
        self.frame[source] = after
        return Transition(
            np.full(2, value, np.float32),
            np.full(1, value / 1000, np.float32),
            np.full(2, value + 1, np.float32),
            -1.0,
            bool(self.rng.random() < 0.1),
            False,
            after,
            self.number,
            source,
            episode,
            step,
            before,
            int(self.rng.integers(3)),
            demonstration,
        )


def whole_state(replay):
    """All that a replay is, but for what cannot be seen from outside."""
    state = replay.state()
    used = len(replay)
    if replay._linked:
        state |= {'previous': replay._previous[:used], 'next': replay._next[:used]}
    return state | {'newest': np.array(sorted(replay._newest.items()))}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], name)


@pytest.mark.parametrize(('sources', 'capacity'), [(1, 7), (1, 40), (1, 1000), (3, 40), (3, 1000)])
@pytest.mark.parametrize('kept', [{}, {'keeps_previous': True}, {'n_step': 3, 'gamma': 0.9}])
def test_a_replay_forgets(sources, capacity, kept):
    """At any moment of an episode, beside others that go on, whether or not the ring is full."""
    thrown = 0
    for seed in range(6):
        frames = Frames(seed, sources)
        rng = np.random.default_rng(100 + seed)
        one, other = (Replay(capacity, 2, 1, WIDTH, **kept) for _ in range(2))
        episodes, steps = [0] * sources, [0] * sources
        # What would have come, were there no episode that is thrown away: only the steps that stay.
        doomed = [rng.random() < 0.4 for _ in range(sources)]
        for _ in range(150):
            source = int(rng.integers(sources))
            steps[source] += 1
            transition = frames.step(source, episodes[source], steps[source], rng.random() < 0.2)
            one.add(transition)
            if not doomed[source]:
                other.add(transition)
            if rng.random() < 0.25 or steps[source] >= max(2, capacity // (2 * sources)):
                if doomed[source]:
                    assert one.forget_episode(source, episodes[source]) == steps[source]
                    thrown += 1
                else:
                    one.end_episode(source, episodes[source], 0.9)
                    other.end_episode(source, episodes[source], 0.9)
                    episodes[source] += 1
                steps[source] = 0
                if not any(d and s for d, s in zip(doomed, steps, strict=True)):
                    assert_same(whole_state(one), whole_state(other))
                doomed[source] = rng.random() < 0.4
    assert thrown > 20


def test_what_never_was_is_not_forgotten():
    replay = Replay(10, 2, 1, WIDTH)
    assert replay.forget_episode(0, 0) == 0
    frames = Frames(0, 1)
    replay.add(frames.step(0, 0, 1))
    replay.end_episode(0, 0, 0.9)
    assert replay.forget_episode(0, 0) == 0
    assert len(replay) == 1


def test_little_is_kept_for_it():
    """No more than the running episodes have overwritten."""
    frames, replay = Frames(0, 1), Replay(10, 2, 1, WIDTH)
    for episode in range(30):
        for step in range(1, 6):
            replay.add(frames.step(0, episode, step))
            assert len(replay._overwritten) <= step
        replay.end_episode(0, episode, 0.9)
        assert not replay._overwritten


def test_the_next_episode_has_the_turns_of_the_one_that_was_thrown_away():
    one, other = Relay(True, 100, 0), Relay(True, 100, 0)
    for thrown in (0, 1, 3, 0, 2):
        for _ in range(thrown):
            one.start_episode()
            one.forget_episode()
        one.start_episode()
        other.start_episode()
        assert [one.agent(step) for step in range(400)] == [other.agent(s) for s in range(400)]
    assert one.state() == other.state()


STATES = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
ACTIONS = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
CONFIG = TrainConfig(warmup_steps=40, batch_size=8, buffer_size=1_000, hidden_units=8)
ALIGN = AlignConfig(head_hidden_units=8, output_units=4, head_batch_size=8, ring_size=100)
TEXT, GOAL = np.ones(WIDTH, np.float32), np.arange(WIDTH, dtype=np.float32)


class Run:
    """A trainer and an aligner that are fed the same episodes."""

    def __init__(self):
        self.trainer = Trainer(CONFIG, STATES, ACTIONS, TEXT, ScoringConfig('progress'))
        self.aligner = Aligner(ALIGN, 'furl', TEXT, GOAL, 0, CONFIG.warmup_steps)
        self.trainer.set_heads(self.aligner.heads, 0)

    def begin(self):
        return self.trainer.start_episode()

    def step(self, transition, last, learn):
        self.trainer.act(transition.state, transition.step - 1)
        self.trainer.add(transition)
        self.aligner.add(transition.embedding, transition.success, last)
        while learn and self.trainer.owed > 0:
            self.trainer.update()
            self.aligner.update()

    def end(self, number):
        self.trainer.end_episode(0, number)

    def throw_away(self):
        self.trainer.forget_episode(0)
        self.aligner.forget_episode()

    def counters(self):
        trainer, aligner = self.trainer, self.aligner
        return (
            trainer.steps,
            trainer.acted,
            trainer.episodes,
            dict(+trainer.started),
            list(trainer.recent),
            trainer.relay.state(),
            aligner.transitions,
            len(aligner.positives),
            len(aligner.negatives),
        )


@pytest.mark.parametrize(('learn', 'count'), [(False, 50), (True, 12)])
def test_episodes_are_thrown_away_at_random(learn, count, tmp_path):
    """Compared with a run without them; what was learned meanwhile stays learned."""
    rng = np.random.default_rng(3)
    one, other = Run(), Run()
    frames, thrown, kept = Frames(5, 1), 0, 0
    while thrown < count:
        doomed = rng.random() < 0.6
        length = int(rng.integers(1, 20))
        number = one.begin()
        if not doomed:
            assert other.begin() == number
        for step in range(1, length + 1):
            transition = frames.step(0, number, step)
            last = step == length and not doomed
            one.step(transition, last, learn)
            if not doomed:
                other.step(transition, last, learn)
        if doomed:
            one.throw_away()
            thrown += 1
        else:
            one.end(number)
            other.end(number)
            kept += 1
        assert one.counters() == other.counters()
    assert kept > count / 5
    assert_same(whole_state(one.trainer.replay), whole_state(other.trainer.replay))
    for name in ('one', 'other'):
        {'one': one, 'other': other}[name].aligner.save(tmp_path / name)
    (first, _), (second, _) = (load_tree(tmp_path / name) for name in ('one', 'other'))
    for ring in ('positives', 'negatives'):
        assert_same(first[ring], second[ring])
    if learn:
        assert one.trainer.updates >= other.trainer.updates > 0
        assert one.trainer.owed == 0
    else:
        assert one.trainer.owed == other.trainer.owed
        np.testing.assert_array_equal(first['sum'], second['sum'])
