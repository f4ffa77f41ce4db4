# SPDX-License-Identifier: Apache-2.0
"""Losses, labels, relay and updates against the papers' formulas in plain NumPy (formulas.py).

In double precision, so that nothing but the formulas can differ. More updates against SB3, in
float32, are in test_relay_update.py.
"""

import itertools

import formulas
import gymnasium
import numpy as np
import pytest
import torch
from core_support import train_by_sb3
from stable_baselines3.common import policies

from furl_ros.core.agents import Agent
from furl_ros.core.alignment import Aligner, count_positives
from furl_ros.core.config import AlignConfig, TrainConfig
from furl_ros.core.heads import (
    RewardHeads,
    hinge,
    negative_negative_loss,
    positive_negative_loss,
    positive_positive_loss,
)
from furl_ros.core.kinds import PAPER
from furl_ros.core.relay import SAC, VLM, Relay
from furl_ros.core.relay_update import RelayUpdate
from furl_ros.core.replay import Batch, Transition
from furl_ros.core.trainer import RANDOM, Trainer

EXACT = {'rtol': 1e-9, 'atol': 1e-12}  # rounding of double precision, some updates long
MARGIN, GAP, LAG, RHO = 0.1, 0.25, 10, 0.05
RATE, GAMMA, TAU = 1e-4, 0.99, 0.01
STATES = gymnasium.spaces.Box(-np.inf, np.inf, (5,), np.float32)
ACTIONS = gymnasium.spaces.Box(-1, 1, (4,), np.float32)
WIDTH = 12  # of the embeddings
HEADS = (WIDTH, 16, 6)
UPDATES = 6


@pytest.fixture
def double(monkeypatch):
    """All computes in double precision, with torch's own products."""
    monkeypatch.setattr(torch.cpu, 'get_capabilities', dict)
    # What turns its inputs into float32: ours, and SB3.
    monkeypatch.setattr(torch.Tensor, 'float', torch.Tensor.double)
    monkeypatch.setattr(policies, 'preprocess_obs', lambda states, *_, **__: states)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def draw():
    return np.random.default_rng(0)


