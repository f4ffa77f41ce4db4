# SPDX-License-Identifier: Apache-2.0
"""The learner's core on a small made-up task: actions, replay, updates, relay, checkpoints."""

import dataclasses
from typing import NamedTuple

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import torch
from core_support import tensors

from furl_ros.core.config import PLAIN_COSINE, ScoringConfig, TrainConfig
from furl_ros.core.heads import RewardHeads
from furl_ros.core.methods import METHODS
from furl_ros.core.relay import SAC, VLM
from furl_ros.core.replay import Batch, Transition
from furl_ros.core.reward import goal_baseline
from furl_ros.core.settings import SettingError
from furl_ros.core.storage import load_tree
from furl_ros.core.trainer import RANDOM, Trainer

WIDTH = 6
LENGTH = 30
STATES = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
ACTIONS = gymnasium.spaces.Box(np.array([-1, 2], np.float32), np.array([3, 2.5], np.float32))
TEXT = np.linspace(-1, 1, WIDTH).astype(np.float32)
GOAL = np.array([1, 0, 2, -1, 0, 1], np.float32)
BASELINE = np.array([0, 1, 1, 1, 0, -1], np.float32)
POTENTIAL = ScoringConfig('potential')
PROGRESS = ScoringConfig('progress')
CONFIG = TrainConfig(
    warmup_steps=10, batch_size=8, buffer_size=100, hidden_units=8, relay_positives=50
)


def trainer(method='furl', scoring=PLAIN_COSINE, **changes):
    config = dataclasses.replace(CONFIG, method=method, **changes)
    text = TEXT if METHODS[method].vlm else None
    one = Trainer(config, STATES, ACTIONS, text, scoring, GOAL, BASELINE)
    if METHODS[method].heads != 'none':
        one.set_heads(RewardHeads((WIDTH, 8, 4), seed=1), 1)
    return one


def state_of(step):
    return np.array([step / 10, np.sin(step), 1], np.float32)


def frame(one, index):
    """Embedding of the frame after ``index`` steps."""
    return np.cos(np.arange(one.text.numel()) * index)


def step(one, index, success=False, action=None, source=0, terminated=False, episode=0):
    """One step of the made-up robot; its embedding follows the step."""
    if action is None:
        action, _ = one.act(state_of(index), index, source, frame(one, index))
    one.add(
        Transition(
            state_of(index),
            one.scale(action),
            state_of(index + 1),
            float(success) - 1,
            success,
            terminated,
            frame(one, index + 1),
            one.steps,
            source,
            episode,
            index + 1,
            frame(one, index),
        ),
        score=0.5,
        previous_score=0.25,
    )


def play(one, episodes=1, success=(), length=LENGTH, learn=True):
    """Whole episodes with every update that they call for; returns their results."""
    results = []
    for _ in range(episodes):
        number = one.start_episode()
        for index in range(length):
            step(one, index, index in success, episode=number)
            while learn and one.owed > 0:
                one.update()
        results.append(one.end_episode(0, number))
    return results


def parameters(one, name=VLM):
    return torch.cat([p.detach().reshape(-1) for p in one.agents[name].sac.policy.parameters()])


class Recorder:
    """Stands for the update of a trainer's agents and keeps what it is given."""

    def __init__(self, one):
        self.agents = one.agents
        self.calls = []
        one.relay_update = self

    def __call__(self, batch, rewards, pause, bounds):
        self.calls.append((batch, rewards))


def asked_for(one):
    """Batch and rewards of the next update, which is not made."""
    recorder = Recorder(one)
    one.update()
    return recorder.calls[0]


@pytest.mark.parametrize('scoring', [POTENTIAL, PROGRESS])
def test_rewards_of_n_steps_are_those_of_their_ends(scoring):
    one = trainer('furl', scoring, n_step=3, gamma=0.5, warmup_steps=1_000)
    play(one, 1, length=10, learn=False)
    batch, rewards = asked_for(one)
    steps = torch.log2(1 / batch.discounts[:, 0]).round().int()
    assert set(steps.tolist()) == {1, 2, 3}
    with torch.no_grad():
        start = one.frame_scores(batch.previous_embeddings)
        end = one.frame_scores(batch.embeddings)
    shrunk = 0.5**steps * end if scoring is POTENTIAL else end
    expected = sum_of_minus_ones(steps) + one.config.rho * (shrunk - start)
    torch.testing.assert_close(rewards[VLM][:, 0], expected)
    torch.testing.assert_close(rewards[SAC][:, 0], sum_of_minus_ones(steps))


