# SPDX-License-Identifier: Apache-2.0
"""What several tests of the cores look at or prepare."""

import torch
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


def stir_batch_norms(tower, low, high):
    """Give batch norms statistics and weights (from low to high) as training leaves them."""
    for module in tower.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.weight.uniform_(low, high)
            module.bias.normal_(0, 0.2)
