# SPDX-License-Identifier: Apache-2.0
"""One gradient step of several SAC agents on one batch, in one batched computation.

The agents are Stable-Baselines3's, and the arithmetic is that of its ``SAC.train`` (same random
numbers in the same order, same results up to float rounding); the layers of all agents and critics
are stacked, so that each becomes one batched matrix product, the critics take no gradient in the
actor's loss, and Adam is fused. The stacked tensors are the agents' own parameters and optimizer
states (views), so acting, saving and loading stay SB3's.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from stable_baselines3 import SAC
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN
from torch import Tensor, nn

from furl_ros.core.replay import Batch

_TANH_EPSILON = 1e-6  # SB3's SquashedDiagGaussianDistribution
_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


class _Stack:
    """Linear layers of N equal nets: weights [N, out, in] and biases [N, 1, out] by layer.

    Args:
        nets: for each net its layers; a layer is one or more Linear modules with the same input,
            whose outputs are put side by side.
    """

    def __init__(self, nets: Sequence[Sequence[Sequence[nn.Linear]]]) -> None:
        self.nets = nets
        self.layers: list[tuple[Tensor, Tensor]] = []
        for layer in range(len(nets[0])):
            weights = torch.stack([torch.cat([m.weight.data for m in net[layer]]) for net in nets])
            biases = torch.stack([torch.cat([m.bias.data for m in net[layer]]) for net in nets])
            self.layers.append((weights, biases[:, None]))
        for parameter, view in self.views(self.parameters()):
            parameter.data = view

    def parameters(self) -> list[Tensor]:
        """The stacked tensors: weights and biases, layer by layer."""
        return list(itertools.chain.from_iterable(self.layers))

    def views(self, stacked: Sequence[Tensor]) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """Each module's parameter with its part of tensors that are stacked like ``parameters``."""
        for index, net in enumerate(self.nets):
            for layer, modules in enumerate(net):
                row = 0
                for module in modules:
                    rows = slice(row, row + module.out_features)
                    row = rows.stop
                    yield module.weight, stacked[2 * layer][index, rows]
                    yield module.bias, stacked[2 * layer + 1][index, 0, rows]

    def __call__(self, inputs: Tensor, frozen: bool = False) -> Tensor:
        """Outputs [N, B, out] for inputs [N, B, in]; ``frozen``: no gradient for the parameters."""
        for index, (weights, biases) in enumerate(self.layers):
            if frozen:
                weights, biases = weights.detach(), biases.detach()
            if index:
                inputs = F.relu(inputs)
            inputs = torch.baddbmm(biases, inputs, weights.transpose(1, 2))
        return inputs


def _shared_adam(stack: _Stack, optimizers: Sequence[torch.optim.Adam]) -> torch.optim.Adam:
    """A fused Adam on a stack that goes on from, and shares its state with, the agents' own."""
    group = optimizers[0].param_groups[0]
    stacked = [tensor.requires_grad_() for tensor in stack.parameters()]
    adam = torch.optim.Adam(
        stacked, lr=group['lr'], betas=group['betas'], eps=group['eps'], fused=True
    )
    states = {p: o.state[p] for o in optimizers for g in o.param_groups for p in g['params']}
    known = next(iter(states.values())).get('step', torch.zeros(()))
    steps = [known.detach().clone() for _ in stacked]
    moments = {
        name: [torch.zeros_like(tensor) for tensor in stacked] for name in ('exp_avg', 'exp_avg_sq')
    }
    for name, buffers in moments.items():
        for parameter, view in stack.views(buffers):
            if name in states[parameter]:
                view.copy_(states[parameter][name])
            states[parameter][name] = view
    for net in stack.nets:
        for layer, modules in enumerate(net):
            for module in modules:
                states[module.weight]['step'] = steps[2 * layer]
                states[module.bias]['step'] = steps[2 * layer + 1]
    for index, tensor in enumerate(stacked):
        adam.state[tensor] = {'step': steps[index]} | {n: b[index] for n, b in moments.items()}
    return adam


def _linears(net: nn.Sequential) -> list[list[nn.Linear]]:
    return [[module] for module in net if isinstance(module, nn.Linear)]


