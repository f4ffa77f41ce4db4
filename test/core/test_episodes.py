# SPDX-License-Identifier: Apache-2.0
"""Episodes of robots that are plain objects: begun, acted in, learned from, gone on with."""

import dataclasses
from collections import Counter, deque
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from core_support import assert_same, tensors

from furl_ros.core.config import ScoringConfig, TrainConfig
from furl_ros.core.episodes import Episodes
from furl_ros.core.pacing import REAL_TIME_BACKLOG, Pace, Pacing
from furl_ros.core.replay import NO_ACTION
from furl_ros.core.seeds import episode_seed
from furl_ros.core.trainer import Trainer

LENGTH, PERIOD, WIDTH = 10, 7, 4
STATES = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
ACTIONS = gymnasium.spaces.Box(np.array([-2, 0], np.float32), np.array([2, 1], np.float32))
CONFIG = TrainConfig(
    method='sac', seed=5, warmup_steps=15, batch_size=8, buffer_size=200, hidden_units=8
)


class Robot:
    """Answers each action at once; an episode takes ``LENGTH`` steps.

    Attributes:
        seeds: of its episodes.
        acted: (stamp that was answered, who chose the action).
        wait_for: stamps whose frames are not scored yet.
        cuts: it is asked for twice of what it carries out.
    """

    def __init__(self, index=0, name='', lockstep=True, width=0):
        self.index, self.name, self.lockstep, self.width = index, name, lockstep, width
        self.period_ns, self.newest = PERIOD, 0
        self.todo, self.ready, self.wait_for = None, deque(), set()
        self.resetting = self.waits_for_scores = False
        self.is_over = self.restarted = self.blind = self.discarded = False
        self.sight, self.lags = np.zeros(width, np.float32), {}
        self.silent_for, self.alignment_lead, self.retries = 0.0, 0, 0
        self.seeds, self.acted = [], []
        self.cuts = False

    @property
    def in_flight(self):
        return len(self.ready)

    def reset(self, seed):
        self.ready.clear()
        self.seeds.append(seed)
        self.is_over = self.restarted = False
        self.silent_for = 0.0
        self.state = np.array([seed % 97, 0], np.float32)
        self.sense(0, np.zeros(0, np.float32))

    def retry(self):
        self.retries += 1

    def lag_at(self, stamp):
        return self.lags.get(stamp, 0)

    def act(self, action, agent):
        before = self.todo
        self.acted.append((before.stamp, agent))
        self.state = self.state + action
        self.sense(before.step + 1, action)
        after = self.now
        self.ready.append(
            SimpleNamespace(
                before=before,
                after=after,
                score=self.score(after),
                previous_score=self.score(before) if self.width else None,
            )
        )

    def score(self, sensed):
        embedding = np.full(self.width, sensed.step, np.float32)
        return SimpleNamespace(embedding=embedding, reward=float(sensed.step))

    def sense(self, step, action):
        self.newest += PERIOD
        self.now = SimpleNamespace(
            stamp=self.newest,
            step=step,
            state=self.state.copy(),
            action=action,
            asked_action=2 * action if self.cuts else NO_ACTION,
            task_reward=-0.5,
            success=step == LENGTH,
            terminated=False,
            last=step == LENGTH,
            intervened=False,
            judged=False,
        )
        self.todo = None if self.now.last else self.now

    def take(self, hold):
        if not self.ready or self.ready[0].after.stamp in self.wait_for:
            return None
        held = hold and self.todo is not None and self.ready[0].after is self.todo
        return None if held else self.ready.popleft()


class Learner:
    """A learner's core in a loop like the node's, and what it said."""

    def __init__(self, *robots, pace=None, checkpoint=None, text=None, **changes):
        config = dataclasses.replace(CONFIG, **changes)
        self.trainer = Trainer(config, STATES, ACTIONS, text, ScoringConfig('cosine'))
        if checkpoint is not None:
            self.trainer.load(checkpoint)
        self.robots, self.counts, self.warnings = robots, Counter(), []
        self.pacing = Pacing(pace or Pace(), robots, self.trainer)
        self.episodes = Episodes(self.pacing, self.trainer, self.counts, self.warnings.append)
        self.ended = []

    def turn(self):
        """Once around; False when nothing was there to be done."""
        progress = self.episodes.answer(now=0.0)
        for robot in self.robots:
            taken = self.episodes.take_in(robot)
            if taken is not None:
                progress = True
                if taken.ended is not None:
                    self.ended.append(taken)
                    self.episodes.start_next(robot)
            self.episodes.mend(robot)
        if self.trainer.owed > 0:
            self.trainer.update()
            progress = True
        return progress

    def train(self, target):
        self.episodes.begin(target)
        while not self.pacing.is_done:
            assert self.turn()
        return self


