# SPDX-License-Identifier: Apache-2.0
"""What several tests of the cores look at or prepare."""

from types import SimpleNamespace

import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import nn


def tensors(sac):
    """Everything that learning changes in an SB3 agent, by name: copies."""
    found = dict(sac.policy.state_dict()) | {'log_ent_coef': sac.log_ent_coef.detach()}
    for name, optimizer in (
        ('actor', sac.actor.optimizer),
        ('critic', sac.critic.optimizer),
        ('entropy', sac.ent_coef_optimizer),
    ):
        for index, state in optimizer.state_dict()['state'].items():
            found |= {f'{name}/{index}/{key}': value for key, value in state.items()}
    return {name: value.clone() for name, value in found.items()}


def assert_same(one, other, **tolerance):
    """Two dicts of tensors have the same names and, within the tolerance, the same values."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], **tolerance, msg=name)


def train_by_sb3(sac, batch, rewards):
    """One update of an agent by ``SAC.train`` itself; returns what it logs."""
    sample = ReplayBufferSamples(*batch[:4], rewards)
    sac.replay_buffer = SimpleNamespace(sample=lambda size, env=None: sample)
    sac.set_logger(Logger(folder=None, output_formats=[]))
    sac.train(gradient_steps=1, batch_size=len(batch.states))
    return sac.logger.name_to_value


def stir_batch_norms(tower, low, high):
    """Give batch norms statistics and weights (from low to high) as training leaves them."""
    for module in tower.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.weight.uniform_(low, high)
            module.bias.normal_(0, 0.2)
