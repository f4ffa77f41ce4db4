# SPDX-License-Identifier: Apache-2.0
"""One gradient step of several SAC agents on one batch, in one computation.

The agents are Stable-Baselines3's, and the arithmetic is that of its ``SAC.train`` (same random
numbers in the same order, same results up to float rounding). The layers of all agents and critics
are stacked, so that losses, Adam and the targets are one operation for all; each net's products
are made by the fastest kernels, and the critics take no gradient in the actor's loss. The stacked
tensors are the agents' own parameters and optimizer states (views), so acting, saving and loading
stay SB3's.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from stable_baselines3 import SAC
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN
from torch import Tensor, nn
from torch.optim.adam import adam

from furl_ros.core.products import mlp, products
from furl_ros.core.replay import Batch
from furl_ros.core.timing import Stages

_TANH_EPSILON = 1e-6  # SB3's SquashedDiagGaussianDistribution
_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


class NotFiniteError(RuntimeError):
    """What was to be learned is not a number: nothing can be learned from there on."""


class _Stack:
    """Parameters of N equal nets as few tensors, of which the nets' own become views.

    Args:
        tensors: the stacked values; they require gradients from now on.
        parts: each net's parameter, the index of its stacked tensor, and its place in it.
    """

    def __init__(self, tensors: list[Tensor], parts: list[tuple[nn.Parameter, int, Any]]) -> None:
        self.tensors, self.parts = tensors, parts
        for parameter, index, place in parts:
            parameter.data = tensors[index][place]
        for tensor in tensors:
            tensor.requires_grad_()


class _Adam:
    """A fused Adam for a stack, that goes on from the nets' own and shares its state with them."""

    def __init__(self, stack: _Stack, optimizers: Sequence[torch.optim.Adam]) -> None:
        self.tensors = stack.tensors
        group = optimizers[0].param_groups[0]
        self.settings = {
            'lr': group['lr'],
            'beta1': group['betas'][0],
            'beta2': group['betas'][1],
            'eps': group['eps'],
            'weight_decay': 0.0,
            'amsgrad': False,
            'maximize': False,
            'fused': True,
        }
        self.state = {
            'exp_avg': [torch.zeros_like(t, requires_grad=False) for t in self.tensors],
            'exp_avg_sq': [torch.zeros_like(t, requires_grad=False) for t in self.tensors],
            'step': [torch.zeros(()) for _ in self.tensors],
        }
        own = {p: o.state[p] for o in optimizers for g in o.param_groups for p in g['params']}
        for parameter, index, place in stack.parts:
            state = own[parameter]
            for name, shared in self.state.items():
                view = shared[index] if name == 'step' else shared[index][place]
                if name in state:
                    view.copy_(state[name])
                state[name] = view

    def __call__(self, gradients: Sequence[Tensor]) -> None:
        """One step; torch's function, since its optimizer's own work costs more than the step."""
        averages, squares, steps = self.state.values()
        with torch.no_grad():
            adam(self.tensors, [*gradients], averages, squares, [], steps, **self.settings)


class _Nets(_Stack):
    """N equal multilayer perceptrons with ReLU: weights [N, out, in] and biases [N, 1, out].

    Args:
        nets: for each net its layers; a layer is one or more Linear modules with the same input,
            whose outputs are put side by side.
    """

    def __init__(self, nets: Sequence[Sequence[Sequence[nn.Linear]]]) -> None:
        tensors, parts = [], []
        for layer in range(len(nets[0])):
            weights = torch.stack([torch.cat([m.weight.data for m in net[layer]]) for net in nets])
            biases = torch.stack([torch.cat([m.bias.data for m in net[layer]]) for net in nets])
            for number, net in enumerate(nets):
                row = 0
                for module in net[layer]:
                    rows = slice(row, row + module.out_features)
                    row = rows.stop
                    parts.append((module.weight, len(tensors), (number, rows)))
                    parts.append((module.bias, len(tensors) + 1, (number, 0, rows)))
            tensors += [weights, biases[:, None]]
        super().__init__(tensors, parts)
        self.fixed = [tensor.detach() for tensor in tensors]
        self.kernels = [products(weights.shape[2], weights.shape[1]) for weights in tensors[::2]]

    def __call__(self, inputs: Tensor) -> Tensor:
        """Outputs [N, B, out] for inputs [N, B, in]."""
        return mlp(self.kernels, inputs, self.tensors)

    def frozen(self, inputs: Tensor) -> Tensor:
        """The same, with a gradient for the inputs alone."""
        return mlp(self.kernels, inputs, self.fixed)


def _linears(net: nn.Sequential) -> list[list[nn.Linear]]:
    return [[module] for module in net if isinstance(module, nn.Linear)]