@pytest.mark.parametrize('cuts', [False, True])
def test_what_was_asked_for_is_kept_beside_what_was_carried_out(cuts):
    robot = Robot()
    robot.cuts = cuts
    trainer = Learner(robot).train(5).trainer
    kept, asked = (trainer.replay.arrays[name][:5] for name in ('action', 'asked_action'))
    # What was asked for may lie beyond the limits: from there nothing leads back to its units.
    expected = [trainer.scale((1 + cuts) * trainer.unscale(action)) for action in kept]
    np.testing.assert_allclose(asked, expected, atol=1e-6)


def test_nothing_is_taken_in_beyond_the_end_of_a_run():
    """A robot that does not wait goes on while the last updates are made."""
    robot = Robot(lockstep=False)
    one = Learner(robot).train(5)
    robot.act(np.zeros(2, np.float32), 'vlm')
    assert robot.ready
    assert one.episodes.take_in(robot) is None
    assert one.trainer.steps == len(one.trainer.replay) == 5


def test_each_episode_has_its_seed_and_every_step_is_learned_from():
    robot = Robot()
    one = Learner(robot).train(25)
    assert robot.seeds == [episode_seed(CONFIG.seed, 0, number) for number in range(3)]
    replay = one.trainer.replay.arrays
    # A reset has a stamp, too.
    stamps = [
        s for s in range(PERIOD, 29 * PERIOD, PERIOD) if s % ((LENGTH + 1) * PERIOD) != PERIOD
    ]
    assert replay['stamp'][:25].tolist() == stamps[:25]
    assert replay['episode'][:25].tolist() == [0] * 10 + [1] * 10 + [2] * 5
    assert replay['step'][:12].tolist() == [*range(1, 11), 1, 2]
    assert one.episodes.learned == {0: stamps[24]}
    assert [agent for _, agent in robot.acted][:15] == ['random'] * 15
    assert len(robot.acted) == 25
    assert [(t.stamp, t.ended.episode, t.ended.length) for t in one.ended] == [
        (11 * PERIOD, 0, LENGTH),
        (22 * PERIOD, 1, LENGTH),
    ]


def test_robots_have_numbers_and_seeds_of_their_own():
    robots = [Robot(0), Robot(1)]
    one = Learner(*robots).train(60)
    for robot in robots:
        seeds = [episode_seed(CONFIG.seed, robot.index, number) for number in range(3)]
        assert robot.seeds[:3] == seeds
    assert sorted((t.ended.source, t.ended.episode) for t in one.ended)[:2] == [(0, 0), (0, 1)]
    assert one.trainer.steps == 60


def test_scores_reach_the_replay_and_the_result_of_the_episode():
    text = np.ones(WIDTH, np.float32)
    one = Learner(Robot(width=WIDTH), method='vlm', text=text).train(LENGTH)
    embeddings = one.trainer.replay.arrays['embedding'][:LENGTH]
    np.testing.assert_array_equal(embeddings[:, 0], np.arange(1, LENGTH + 1))
    assert one.ended[0].ended.vlm_return == sum(range(1, LENGTH + 1))


def test_a_robot_in_real_time_is_answered_and_what_it_outran_is_let_go():
    robot = Robot(lockstep=False)
    one = Learner(robot, updates_per_step=50)
    one.episodes.begin(40)
    for _ in range(30):
        one.episodes.answer(now=0.0)
        if (taken := one.episodes.take_in(robot)) is not None and taken.ended is not None:
            one.episodes.start_next(robot)
    assert one.trainer.steps > CONFIG.warmup_steps + 10
    assert one.trainer.owed == REAL_TIME_BACKLOG


