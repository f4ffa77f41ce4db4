# SPDX-License-Identifier: Apache-2.0
"""The update of all agents at once against SB3's own, and the agents that share its tensors."""

import gymnasium
import numpy as np
import pytest
import torch
from core_support import assert_same, tensors, train_by_sb3
from stable_baselines3 import SAC

from furl_ros.core.agents import Agent
from furl_ros.core.config import TrainConfig
from furl_ros.core.relay_update import NotFiniteError, RelayUpdate
from furl_ros.core.replay import Batch

STATES = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
ACTIONS = gymnasium.spaces.Box(-1, 1, (4,), np.float32)
CONFIG = TrainConfig(hidden_units=16, batch_size=32)
NAMES = ('vlm', 'sac')


class Nothing(gymnasium.Env):
    """An environment for the spaces alone."""

    observation_space, action_space = STATES, ACTIONS


class PlainAgents:
    """The same agents in plain Stable-Baselines3, updated one after the other."""

    def __init__(self, names=NAMES, config=CONFIG):
        self.agents = {}
        for seed, name in enumerate(names):
            self.agents[name] = SAC(
                'MlpPolicy',
                Nothing(),
                learning_rate=1e-4,
                buffer_size=1,
                gamma=0.99,
                tau=0.01,
                target_entropy=-2.0,
                policy_kwargs={'net_arch': [config.hidden_units] * 2},
                device='cpu',
                seed=seed,
            )

    def __call__(self, batch, rewards):
        for name, sac in self.agents.items():
            train_by_sb3(sac, batch, rewards[name])


def made(names=NAMES, config=CONFIG):
    """Our agents, with the seeds of ``PlainAgents``."""
    return {name: Agent(config, STATES, ACTIONS, seed) for seed, name in enumerate(names)}


def update_of(agents):
    return RelayUpdate({name: agent.sac for name, agent in agents.items()})


def batches(count, size=32, seed=0):
    """Batches and each agent's rewards."""
    draw = torch.Generator().manual_seed(seed)
    for _ in range(count):
        batch = Batch(
            torch.randn(size, 3, generator=draw),
            torch.rand(size, 4, generator=draw) * 2 - 1,
            torch.randn(size, 3, generator=draw),
            (torch.rand(size, 1, generator=draw) < 0.1).float(),
            -torch.rand(size, 1, generator=draw).round(),
            torch.zeros(size, 0),
        )
        yield batch, {'vlm': batch.task_rewards + torch.rand(size, 1, generator=draw) / 20,
                      'sac': batch.task_rewards}  # fmt: skip


def test_targets_do_not_fall_below_the_bounds():
    """Bounds far above all values are the targets; minus infinity changes nothing."""

    def updated(bound):
        agents = made()
        update = update_of(agents)
        torch.manual_seed(0)
        for batch, rewards in batches(5):
            bounds = None if bound is None else {n: torch.full((32, 1), bound) for n in NAMES}
            update(batch, rewards, bounds=bounds)
        return agents, update.figures()

    (free, figures), (unbound, same), (_, bound) = map(updated, (None, -torch.inf, 5.0))
    assert figures == same
    for name in NAMES:
        assert_same(tensors(free[name].sac), tensors(unbound[name].sac))
        # Two critics with values near 0 are asked for 5: half of 2 x 25.
        assert bound[f'{name}/critic_loss'] == pytest.approx(25, rel=0.3)
        assert figures[f'{name}/critic_loss'] < 8


@pytest.mark.parametrize('names', [NAMES, ('vlm',)])
def test_updates_are_those_of_plain_sb3(names):
    """Parameters, targets, temperatures and optimizer states, under the same random numbers."""
    plain, ours = PlainAgents(names), made(names)
    update = update_of(ours)
    for name in names:
        assert_same(
            dict(plain.agents[name].policy.state_dict()),
            dict(ours[name].sac.policy.state_dict()),
            rtol=0,
            atol=0,
        )
    for number, (batch, rewards) in enumerate(batches(20)):
        torch.manual_seed(number)
        plain(batch, rewards)
        torch.manual_seed(number)
        update(batch, rewards)
        for name in names:
            assert_same(tensors(plain.agents[name]), tensors(ours[name].sac), rtol=1e-4, atol=2e-6)
    for name in names:
        sac = plain.agents[name]
        assert sac._n_updates == ours[name].sac._n_updates == 20
        figures = sac.logger.name_to_value
        for figure in ('actor_loss', 'critic_loss', 'ent_coef', 'ent_coef_loss'):
            assert update.figures()[f'{name}/{figure}'] == pytest.approx(
                figures[f'train/{figure}'], rel=1e-4, abs=1e-6
            )


def test_wide_nets_stay_near_plain_sb3():
    """They may be computed by other kernels than torch's."""
    config = TrainConfig(hidden_units=128, batch_size=32)
    plain, ours = PlainAgents(config=config), made(config=config)
    update = update_of(ours)
    for number, (batch, rewards) in enumerate(batches(10)):
        for each in (plain, update):
            torch.manual_seed(number)
            each(batch, rewards)
    figures = update.figures()
    for name in NAMES:
        values = plain.agents[name].logger.name_to_value
        for figure in ('actor_loss', 'critic_loss', 'ent_coef', 'ent_coef_loss'):
            near = pytest.approx(values[f'train/{figure}'], rel=1e-4, abs=1e-5)
            assert figures[f'{name}/{figure}'] == near
        ours_now, plain_now = ours[name].sac.policy, plain.agents[name].policy
        for one, other in zip(ours_now.parameters(), plain_now.parameters(), strict=True):
            assert (one - other).abs().mean() < 1e-7