@pytest.mark.parametrize('scoring', [POTENTIAL, PROGRESS])
def test_values_of_the_vlm_agent_are_at_least_what_a_success_came_to(scoring):
    """No more than the VLM rewards of such an episode, and nothing of one that failed."""
    one = trainer('furl', scoring, gamma=0.5, rho=1.0, warmup_steps=1_000)
    one.frame_scores = lambda embeddings: embeddings[:, 0]
    succeeded = torch.tensor([[True], [True], [False]])
    previous = torch.tensor([[0.4], [-0.4], [-0.9]])
    returns = torch.tensor([[0.25], [0.25], [0.0]])
    size = len(returns)
    batch = Batch(
        *[torch.zeros(size, 3), torch.zeros(size, 2), torch.zeros(size, 3)],
        *[torch.zeros(size, 1)] * 2,
        torch.zeros(size, WIDTH),
        returns,
        previous,
        succeeded=succeeded,
    )
    bounds = one.vlm_bounds(batch)[:, 0].tolist()
    assert bounds == pytest.approx([0.25 - 0.4, 0.25, -np.inf])
    assert trainer('furl').vlm_bounds(batch).tolist() == [[-np.inf]] * size


def sum_of_minus_ones(steps):
    """-1 for each of so many steps, discounted by a half."""
    return -(2 - 2 * 0.5**steps)


class TestNormalizedStates:
    def test_the_nets_see_scaled_states(self):
        one = trainer(normalize_states=True)
        play(one, 1)
        mean, scale = one.normalizer
        states = np.array([state_of(step) for step in range(CONFIG.warmup_steps + 1)])
        np.testing.assert_allclose(mean, states.mean(0), rtol=1e-5)
        deviation = states.std(0)
        floor = 0.1 * deviation.max()
        assert deviation[2] < floor
        np.testing.assert_allclose(scale, np.maximum(deviation, floor), rtol=1e-5)
        np.testing.assert_allclose(one.normalize(states)[:, 0].std(), 1, rtol=1e-4)

    def test_the_saved_agents_take_plain_states(self, tmp_path):
        one = trainer(normalize_states=True)
        play(one, 2)
        one.save(tmp_path)
        for name, agent in one.agents.items():
            plain = stable_baselines3.SAC.load(tmp_path / f'{name}_agent.zip')
            for step in range(5):
                expected = one.unscale(agent.act(one.normalize(state_of(step)), True))
                found, _ = plain.predict(state_of(step), deterministic=True)
                np.testing.assert_allclose(found, expected, atol=1e-5)
            states = torch.tensor(np.array([state_of(step) for step in range(5)]))
            actions = torch.zeros(5, 2)
            for expected, found in zip(
                agent.sac.critic(one.normalize(states), actions),
                plain.critic(states, actions),
                strict=True,
            ):
                torch.testing.assert_close(expected, found, rtol=1e-4, atol=1e-4)

    def test_a_run_goes_on_with_them_only(self, tmp_path):
        one = trainer(normalize_states=True)
        play(one, 2)
        one.save(tmp_path)
        with pytest.raises(SettingError, match=r'normalize_states is False, .* accepted: True'):
            trainer().load(tmp_path)

    def test_before_the_warm_up_has_shown_them_they_are_left_alone(self):
        one = trainer(normalize_states=True)
        assert np.array_equal(one.normalize(state_of(3)), state_of(3))