def test_an_episode_without_its_last_step_is_followed_by_the_next_where_more_is_wanted():
    robot = Robot()
    one = Learner(robot)
    one.episodes.begin(100)
    robot.is_over = True
    one.episodes.mend(robot)
    assert len(robot.seeds) == 2
    assert one.counts['episodes whose last step could not be scored'] == 1
    one.pacing.target, robot.is_over = 0, True
    one.episodes.mend(robot)
    assert len(robot.seeds) == 2
    assert robot.retries == 2


def test_a_robot_that_has_restarted_gets_a_new_episode():
    robot = Robot(name='sim_2')
    one = Learner(robot)
    one.episodes.begin(100)
    robot.restarted = True
    one.episodes.mend(robot)
    one.episodes.mend(robot)
    assert one.warnings == ['sim_2 has restarted']
    assert robot.seeds == [episode_seed(CONFIG.seed, 0, number) for number in range(2)]


@pytest.mark.parametrize('deterministic', [False, True])
def test_a_silent_robot_gets_a_new_episode_unless_bit_for_bit(deterministic):
    robot = Robot(name='sim_2')
    one = Learner(robot, pace=Pace(deterministic, stall_timeout=30.0))
    one.episodes.begin(100)
    robot.silent_for = 31.0
    waited = one.episodes.look_for_stalls()
    if deterministic:
        assert waited == ['nothing heard of sim_2 for 31 s: waiting']
        assert one.warnings == []
    else:
        assert waited == []
        assert one.warnings == ['nothing heard of sim_2 for 31 s: asking sim_2 for a new episode']
    assert len(robot.seeds) == 1 + one.counts['stalls'] == 1 + (not deterministic)


def assert_same_learner(one, other):
    """Everything that the two have learned, and drawn, is equal bit for bit."""
    for name, values in one.trainer.replay.state().items():
        np.testing.assert_array_equal(values, other.trainer.replay.state()[name], name)
    for name, agent in one.trainer.agents.items():
        assert_same(tensors(agent.sac), tensors(other.trainer.agents[name].sac), rtol=0, atol=0)
    assert one.trainer.report() == other.trainer.report()
    states = [learner.trainer.generator.bit_generator.state for learner in (one, other)]
    assert states[0] == states[1]


class TestBitForBit:
    pace = Pace(deterministic=True)

    @pytest.mark.parametrize('first', [20, 23, 29], ids=['between', 'within', 'before the last'])
    @pytest.mark.parametrize('process', ['the same', 'another'])
    def test_a_run_that_goes_on_is_the_run_that_never_ended(self, tmp_path, first, process):
        whole = Learner(Robot(), pace=self.pace).train(45)
        robot = Robot()
        parts = Learner(robot, pace=self.pace).train(first)
        if process == 'another':
            parts.trainer.save(tmp_path)
            robot = Robot()
            parts = Learner(robot, pace=self.pace, checkpoint=tmp_path)
            assert robot.newest == first * PERIOD + (first + LENGTH - 1) // LENGTH * PERIOD
        parts.train(45)
        assert_same_learner(whole, parts)
        assert parts.warnings == []
        assert parts.episodes.learned == whole.episodes.learned
        again = [stamp for stamp, agent in robot.acted if agent == 'again']
        # In the same process only the action that the end foresaw is left.
        known = first % LENGTH
        assert len(again) == (0 if not known else known + 1 if process == 'another' else 1)

    def test_the_episode_is_lost_when_the_robot_did_not_start_anew(self, tmp_path):
        Learner(Robot(), pace=self.pace).train(23).trainer.save(tmp_path)

        class Elsewhere(Robot):
            def reset(self, seed):
                self.newest += 1
                super().reset(seed)

        robot = Elsewhere()
        one = Learner(robot, pace=self.pace, checkpoint=tmp_path).train(45)
        (warning,) = one.warnings
        assert 'did not start anew' in warning
        assert robot.seeds[:2] == [episode_seed(CONFIG.seed, 0, number) for number in (2, 3)]
        assert one.trainer.replay.arrays['episode'][23] == 3

    def test_without_it_every_training_begins_with_a_new_episode(self):
        robot = Robot()
        one = Learner(robot).train(23).train(25)
        assert robot.seeds == [episode_seed(CONFIG.seed, 0, number) for number in range(4)]
        assert one.trainer.replay.arrays['episode'][23] == 3