def leaf(values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def recording(call, results):
    """The same function, which appends to ``results`` what it returns."""

    def record(*arguments, **named):
        results.append(call(*arguments, **named))
        return results[-1]

    return record


def assert_equal_trees(one, other):
    """Lists of lists (or dicts) of arrays have the same shapes and values."""
    if isinstance(other, dict):
        assert one.keys() == other.keys()
        one, other = [one[name] for name in other], list(other.values())
    if isinstance(other, list | tuple):
        assert len(one) == len(other)
        for each in zip(one, other, strict=True):
            assert_equal_trees(*each)
    else:
        assert np.shape(one) == np.shape(other)
        np.testing.assert_allclose(one, other, **EXACT)


class TestLosses:
    def test_hinge(self, draw):
        better, worse = draw.uniform(-1, 1, (2, 200))
        expected = [formulas.hinge(*pair, MARGIN) for pair in zip(better, worse, strict=True)]
        result = hinge(torch.tensor(better), torch.tensor(worse), MARGIN)
        assert 20 < np.count_nonzero(expected) < 180
        assert_equal_trees(result.numpy(), np.array(expected))

    @pytest.mark.parametrize('loss', [positive_negative_loss, positive_positive_loss])
    @pytest.mark.parametrize('margin', [0.0, MARGIN, 0.25])
    def test_pairs(self, draw, loss, margin):
        better, worse = leaf(draw.uniform(-1, 1, 256)), leaf(draw.uniform(-1, 1, 256))
        result = loss(better, worse, margin)
        result.backward()
        expected = formulas.ordered_pairs(better.tolist(), worse.tolist(), margin)
        assert_equal_trees([result.item(), better.grad.numpy(), worse.grad.numpy()], expected)

    @pytest.mark.parametrize(('gap', 'margin'), [(GAP, MARGIN), (0.0, 0.25), (0.9, 0.0)])
    def test_distances_to_the_goal(self, draw, gap, margin):
        rewards, distances = leaf(draw.uniform(-1, 1, 60)), draw.uniform(0, 1, 60)
        result = negative_negative_loss(rewards, torch.tensor(distances), gap, margin)
        result.backward()
        expected = formulas.ordered_by_goal(rewards.tolist(), distances, gap, margin)
        assert_equal_trees([result.item(), rewards.grad.numpy()], expected)


def nets_of(heads):
    """Both heads in the form of the formulas, from their flat parameters."""
    nets = []
    for flat in heads.flat():
        net = []
        for wide, narrow in itertools.pairwise(heads.layer_sizes):
            weights, biases, flat = np.split(flat, [wide * narrow, (wide + 1) * narrow])
            net.append([weights.reshape(narrow, wide).copy(), biases.copy()])
        nets.append(net)
    return nets


@pytest.mark.usefixtures('double')
class TestHeads:
    """The training of the paper's heads: rewards, losses, gradients and Adam."""

    CONFIG = AlignConfig(
        heads=PAPER,
        head_hidden_units=HEADS[1],
        output_units=HEADS[2],
        head_learning_rate=RATE,
        head_batch_size=40,
        margin=MARGIN,
        lag=LAG,
        goal_gap=GAP,
    )

    def aligner(self, draw):
        """An aligner, and the frames that it draws from its rings, update by update."""
        prompt, goal = draw.normal(size=(2, WIDTH))
        one = Aligner(self.CONFIG, 'furl', prompt, goal, seed=3, warmup_steps=0)
        one.text, one.goal = torch.tensor(prompt), torch.tensor(goal)
        positive, negative, lagged = [], [], []
        one.positives.draw = recording(one.positives.draw, positive)
        one.negatives.draw = recording(one.negatives.draw, negative)
        one.positives.draw_lagged = recording(one.positives.draw_lagged, lagged)
        return one, positive, negative, lagged

    def feed(self, one, draw, success):
        frames = draw.normal(size=(len(success), WIDTH)).astype(np.float16)
        for index, frame in enumerate(frames):
            one.add(frame, success[index], last=index == len(frames) - 1)
        return frames

    def test_the_cosine_through_the_heads(self, draw):
        heads = RewardHeads(HEADS, seed=1)
        frames, prompt = draw.normal(size=(30, WIDTH)), draw.normal(size=WIDTH)
        expected, _ = formulas.cosines(*nets_of(heads), frames, prompt)
        with torch.no_grad():
            result = heads(torch.tensor(frames), torch.tensor(prompt))
        assert_equal_trees(result.numpy(), expected)

    def test_stage_2(self, draw):
        one, positive, negative, lagged = self.aligner(draw)
        image, text = nets_of(one.heads)
        adam = formulas.Adam(formulas.arrays(image, text), RATE)
        solved = []
        for success in (False, True, True, False):
            frames = self.feed(one, draw, [success and index > 30 for index in range(40)])
            if success:
                solved.append([frame.tobytes() for frame in frames])
        for _ in range(UPDATES):
            losses = one.update()
            for later, earlier in zip(*lagged[-1], strict=True):
                (episode,) = (frames for frames in solved if later.tobytes() in frames)
                assert episode.index(later.tobytes()) - episode.index(earlier.tobytes()) == LAG
            expected, gradients = {}, []
            for name, pairs in (
                ('pos_neg', (positive[-1], negative[-1])),
                ('pos_pos', lagged[-1]),
            ):
                frames = np.concatenate(pairs).astype(np.float64)
                r, gradients_of = formulas.cosines(image, text, frames, one.text.numpy())
                expected[name], *by_r = formulas.ordered_pairs(*np.split(r, 2), MARGIN)
                gradients.append(formulas.arrays(*gradients_of(np.concatenate(by_r))))
            assert_equal_trees(losses, expected)
            adam.step([one + other for one, other in zip(*gradients, strict=True)])
            assert_equal_trees(nets_of(one.heads), [image, text])

    def test_stage_1(self, draw):
        one, _, negative, _ = self.aligner(draw)
        image, text = nets_of(one.heads)
        adam = formulas.Adam(formulas.arrays(image, text), RATE)
        self.feed(one, draw, [False] * 50)
        for _ in range(UPDATES):
            losses = one.update()
            frames = negative[-1].astype(np.float64)
            distances = np.sqrt(((frames - one.goal.numpy()) ** 2).sum(1))
            r, gradients_of = formulas.cosines(image, text, frames, one.text.numpy())
            loss, by_r = formulas.ordered_by_goal(r, distances, GAP, MARGIN)
            assert_equal_trees(losses, {'neg_neg': loss})
            adam.step(formulas.arrays(*gradients_of(by_r)))
            assert_equal_trees(nets_of(one.heads), [image, text])


class TestLabels:
    def random_episodes(self, draw):
        """Successes that come early, late or never, and break off or not."""
        for chance in (0.0, 0.02, 0.3, 0.9, 1.0) * 12:
            yield (draw.random(draw.integers(1, 60)) < chance).tolist()

    def test_counts(self, draw):
        for success in self.random_episodes(draw):
            assert count_positives(success) == formulas.labels(success).count('positive')

    def test_rings(self, draw):
        one = Aligner(AlignConfig(), 'furl', np.ones(2), None, 0, 10**6)
        expected, number = {'positive': [], 'negative': []}, 0
        for success in self.random_episodes(draw):
            for index, label in enumerate(formulas.labels(success)):
                number += 1
                frame = divmod(number, 1000)  # exact in float16
                one.add(np.array(frame), success[index], last=index == len(success) - 1)
                if label:
                    expected[label].append([*frame, index])
        for ring, label in ((one.positives, 'positive'), (one.negatives, 'negative')):
            used = len(ring)
            assert used == len(expected[label]) > 100
            held = np.column_stack([ring.embeddings[:used], ring.indices[:used]])
            assert held.tolist() == expected[label]


class TestRelay:
    LENGTH = 500

    def test_periods_are_drawn_per_episode_and_uniformly(self):
        relay, drawn = Relay(True, 2_500, 0), []
        for episode in range(1_000):
            relay.start_episode()
            agents = [relay.agent(step) for step in range(self.LENGTH)]
            (period,) = (
                period
                for period in formulas.PERIODS
                if agents == formulas.turns(period, (VLM, SAC)[episode % 2], self.LENGTH)
            )
            drawn.append(period)
        counts = np.array([drawn.count(period) for period in formulas.PERIODS])
        # 99.9 % of the chi-squared distribution with 3 degrees of freedom.
        assert ((counts - 250) ** 2 / 250).sum() < 16.27
        # One says nothing of the next: 4 x 4 pairs, 15 degrees of freedom.
        pairs = [drawn[i : i + 2] for i in range(0, 1_000, 2)]
        counts = np.array(
            [pairs.count([*p]) for p in itertools.product(formulas.PERIODS, repeat=2)]
        )
        assert ((counts - 500 / 16) ** 2 / (500 / 16)).sum() < 37.70

    def test_the_trainer_ends_it_for_good_at_2500_positive_frames(self):
        config = TrainConfig(
            warmup_steps=1, relay_positives=2_500, hidden_units=4, buffer_size=10_000
        )
        one = Trainer(config, STATES, ACTIONS, np.ones(2))
        state, action, positives, ended = np.zeros(5, np.float32), np.zeros(4), 0, []
        for episode in range(10):
            # Solved at once, late, never, and with an end to it.
            first, last = [(0, 500), (450, 460), (500, 500), (100, 300)][episode % 4]
            success = [first <= step < last for step in range(self.LENGTH)]
            starter = (VLM, SAC)[episode % 2]
            expected = [formulas.turns(n, starter, self.LENGTH) for n in formulas.PERIODS]
            ended.append(positives >= 2_500)
            if ended[-1]:
                expected = [[VLM] * self.LENGTH]
            if episode == 0:  # the warm-up
                expected = [[RANDOM, *agents[1:]] for agents in expected]
            one.start_episode()
            agents = []
            for step in range(self.LENGTH):
                agents.append(one.act(state, step)[1])
                result = (success[step] - 1.0, success[step], False, np.zeros(2))
                place = (one.steps, 0, episode, step + 1)
                one.add(Transition(state, action, state, *result, *place))
            assert agents in expected
            one.end_episode(0, episode)
            positives += formulas.labels(success).count('positive')
            assert one.relay.positives == positives
        assert ended == [False] * 8 + [True] * 2


def sac_of(agent):
    """An SB3 agent in the form of the formulas, as it is now."""

    def net(*layers):
        return [
            [
                np.concatenate([getattr(one, name).detach().numpy() for one in layer])
                for name in ('weight', 'bias')
            ]
            for layer in layers
        ]

    def hidden(sequential):
        return [[one] for one in sequential if isinstance(one, torch.nn.Linear)]

    return formulas.Sac(
        net(*hidden(agent.actor.latent_pi), [agent.actor.mu, agent.actor.log_std]),
        [net(*hidden(each)) for each in agent.critic.q_networks],
        [net(*hidden(each)) for each in agent.critic_target.q_networks],
        agent.log_ent_coef.detach().numpy().copy(),
        rate=RATE,
        gamma=GAMMA,
        tau=TAU,
        target_entropy=-2.0,
    )


def assert_same_agents(one, other):
    for name in ('actor', 'critics', 'targets', 'log_alpha'):
        assert_equal_trees(getattr(one, name), getattr(other, name))


def updated(one, batch, rewards):
    """Do an update in the formulas, with SB3's random numbers: the states' first."""
    noise, next_noise = (torch.randn(batch.actions.shape).numpy() for _ in range(2))
    return one.update(
        batch.states.numpy(),
        batch.actions.numpy(),
        rewards[:, 0],
        batch.next_states.numpy(),
        batch.terminated.numpy()[:, 0],
        noise,
        next_noise,
    )


FIGURES = ('actor_loss', 'critic_loss', 'ent_coef', 'ent_coef_loss')


@pytest.mark.usefixtures('double')
class TestUpdates:
    CONFIG = TrainConfig(
        hidden_units=16,
        batch_size=32,
        buffer_size=1_000,
        learning_rate=RATE,
        gamma=GAMMA,
        tau=TAU,
        rho=RHO,
    )

    def prepare(self, sac):
        """In double precision all over, and with deviations that are clipped now and then."""
        sac.log_ent_coef.data = sac.log_ent_coef.data.double()  # SB3 makes it in float32
        with torch.no_grad():
            sac.actor.log_std.weight *= 20
        return sac

    def batches(self, draw, size=32):
        """Batches, and the rewards [B, 1] of each agent."""
        for _ in range(UPDATES):
            task = -(draw.random((size, 1)) < 0.9).astype(float)
            values = (
                draw.normal(size=(size, 5)),
                draw.uniform(-1, 1, (size, 4)),
                draw.normal(size=(size, 5)),
                (draw.random((size, 1)) < 0.2).astype(float),
                task,
                np.zeros((size, 0)),
            )
            rewards = {VLM: task + RHO * draw.uniform(-1, 1, (size, 1)), SAC: task}
            yield (
                Batch(*map(torch.tensor, values)),
                {name: torch.tensor(each) for name, each in rewards.items()},
            )

    @pytest.mark.parametrize('by', ['ours', 'sb3'])
    def test_agents(self, draw, by):
        """Ours and SB3's own give what the formulas give: so they give the same."""
        agents = {
            name: self.prepare(Agent(self.CONFIG, STATES, ACTIONS, seed).sac)
            for seed, name in enumerate((VLM, SAC))
        }
        expected = {name: sac_of(sac) for name, sac in agents.items()}
        update = RelayUpdate(agents) if by == 'ours' else None
        clipped = 0
        for number, (batch, rewards) in enumerate(self.batches(draw)):
            torch.manual_seed(number)
            if by == 'ours':
                update(batch, rewards)
                figures = update.figures()
            else:
                figures = {}
                for name, sac in agents.items():
                    logged = train_by_sb3(sac, batch, rewards[name])
                    figures |= {f'{name}/{figure}': logged[f'train/{figure}'] for figure in FIGURES}
            torch.manual_seed(number)
            for name, one in expected.items():
                clipped += (one.policy(batch.states.numpy(), 0)[2][1] > 2).sum()
                losses = updated(one, batch, rewards[name].numpy())
                assert_equal_trees({key: figures[f'{name}/{key}'] for key in FIGURES}, losses)
                assert_same_agents(sac_of(agents[name]), one)
        assert 0 < clipped < 2 * UPDATES * 32 * 4

    def test_the_trainer(self, draw):
        """r_task + rho cos(f_I, f_L) for the VLM agent, r_task for its partner, until it ends."""
        prompt = draw.normal(size=WIDTH)
        one = Trainer(self.CONFIG, STATES, ACTIONS, prompt)
        one.text = torch.tensor(prompt)
        heads = RewardHeads(HEADS, seed=1)
        one.set_heads(heads, 1)
        expected = {name: sac_of(self.prepare(agent.sac)) for name, agent in one.agents.items()}
        number = one.start_episode()
        for index in range(100):
            one.add(
                Transition(
                    state=draw.normal(size=5),
                    action=draw.uniform(-1, 1, 4),
                    next_state=draw.normal(size=5),
                    task_reward=-float(index % 7 > 0),
                    success=index % 7 == 0,
                    terminated=index % 5 == 0,
                    embedding=draw.normal(size=WIDTH),
                    stamp=index,
                    source=0,
                    episode=number,
                    step=index + 1,
                )
            )
        drawn = []
        one.replay.sample = recording(one.replay.sample, drawn)
        for number in range(2 * UPDATES):
            if number == UPDATES:
                one.relay.add_positives(2_500)
                partner = expected.pop(SAC)
            torch.manual_seed(number)
            one.update()
            torch.manual_seed(number)
            batch = drawn[-1]
            task = batch.task_rewards.numpy()
            r_vlm, _ = formulas.cosines(*nets_of(heads), batch.embeddings.numpy(), prompt)
            rewards = {VLM: task + RHO * r_vlm[:, None], SAC: task}
            for name, agent in expected.items():
                losses = updated(agent, batch, rewards[name])
                assert_equal_trees({key: one.figures()[f'{name}/{key}'] for key in FIGURES}, losses)
                assert_same_agents(sac_of(one.agents[name].sac), agent)
        assert_same_agents(sac_of(one.agents[SAC].sac), partner)