class RelayUpdate:
    """``SAC.train(gradient_steps=1)`` of all agents at once.

    Build it anew after an agent's parameters were loaded or when the set of agents changes: it
    takes over their parameters and optimizer states as they are then.

    Args:
        agents: SB3 SAC agents with equal spaces, nets and hyper-parameters (MlpPolicy, ReLU,
            ent_coef 'auto', no SDE).
    """

    def __init__(self, agents: Sequence[SAC]) -> None:
        self.agents = agents
        first = agents[0]
        self.gamma, self.tau = first.gamma, first.tau
        self.target_entropy = float(first.target_entropy)
        self.actor = _Stack(
            [
                [*_linears(agent.actor.latent_pi), [agent.actor.mu, agent.actor.log_std]]
                for agent in agents
            ]
        )
        self.critic, self.target = (
            _Stack([_linears(net) for critic in critics for net in critic.q_networks])
            for critics in (
                [agent.critic for agent in agents],
                [agent.critic_target for agent in agents],
            )
        )
        self.actor_adam = _shared_adam(self.actor, [agent.actor.optimizer for agent in agents])
        self.critic_adam = _shared_adam(self.critic, [agent.critic.optimizer for agent in agents])
        self._critics = len(first.critic.q_networks)
        self._figures: dict[str, Tensor] = {}

    def __call__(self, batch: Batch, rewards: Tensor) -> None:
        """Update all agents.

        Args:
            batch: the transitions, shared by the agents.
            rewards: each agent's own rewards, float32 [N, B, 1].
        """
        count, size = len(self.agents), len(batch.states)
        width = batch.actions.shape[1]
        # SB3 draws, agent by agent, for the states and then for the next states.
        noise = torch.randn(count, 2, size, width)
        states = batch.states.expand(count, -1, -1)
        actions, log_prob = self._sample(states, noise[:, 0])
        temperature = torch.stack([agent.log_ent_coef.detach().exp() for agent in self.agents])
        temperature = temperature[:, None]
        for agent, mean in zip(self.agents, log_prob.detach().mean((1, 2)), strict=True):
            agent.log_ent_coef.grad = -(mean + self.target_entropy).reshape(1)
            agent.ent_coef_optimizer.step()

        with torch.no_grad():
            next_states = batch.next_states.expand(count, -1, -1)
            next_actions, next_log_prob = self._sample(next_states, noise[:, 1])
            values = self._lowest(self.target, next_states, next_actions)
            values = values - temperature * next_log_prob
            targets = rewards + (1 - batch.terminated) * self.gamma * values
            targets = targets.repeat_interleave(self._critics, 0)
        inputs = torch.cat([batch.states, batch.actions], 1).expand(len(targets), -1, -1)
        # SB3: half the sum over the critics of the mean squared error.
        critic_losses = 0.5 * (self.critic(inputs) - targets).square().mean((1, 2))
        self.critic_adam.zero_grad()
        critic_losses.sum().backward()
        self.critic_adam.step()

        values = self._lowest(self.critic, states, actions, frozen=True)
        actor_losses = (temperature * log_prob - values).mean((1, 2))
        self.actor_adam.zero_grad()
        actor_losses.sum().backward()
        self.actor_adam.step()

        with torch.no_grad():
            parameters, targets = self.critic.parameters(), self.target.parameters()
            torch._foreach_mul_(targets, 1 - self.tau)
            torch._foreach_add_(targets, parameters, alpha=self.tau)
        for agent in self.agents:
            agent._n_updates += 1
        self._figures = {
            'actor_loss': actor_losses.detach(),
            'critic_loss': critic_losses.detach().reshape(count, -1).sum(1),
            'ent_coef': temperature.flatten(),
        }

    def figures(self, index: int) -> dict[str, float]:
        """Losses of one agent in the last update; empty before the first."""
        return {name: float(values[index]) for name, values in self._figures.items()}

    def _sample(self, states: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions [N, B, A] and their log probabilities [N, B, 1] under each agent's policy."""
        mean, log_std = self.actor(states).chunk(2, -1)
        log_std = log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)
        actions = torch.tanh(mean + log_std.exp() * noise)
        gaussian = -0.5 * noise.square() - log_std - _LOG_SQRT_2PI
        squash = torch.log(1 - actions.square() + _TANH_EPSILON)
        return actions, (gaussian - squash).sum(-1, keepdim=True)

    def _lowest(
        self, critics: _Stack, states: Tensor, actions: Tensor, frozen: bool = False
    ) -> Tensor:
        """Least value over each agent's critics, [N, B, 1]."""
        inputs = torch.cat([states, actions], -1).repeat_interleave(self._critics, 0)
        values = critics(inputs, frozen)
        return values.reshape(len(states), self._critics, *values.shape[1:]).amin(1)