def spoilt(batch, rewards, where, value):
    """The batch and rewards with one value replaced in a part of them, or in an agent's rewards."""
    agent = where.removeprefix('rewards of ')
    part = (rewards[agent] if agent in rewards else getattr(batch, where)).clone()
    part[3, 0] = value
    if agent in rewards:
        return batch, rewards | {agent: part}
    return batch._replace(**{where: part}), rewards


@pytest.mark.parametrize(
    ('where', 'value', 'before'),
    [
        ('rewards of vlm', torch.nan, 0),
        ('rewards of vlm', torch.inf, 3),
        ('rewards of sac', -torch.inf, 3),
        ('states', torch.nan, 3),
        ('actions', torch.inf, 3),
        ('next_states', torch.nan, 3),
    ],
)
def test_an_update_that_is_not_finite_changes_no_agent(where, value, before):
    """Bit for bit; the agents go on from there as if it had never been asked for."""
    agents, others = made(), made()
    update, undisturbed = update_of(agents), update_of(others)
    *first, (batch, rewards), last = batches(before + 2)
    for number, good in enumerate(first):
        for one in (update, undisturbed):
            torch.manual_seed(number)
            one(*good)
    known, figures = {n: tensors(agents[n].sac) for n in NAMES}, update.figures()
    with pytest.raises(NotFiniteError, match='of vlm, sac are not finite'):
        update(*spoilt(batch, rewards, where, value))
    for name in NAMES:
        assert_same(known[name], tensors(agents[name].sac), rtol=0, atol=0)
        assert agents[name].sac._n_updates == before
    assert update.figures() == figures
    for one in (update, undisturbed):
        torch.manual_seed(99)
        one(*last)
    for name in NAMES:
        assert_same(tensors(others[name].sac), tensors(agents[name].sac), rtol=0, atol=0)


@pytest.mark.parametrize('name', NAMES)
def test_an_agent_alone_is_left_as_it_was(name):
    agents = made((name,))
    update = update_of(agents)
    ((batch, rewards),) = batches(1)
    known = tensors(agents[name].sac)
    with pytest.raises(NotFiniteError, match=f'of {name} are not finite'):
        update(*spoilt(batch, rewards, f'rewards of {name}', torch.nan))
    assert_same(known, tensors(agents[name].sac), rtol=0, atol=0)


def test_no_figures_before_the_first_update():
    assert update_of(made()).figures() == {}


def test_the_agents_act_as_they_were_just_taught():
    agents = made()
    update, state = update_of(agents), np.ones(3, np.float32)
    before = {name: agent.act(state, deterministic=True) for name, agent in agents.items()}
    for batch, rewards in batches(3):
        update(batch, rewards)
    for name, agent in agents.items():
        after = agent.act(state, deterministic=True)
        assert not np.array_equal(after, before[name])
        predicted, _ = agent.sac.predict(state, deterministic=True)
        np.testing.assert_allclose(after, predicted, atol=1e-6)


def test_the_agents_can_act_in_the_pauses_of_an_update():
    state, acted = np.ones(3, np.float32), []
    agents, others = made(), made()
    update, without = update_of(agents), update_of(others)

    def pause():
        acted.append([agent.act(state, deterministic=True) for agent in agents.values()])

    for number, (batch, rewards) in enumerate(batches(3)):
        for each, more in ((update, (pause,)), (without, ())):
            torch.manual_seed(number)
            each(batch, rewards, *more)
    pauses = len(acted) // 3
    assert pauses > 1
    # Within an update the policies stay what they were.
    for number in range(3):
        mine = acted[number * pauses : (number + 1) * pauses]
        np.testing.assert_array_equal(mine, [mine[0]] * pauses)
    assert not np.array_equal(acted[0], acted[-1])
    for name in NAMES:
        assert_same(tensors(agents[name].sac), tensors(others[name].sac), rtol=0, atol=0)


def test_an_agent_that_goes_on_alone_keeps_its_state_and_leaves_the_other():
    """The end of the relay: the same as if it had been alone from the start."""
    agents, alone = made(), made(('vlm',))
    both, single = update_of(agents), update_of(alone)
    for number, (batch, rewards) in enumerate(batches(6)):
        for each in (both, single):
            torch.manual_seed(number)
            each(batch, rewards)
        if number == 2:
            both = RelayUpdate({'vlm': agents['vlm'].sac})
            left = tensors(agents['sac'].sac)
    assert_same(tensors(agents['sac'].sac), left, rtol=0, atol=0)
    assert_same(tensors(agents['vlm'].sac), tensors(alone['vlm'].sac), rtol=1e-5, atol=1e-7)


def test_after_loading_an_agent_it_is_made_anew(tmp_path):
    agents = made()
    update = update_of(agents)
    stream = list(batches(6))
    for batch, rewards in stream[:3]:
        update(batch, rewards)
    loaded = {name: Agent(CONFIG, STATES, ACTIONS, 7) for name in NAMES}
    for name, agent in agents.items():
        agent.save(tmp_path / f'{name}.zip', 0)
        loaded[name].load(tmp_path / f'{name}.zip')
    again = update_of(loaded)
    for batch, rewards in stream[3:]:
        for each in (update, again):
            torch.manual_seed(1)
            each(batch, rewards)
    for name in NAMES:
        assert_same(tensors(agents[name].sac), tensors(loaded[name].sac), rtol=0, atol=0)