def test_warm_up_actions_may_be_held():
    one = trainer(warmup_steps=20, warmup_hold=4)
    actions = []
    for _ in range(2):
        one.start_episode()
        actions.append([one.act(state_of(index), index)[0] for index in range(10)])
    for episode in actions:
        assert all(np.array_equal(a, episode[4 * (k // 4)]) for k, a in enumerate(episode))
    distinct = {tuple(action) for episode in actions for action in episode}
    assert len(distinct) == 6


def test_the_temperature_begins_where_it_is_set():
    one = trainer(initial_temperature=0.02)
    for agent in one.agents.values():
        assert agent.sac.log_ent_coef.exp().item() == pytest.approx(0.02)


def test_a_share_of_each_batch_comes_from_successful_episodes():
    one = trainer(success_share=0.5)
    play(one, 2, learn=False)
    play(one, 1, success=(20,), learn=False)
    batch, _ = asked_for(one)
    # States tell the step alone: the marks tell the episode.
    assert one.replay._succeeded.sum() == LENGTH
    assert len(batch.states) == CONFIG.batch_size
    rows = one.replay._draw(np.random.default_rng(0), 8, 0.5)
    assert one.replay._succeeded[rows[:4]].all()


def test_which_agents_learn():
    assert {name: set(trainer(name).agents) for name in METHODS} == {
        'furl': {VLM, SAC},
        'furl-nogoal': {VLM, SAC},
        'relay': {VLM, SAC},
        'vlm-proj': {VLM},
        'vlm': {VLM},
        'sac': {VLM},
    }


def test_the_two_agents_start_apart():
    one = trainer()
    assert not torch.equal(parameters(one, VLM), parameters(one, SAC))


class TestActions:
    def test_scale_and_unscale_are_inverse(self):
        one = trainer()
        scaled = np.random.default_rng(0).uniform(-1, 1, (100, 2)).astype(np.float32)
        for row in scaled:
            there = one.unscale(row)
            assert there.dtype == one.scale(there).dtype == np.float32
            np.testing.assert_allclose(one.scale(there), row, atol=2e-6)
        np.testing.assert_allclose(one.unscale([-1, -1]), ACTIONS.low)
        np.testing.assert_allclose(one.unscale([1, 1]), ACTIONS.high)
        np.testing.assert_allclose(one.unscale([0, 0]), [1, 2.25])

    def test_every_bit_of_an_action_stays_where_its_units_are_those_of_the_nets(self):
        box = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        one = Trainer(dataclasses.replace(CONFIG, method='sac'), STATES, box, None)
        done = np.random.default_rng(0).uniform(-1, 1, (1_000, 2)).astype(np.float32)
        for action in (*done, np.full(2, 1e-30, np.float32)):
            np.testing.assert_array_equal(one.scale(action), action)
            np.testing.assert_array_equal(one.unscale(action), action)

    def test_warm_up_actions_are_uniform_and_counted(self):
        one = trainer(warmup_steps=2_000)
        one.start_episode()
        drawn = [one.act(state_of(0), 0) for _ in range(2_001)]
        assert [agent for _, agent in drawn].count(RANDOM) == 2_000
        assert drawn[-1][1] == VLM
        scaled = np.stack([one.scale(action) for action, _ in drawn[:-1]])
        counts = np.stack([np.histogram(column, 10, (-1, 1))[0] for column in scaled.T])
        assert counts.sum(axis=1).tolist() == [2_000, 2_000]
        assert np.abs(counts - 200).max() < 75  # five standard deviations and some

    def test_the_warm_up_does_not_touch_the_agents_generator(self):
        one = trainer()
        before = torch.get_rng_state()
        play(one, length=10)
        assert torch.equal(torch.get_rng_state(), before)

    def test_agents_alternate_as_the_relay_says(self):
        one = trainer(warmup_steps=1)
        play(one, length=1, learn=False)
        for _ in range(3):
            one.start_episode()
            said = [one.act(state_of(index), index)[1] for index in range(250)]
            assert said == [one.relay.agent(index) for index in range(250)]
            assert set(said) == {VLM, SAC}

    def test_noise_is_on_the_partners_actions_alone_and_they_stay_in_bounds(self):
        one = trainer(warmup_steps=1, partner_noise=0.2)
        play(one, length=1, learn=False)
        for agent in one.agents.values():
            agent.act = lambda state: np.array([0.0, 0.9], np.float32)
        drawn = {VLM: [], SAC: []}
        for _ in range(4):
            one.start_episode()
            for index in range(500):
                action, agent = one.act(state_of(index), index)
                drawn[agent].append(one.scale(action))
        plain, noisy = (np.stack(drawn[name]) for name in (VLM, SAC))
        np.testing.assert_allclose(plain, np.tile([0.0, 0.9], (len(plain), 1)), atol=1e-5)
        assert noisy[:, 0].std() == pytest.approx(0.2, rel=0.15)
        assert noisy[:, 0].mean() == pytest.approx(0, abs=0.04)
        assert noisy[:, 1].max() == pytest.approx(1, abs=1e-5)
        assert np.mean(noisy[:, 1] > 0.9999) > 0.2

    def test_the_partner_searches_at_random_until_a_first_success(self):
        one = trainer(warmup_steps=1, partner_hold=3, relay_turn=6)
        play(one, length=1, learn=False)

        def actions_of(success):
            """The actions of the SAC partner's turns of one episode."""
            drawn = {VLM: [], SAC: []}
            number = one.start_episode()
            for index in range(240):
                action, agent = one.act(state_of(index), index)
                drawn[agent].append(one.scale(action))
                step(one, index, success and index == 200, action, episode=number)
            one.end_episode(0, number)
            assert len(np.unique(drawn[VLM], axis=0)) == len(drawn[VLM])
            return np.array(drawn[SAC])

        for success in (False, True):
            searching = actions_of(success)
            assert len(np.unique(searching, axis=0)) == len(searching) / 3
            assert (searching.reshape(-1, 3, 2).std(axis=1) < 1e-6).all()
            assert searching.std(axis=0) == pytest.approx(1 / np.sqrt(3), rel=0.2)
        known = actions_of(False)
        assert len(np.unique(known, axis=0)) == len(known)


class TestUpdates:
    def test_one_per_step_after_the_warm_up(self):
        one = trainer()
        one.start_episode()
        for index in range(30):
            step(one, index)
            assert one.owed == max(0, index + 1 - 10) - one.updates
            while one.owed > 0:
                one.update()
        assert one.updates == 20

    def test_several_per_step_and_forgiven_ones(self):
        one = trainer(updates_per_step=3)
        play(one, length=20, learn=False)
        assert one.owed == 30
        one.forgive(100)
        assert one.owed == 30
        one.forgive(5)
        assert one.owed == 5
        one.update()
        assert one.owed == 4

    def test_a_robot_can_be_answered_in_the_midst_of_one(self):
        one = trainer()
        play(one, length=40, learn=False)
        one.start_episode()
        acted = []
        one.update(lambda: acted.append(one.act(state_of(0), len(acted))))
        assert len(acted) > 1
        assert one.updates == 1
        assert one.stages.calls['relay_update'] == 1
        assert all(np.isfinite(action).all() for action, _ in acted)

    def test_the_vlm_agent_sees_both_rewards_and_the_partner_the_task_alone(self):
        one = trainer(rho=0.05)
        play(one, length=40, success=(39,), learn=False)
        recorder = Recorder(one)
        for _ in range(5):
            one.update()
        assert len(recorder.calls) == 5
        for batch, both in recorder.calls:
            rewards = both[VLM]
            assert torch.equal(both[SAC], batch.task_rewards)
            scores = one.heads.score(batch.embeddings.numpy(), TEXT)[:, None]
            expected = batch.task_rewards.numpy() + 0.05 * scores
            np.testing.assert_allclose(rewards.numpy(), expected, atol=1e-6)
            assert rewards.shape == (8, 1)
            assert not rewards.requires_grad
        assert one.vlm_reward_mean == pytest.approx(scores.mean(), abs=1e-6)

    @pytest.mark.parametrize('method', ['relay', 'vlm'])
    @pytest.mark.parametrize('scoring', ['cosine', 'goal_baseline', 'goal_image', 'potential'])
    def test_without_heads(self, method, scoring):
        one = trainer(method, ScoringConfig(scoring, 0.75), rho=0.5)
        assert one.replay.keeps_previous == (scoring == 'potential')
        play(one, 2, length=40, learn=False)
        batch, rewards = asked_for(one)
        if scoring == 'goal_baseline':
            expected = goal_baseline(batch.embeddings, one.text, torch.tensor(BASELINE), 0.75)
        elif scoring == 'goal_image':
            expected = cosines(batch.embeddings, GOAL)
        elif scoring == 'cosine':
            expected = cosines(batch.embeddings, TEXT)
        else:
            expected = 0.99 * cosines(batch.embeddings, TEXT)
            expected -= cosines(batch.previous_embeddings, TEXT)
        expected = batch.task_rewards[:, 0].numpy() + 0.5 * np.asarray(expected)
        np.testing.assert_allclose(rewards[VLM][:, 0], expected, atol=1e-6)

    @pytest.mark.parametrize('scoring', ['cosine', 'goal_image'])
    def test_what_was_changed_is_used_from_the_next_update_on(self, scoring):
        """Prompt, goal image and rho."""
        one, target = trainer('vlm', ScoringConfig(scoring), rho=1.0), np.arange(WIDTH) - 2.5
        play(one, length=40, learn=False)
        (one.set_text if scoring == 'cosine' else one.set_goal)(target)
        one.config = dataclasses.replace(one.config, rho=0.5)
        batch, rewards = asked_for(one)
        expected = batch.task_rewards[:, 0].numpy() + 0.5 * cosines(batch.embeddings, target)
        np.testing.assert_allclose(rewards[VLM][:, 0], expected, atol=1e-6)

    @pytest.mark.parametrize('method', ['vlm', 'furl', 'vlm-proj'])
    def test_potentials_telescope_over_each_episode(self, method):
        """With the newest heads, for interleaved robots, when the ring has wrapped."""
        one = trainer(method, POTENTIAL, gamma=0.9)
        lengths = {0: 13, 1: 30, 2: 7}
        for source in lengths:
            one.start_episode(source)
        for number in range(60):
            for source, length in lengths.items():
                episode, index = divmod(number, length)
                step(one, index, source=source, episode=episode)
        if method != 'vlm':
            one.set_heads(RewardHeads((WIDTH, 8, 4), seed=5), 2)

        arrays, rows = one.replay.arrays, np.arange(len(one.replay))
        previous = one.replay._previous_embeddings(rows)
        embeddings = torch.from_numpy(arrays['embedding']).float()
        rewards = one.vlm_rewards(embeddings, previous, one.config.gamma).numpy()
        assert one.replay.written == 180 > len(one.replay)
        seen = 0
        for source in lengths:
            for episode in np.unique(arrays['episode'][arrays['source'] == source]):
                mine = rows[(arrays['source'] == source) & (arrays['episode'] == episode)]
                mine = mine[np.argsort(arrays['step'][mine])]
                first, last = arrays['step'][mine[[0, -1]]]
                assert last - first + 1 == len(mine)
                # What is left of the oldest episodes begins in their middle.
                ends = torch.from_numpy(np.stack([frame(one, first - 1), frame(one, last)])).half()
                phi = one.frame_scores(ends.float()).detach().numpy()
                total = np.sum(0.9 ** np.arange(len(mine)) * rewards[mine])
                assert total == pytest.approx(0.9 ** len(mine) * phi[1] - phi[0], abs=1e-5)
                seen += len(mine)
        assert seen == len(rows)

    def test_plain_sac_keeps_no_embeddings_and_sees_the_task_alone(self):
        one = trainer('sac')
        assert one.replay.arrays['embedding'].shape[1] == 0
        play(one, length=40, learn=False)
        batch, rewards = asked_for(one)
        assert torch.equal(rewards[VLM], batch.task_rewards)

    def test_old_transitions_are_relabelled_with_the_newest_heads(self):
        one = trainer(rho=1.0)
        play(one, length=40, learn=False)
        recorder = Recorder(one)
        for version in (2, 3):
            heads = RewardHeads((WIDTH, 8, 4), seed=version)
            one.set_heads(heads, version)
            one.update()
            batch, rewards = recorder.calls[-1]
            scores = torch.from_numpy(heads.score(batch.embeddings.numpy(), TEXT))
            torch.testing.assert_close(rewards[VLM][:, 0], batch.task_rewards[:, 0] + scores)
        assert one.report()['heads_version'] == 3

    def test_heads_must_be_there(self):
        one = Trainer(CONFIG, STATES, ACTIONS, TEXT)
        play(one, length=10, learn=False)
        with pytest.raises(RuntimeError, match='no reward heads'):
            one.update()

    def test_termination_and_time_limit_reach_the_batch(self):
        one = trainer()
        one.start_episode()
        step(one, 0, terminated=True)
        assert asked_for(one)[0].terminated.all()
        one = trainer()
        play(one, length=40, learn=False)  # every episode here ends by a time limit
        assert not asked_for(one)[0].terminated.any()


def cosines(embeddings, target):
    embeddings = np.asarray(embeddings)
    return embeddings @ target / np.linalg.norm(embeddings, axis=1) / np.linalg.norm(target)


def test_the_episode_log_sums_what_a_step_is_worth():
    one = trainer('vlm', POTENTIAL, gamma=0.9)
    assert play(one, learn=False)[0].vlm_return == pytest.approx(30 * (0.9 * 0.5 - 0.25))
    one = trainer('vlm', PROGRESS, gamma=0.9)
    assert play(one, learn=False)[0].vlm_return == pytest.approx(30 * (0.5 - 0.25))


def test_what_does_not_go_together_is_refused():
    with pytest.raises(SettingError, match="scoring is 'goal_image'; accepted with method furl"):
        trainer('furl', ScoringConfig('goal_image'))
    with pytest.raises(SettingError, match='n_step is 2 with scoring cosine; accepted: 1, or any'):
        trainer('furl', n_step=2)
    trainer('sac', n_step=2)
    with pytest.raises(SettingError, match="observe is 'embedding' with method sac"):
        trainer('sac', observe='embedding')
    config = dataclasses.replace(CONFIG, method='vlm')
    with pytest.raises(ValueError, match='method vlm needs a text embedding'):
        Trainer(config, STATES, ACTIONS, None)
    with pytest.raises(ValueError, match='scoring goal_image needs the embedding of a goal image'):
        Trainer(config, STATES, ACTIONS, TEXT, ScoringConfig('goal_image'))


class TestRelayEnd:
    def test_the_partner_acts_and_learns_no_more(self):
        one = trainer(relay_positives=50)
        play(one)
        first = play(one, success=(24,))[0]
        assert first.phase == 'relay'
        assert one.relay.positives == 25
        before = parameters(one, SAC)
        last = play(one, success=(24,))[0]
        assert last.phase == 'relay'
        assert not torch.equal(parameters(one, SAC), before)
        assert one.report()['relay'] is False
        before = parameters(one, SAC), parameters(one, VLM)
        after = play(one)[0]
        assert after.phase == VLM
        assert torch.equal(parameters(one, SAC), before[0])
        assert not torch.equal(parameters(one, VLM), before[1])

    def test_successes_of_the_warm_up_count(self):
        one = trainer(warmup_steps=1_000)
        assert play(one, 2, success=(24,))[-1].phase == RANDOM
        assert not one.relay.active


class TestEpisodes:
    def test_both_successes_by_name(self):
        one = trainer()
        results = [play(one, success=marks, learn=False)[0] for marks in ((), (5,), (5, 29), (29,))]
        assert [(r.success_any_step, r.success_last_step) for r in results] == [
            (False, False),
            (True, False),
            (True, True),
            (True, True),
        ]
        assert [r.task_return for r in results] == [-30, -29, -28, -29]
        assert [r.vlm_return for r in results] == [15.0] * 4
        assert [r.total_steps for r in results] == [30, 60, 90, 120]
        assert [r.episode for r in results] == [0, 1, 2, 3]
        assert {r.length for r in results} == {30}

    def test_success_rate_of_the_last_20(self):
        one = trainer()
        assert np.isnan(one.success_rate)
        play(one, 15, length=2, success=(0,), learn=False)
        assert one.success_rate == 1.0
        play(one, 10, length=2, learn=False)
        assert one.success_rate == 0.5

    def test_a_broken_off_episode_leaves_no_trace_but_its_transitions(self):
        one = trainer()
        assert one.start_episode() == 0
        step(one, 0, success=True)
        assert one.start_episode() == 1
        step(one, 0)
        result = one.end_episode(0, 1)
        assert not result.success_any_step
        assert one.relay.positives == 0
        assert len(one.replay) == 2

    def test_robots_are_kept_apart(self):
        one = trainer()
        for source in (0, 1):
            assert one.start_episode(source) == 0
        for index in range(10):
            step(one, index, success=index == 9, source=1)
            step(one, index, source=0)
        assert not one.end_episode(0, 0).success_any_step
        assert one.end_episode(1, 0).success_any_step
        assert one.episodes == 2


class Sensed(NamedTuple):
    """A step of the evaluation robot."""

    state: np.ndarray
    task_reward: float
    success: bool
    terminated: bool
    truncated: bool


class EvaluationRobot:
    """Succeeds in the steps that are listed for the seed; keeps the actions."""

    def __init__(self, successes):
        self.successes = successes
        self.actions = []

    def reset(self, seed):
        self.seed, self.index = seed, 0
        return Sensed(state_of(0), 0.0, True, False, False)

    def step(self, action):
        self.actions.append(action)
        self.index += 1
        success = self.index in self.successes[self.seed]
        ends = self.index == 4
        return Sensed(state_of(self.index), success - 1.0, success, ends and success, ends)


class TestEvaluation:
    def test_rates_by_name(self):
        one = trainer()
        play(one, length=20)
        robot = EvaluationRobot({1: (), 2: (2,), 3: (2, 4), 4: (4,)})
        evaluation = one.evaluate(robot.reset, robot.step, [1, 2, 3, 4])
        assert evaluation._asdict() == {
            'total_steps': 20,
            'episodes': 4,
            'success_any_step': 0.75,
            'success_last_step': 0.5,
            'task_return': -3.0,
        }
        assert one.last_evaluation is evaluation

    def test_the_vlm_agents_mean_action_in_units(self):
        one = trainer()
        play(one, 2)
        robot = EvaluationRobot({1: ()})
        one.evaluate(robot.reset, robot.step, [1])
        for index, action in enumerate(robot.actions):
            expected, _ = one.agents[VLM].sac.predict(state_of(index), deterministic=True)
            np.testing.assert_allclose(action, expected, atol=1e-5)

    def test_it_never_moves_the_training_stream(self, tmp_path):
        """Two runs, one of which evaluates all the time, are the same in everything."""
        results = []
        for evaluates in (False, True):
            one = trainer(seed=4)
            robot = EvaluationRobot({1: (2,)})
            for number in range(2):
                play(one, success=(29,) if number == 0 else ())
                if evaluates:
                    one.evaluate(robot.reset, robot.step, [1])
            results.append(everything(one, tmp_path / str(evaluates)))
        assert_same(*results)


def everything(one, folder):
    """All that a run has learned, as its checkpoint tells it."""
    folder.mkdir(exist_ok=True)
    one.save(folder)
    arrays, meta = load_tree(folder / 'trainer.safetensors')
    found = {f'replay/{name}': value for name, value in arrays['replay'].items()}
    found |= {'torch_rng': arrays['torch_rng'], 'meta': meta}
    for name, agent in one.agents.items():
        found |= {f'{name}/{key}': value.numpy() for key, value in tensors(agent.sac).items()}
    return found


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        if name == 'meta':
            assert value == other[name]
        else:
            assert np.array_equal(value, other[name]), name


def rehearse(one, episodes, start):
    for number in range(start, start + episodes):
        play(one, success=range(20, 29) if number % 3 == 1 else ())


# What runs of little time are made with.
SHORT = {
    'n_step': 3,
    'normalize_states': True,
    'partner_hold': 4,
    'return_bound': True,
    'success_share': 0.5,
    'warmup_hold': 3,
}


class TestCheckpoints:
    @pytest.mark.parametrize(
        ('method', 'episodes', 'scoring', 'changes'),
        [
            ('furl', 0, PLAIN_COSINE, {}),
            ('furl', 2, PLAIN_COSINE, {}),
            ('furl', 5, PLAIN_COSINE, {}),
            ('vlm', 1, PLAIN_COSINE, {}),
            ('vlm', 0, POTENTIAL, {}),
            ('vlm', 5, POTENTIAL, {}),
            ('furl', 5, PROGRESS, {}),
            ('sac', 1, PLAIN_COSINE, {}),
            ('furl', 0, POTENTIAL, SHORT),
            ('furl', 5, POTENTIAL, SHORT),
        ],
    )
    def test_continue_bit_for_bit(self, tmp_path, method, episodes, scoring, changes):
        """From the start, under the relay, and after it, when the replay has wrapped."""
        one = trainer(method, scoring, seed=3, **changes)
        rehearse(one, episodes, 0)
        folder = tmp_path / 'checkpoint'
        saved = everything(one, folder)
        rehearse(one, 1, episodes)
        straight = everything(one, tmp_path / 'straight')

        other = trainer(method, scoring, seed=3, **changes)
        play(other, length=15)  # whatever it was before is gone
        other.load(folder)
        assert_same(everything(other, tmp_path / 'again'), saved)
        rehearse(other, 1, episodes)
        assert_same(everything(other, tmp_path / 'resumed'), straight)
        assert one.success_rate == other.success_rate
        assert one.report() == other.report()

    def test_the_warm_up_goes_on(self, tmp_path):
        one = trainer(warmup_steps=60)
        play(one)
        one.save(tmp_path)
        other = trainer(warmup_steps=60)
        other.load(tmp_path)
        assert [r.phase for r in play(other, 2)] == [RANDOM, 'relay']
        assert other.updates == 30

    def test_forgiven_updates_stay_forgiven(self, tmp_path):
        one = trainer()
        play(one, learn=False)
        one.forgive(2)
        one.save(tmp_path)
        other = trainer()
        other.load(tmp_path)
        assert other.owed == 2

    @pytest.mark.parametrize(
        ('method', 'changes', 'text'),
        [
            ('vlm', {}, r"agents \['sac', 'vlm'\]; accepted: \['vlm'\] for method vlm"),
            ('furl', {'hidden_units': 9}, 'same spaces and hidden_units'),
            ('furl', {'buffer_size': 101}, 'same buffer_size'),
            ('furl', {'scoring': POTENTIAL}, 'previous frames; accepted: .* the same scoring'),
        ],
    )
    def test_other_settings(self, tmp_path, method, changes, text):
        one = trainer()
        play(one, 4, learn=False)
        one.save(tmp_path)
        with pytest.raises(SettingError, match=text) as caught:
            trainer(method, **changes).load(tmp_path)
        assert '\n' not in str(caught.value)

    @pytest.mark.parametrize('name', ['trainer.safetensors', 'vlm_agent.zip', 'sac_agent.zip'])
    def test_a_missing_file(self, tmp_path, name):
        trainer().save(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(SettingError, match=name):
            trainer().load(tmp_path)


def test_deterministic_given_the_seed(tmp_path):
    results = []
    for number, seed in enumerate((1, 1, 2)):
        one = trainer(seed=seed)
        rehearse(one, 1, 1)
        results.append(everything(one, tmp_path / str(number)))
    assert_same(results[0], results[1])
    assert not np.array_equal(results[0]['replay/action'], results[2]['replay/action'])


def test_learning_follows_the_reward():
    """A one-step task whose best action is +0.5 in both dimensions."""
    one = trainer('sac', learning_rate=1e-2, warmup_steps=90, batch_size=64, hidden_units=32)
    for number in range(390):
        one.start_episode()
        action, _ = one.act(state_of(0), 0)
        reward = -4 * float(np.abs(one.scale(action) - 0.5).sum())
        one.add(
            Transition(
                state_of(0), one.scale(action), state_of(1), reward, False, True,
                np.zeros(0), number, 0, number, 1,
            )
        )  # fmt: skip
        while one.owed > 0:
            one.update()
        one.end_episode(0, number)
    np.testing.assert_allclose(one.agents[VLM].act(state_of(0), True), [0.5, 0.5], atol=0.25)


def test_who_acts_is_told_in_the_words_of_the_episodes():
    for method in METHODS:
        one = trainer(method)
        assert one.now()['agent'] == ''
        assert np.isnan(one.now()['vlm_actor_loss'])
        number = one.start_episode()
        step(one, 0)
        assert one.now()['agent'] == RANDOM
        for index in range(1, CONFIG.warmup_steps + 3):
            step(one, index)
        told = one.now()
        phase = {'sac': 'sac', 'vlm': 'vlm', 'vlm-proj': 'vlm'}.get(method, 'relay')
        assert told['agent'] == one.end_episode(0, number).phase == phase
        assert told['replay_size'] == CONFIG.warmup_steps + 3
        assert told['rho'] == CONFIG.rho


class TestPoliciesThatSee:
    """Nets are given proprioception and the embedding of the newest frame."""

    def one(self, observe='embedding', **changes):
        config = dataclasses.replace(CONFIG, observe=observe, **changes)
        made = Trainer(config, STATES, ACTIONS, TEXT, PROGRESS, GOAL, BASELINE, (0, 2))
        made.set_heads(RewardHeads((WIDTH, 8, 4), seed=1), 1)
        return made

    @pytest.mark.parametrize(('observe', 'width'), [('embedding', 2 + WIDTH), ('both', 3 + WIDTH)])
    def test_the_batch_is_what_was_acted_on(self, observe, width):
        one = self.one(observe, warmup_steps=LENGTH)
        play(one)
        batch, _ = asked_for(one)
        assert batch.states.shape == batch.next_states.shape == (CONFIG.batch_size, width)
        known = {
            round(float(state_of(t)[0]), 4): one.input.one(state_of(t), frame(one, t))
            for t in range(LENGTH + 1)
        }
        for inputs in (*batch.states.numpy(), *batch.next_states.numpy()):
            assert inputs == pytest.approx(known[round(float(inputs[0]), 4)], abs=2e-3)

    def test_they_act_by_what_they_see(self):
        one = self.one(warmup_steps=1)
        one.start_episode()
        one.act(state_of(0), 0, embedding=frame(one, 0))
        acts = [one._best_action(state_of(1), frame(one, index)) for index in (1, 2)]
        assert not np.allclose(*acts)
        # Of the state they know no more than what the robot senses of itself.
        other = state_of(1) + np.array([0, 5, 0], np.float32)
        assert np.array_equal(acts[0], one._best_action(other, frame(one, 1)))

    def test_they_are_evaluated_by_what_they_see(self):
        one = self.one()
        robot, looks = EvaluationRobot({1: [4]}), []

        def look(now):
            looks.append(now)
            return np.ones(WIDTH, np.float32)

        one.evaluate(robot.reset, robot.step, [1], look=look)
        assert len(looks) == len(robot.actions) == 4

    def test_the_scale_of_states_and_that_of_embeddings_are_apart(self):
        one = self.one('both', normalize_states=True)
        play(one)
        mean, scale = one.normalizer
        assert mean.shape == scale.shape == (3 + WIDTH,)
        states = one.replay.arrays['state'][:11].astype(np.float64)
        assert scale[2] == pytest.approx(0.1 * states.std(0).max(), rel=1e-3)

    def test_checkpoints(self, tmp_path):
        one = self.one(normalize_states=True)
        play(one)
        for name in ('first', 'whole', 'resumed'):
            (tmp_path / name).mkdir()
        one.save(tmp_path / 'first')
        play(one)
        whole = everything(one, tmp_path / 'whole')
        other = self.one(normalize_states=True)
        other.load(tmp_path / 'first')
        play(other)
        assert_same(whole, everything(other, tmp_path / 'resumed'))
        zipped = tmp_path / 'first' / 'vlm_agent.zip'
        loaded = stable_baselines3.SAC.load(zipped, device='cpu')
        assert loaded.observation_space.shape == (2 + WIDTH,)