class RelayUpdate:
    """``SAC.train(gradient_steps=1)`` of all agents at once.

    It takes over the parameters and optimizer states as they are when it is made, and shares them
    with the agents from then on: make it anew after an agent was loaded, and when fewer agents are
    to learn.

    Args:
        agents: SB3 SAC agents by name, with equal spaces, nets and hyper-parameters (MlpPolicy,
            ReLU, ent_coef 'auto', no SDE).
        stages: where the seconds of each phase are added up.
    """

    def __init__(self, agents: Mapping[str, SAC], stages: Stages | None = None) -> None:
        self.agents = dict(agents)
        self.stages = stages or Stages()
        agents = list(agents.values())
        first = agents[0]
        self.gamma, self.tau = first.gamma, first.tau
        self.target_entropy = float(first.target_entropy)
        self.critics = len(first.critic.q_networks)
        self.actor = _Nets(
            [
                [*_linears(agent.actor.latent_pi), [agent.actor.mu, agent.actor.log_std]]
                for agent in agents
            ]
        )
        self.critic, self.target = (
            _Nets([_linears(net) for critic in critics for net in critic.q_networks])
            for critics in (
                [agent.critic for agent in agents],
                [agent.critic_target for agent in agents],
            )
        )
        self.temperature = _Stack(
            [torch.stack([agent.log_ent_coef.data for agent in agents])],
            [(agent.log_ent_coef, 0, number) for number, agent in enumerate(agents)],
        )
        self.actor_adam = _Adam(self.actor, [agent.actor.optimizer for agent in agents])
        self.critic_adam = _Adam(self.critic, [agent.critic.optimizer for agent in agents])
        self.temperature_adam = _Adam(
            self.temperature, [agent.ent_coef_optimizer for agent in agents]
        )
        self._figures: dict[str, Tensor] = {}

    def __call__(
        self,
        batch: Batch,
        rewards: Mapping[str, Tensor],
        pause: Callable[[], None] = lambda: None,
        bounds: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Update all agents.

        The update is not made when a value is not finite. (When it is the actors' losses, the
        critics have made theirs: with losses that were finite.)

        Args:
            batch: the transitions, shared by the agents.
            rewards: each agent's own rewards by its name, float32 [B, 1].
            pause: called a few times on the way, where the agents can act.
            bounds: values of the states and actions that each agent's targets are not to fall
                below, by its name, float32 [B, 1]; None for none.

        Raises:
            NotFiniteError: a loss is NaN or infinite.
        """
        count, size = len(self.agents), len(batch.states)
        # SB3 draws, agent by agent, for the states and then for the next states.
        noise = torch.randn(count, 2, size, batch.actions.shape[1])
        states = batch.states.expand(count, -1, -1)
        with self.stages('policies'):
            actions, log_prob = self._sample(states, noise[:, 0])
        pause()

        (log_temperature,) = self.temperature.tensors
        temperature = log_temperature.detach().exp()[:, None]
        self._check('the policies', log_prob)
        excess = log_prob.detach().mean(1) + self.target_entropy
        temperature_losses = -log_temperature.detach() * excess

        own_rewards = torch.stack([rewards[name] for name in self.agents])
        with torch.no_grad(), self.stages('targets'):
            next_states = batch.next_states.expand(count, -1, -1)
            next_actions, next_log_prob = self._sample(next_states, noise[:, 1])
            values = self._lowest(self.target, next_states, next_actions)
            values = values - temperature * next_log_prob
            discounts = batch.discounts if len(batch.discounts) else self.gamma
            targets = own_rewards + (1 - batch.terminated) * discounts * values
            if bounds is not None:
                targets = targets.maximum(torch.stack([bounds[name] for name in self.agents]))
            targets = targets.repeat_interleave(self.critics, 0)
        pause()
        with self.stages('critics'):
            inputs = torch.cat([batch.states, batch.actions], 1).expand(len(targets), -1, -1)
            # SB3: half the sum over an agent's critics of the mean squared error.
            critic_losses = 0.5 * (self.critic(inputs) - targets).square().mean((1, 2))
            self._check("the critics' losses", critic_losses)
            self.temperature_adam([-excess])
            self.critic_adam(torch.autograd.grad(critic_losses.sum(), self.critic.tensors))
        pause()

        with self.stages('actors'):
            values = self._lowest(self.critic.frozen, states, actions)
            actor_losses = (temperature * log_prob - values).mean((1, 2))
            self._check("the actors' losses", actor_losses)
            pause()
            self.actor_adam(torch.autograd.grad(actor_losses.sum(), self.actor.tensors))

        with torch.no_grad():
            for target, source in zip(self.target.tensors, self.critic.tensors, strict=True):
                target.mul_(1 - self.tau).add_(source, alpha=self.tau)
        for agent in self.agents.values():
            agent._n_updates += 1
        self._figures = {
            'actor_loss': actor_losses.detach(),
            'critic_loss': critic_losses.detach().reshape(count, -1).sum(1),
            'ent_coef': temperature.flatten(),
            'ent_coef_loss': temperature_losses.flatten(),
        }

    def _check(self, what: str, values: Tensor) -> None:
        """Before anything is changed by them.

        Raises:
            NotFiniteError: one is NaN or infinite.
        """
        if not bool(torch.isfinite(values.detach()).all()):
            raise NotFiniteError(f'{what} of {", ".join(self.agents)} are not finite')

    def figures(self) -> dict[str, float]:
        """SB3's figures of the last update, as ``<agent>/<figure>``; empty before the first."""
        return {
            f'{name}/{figure}': float(values[index])
            for index, name in enumerate(self.agents)
            for figure, values in self._figures.items()
        }

    def _sample(self, states: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions [N, B, A] and their log probabilities [N, B, 1] under each agent's policy."""
        mean, log_std = self.actor(states).chunk(2, -1)
        log_std = log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)
        actions = torch.tanh(mean + log_std.exp() * noise)
        gaussian = -0.5 * noise.square() - log_std - _LOG_SQRT_2PI
        squash = torch.log(1 - actions.square() + _TANH_EPSILON)
        return actions, (gaussian - squash).sum(-1, keepdim=True)

    def _lowest(
        self, critics: Callable[[Tensor], Tensor], states: Tensor, actions: Tensor
    ) -> Tensor:
        """Least value over each agent's critics, [N, B, 1]."""
        inputs = torch.cat([states, actions], -1).repeat_interleave(self.critics, 0)
        values = critics(inputs)
        return values.reshape(len(states), self.critics, *values.shape[1:]).amin(1)
