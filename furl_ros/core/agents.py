# SPDX-License-Identifier: Apache-2.0
"""The Stable-Baselines3 SAC agents: made, acting, saved and loaded (updates: relay_update)."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.save_util import load_from_zip_file
from torch.utils._pytree import tree_map_only

from furl_ros.core.config import TrainConfig
from furl_ros.core.settings import explained
from furl_ros.core.storage import check_zip

CRITICS = ('critic', 'critic_target')

# What a zip of ours or of SB3's own holds at least.
_MEMBERS = ('policy.pth', 'pytorch_variables.pth')


class _Spaces(gymnasium.Env):
    """Tells SB3 the spaces; the real environment is behind topics."""

    def __init__(self, observation_space: gymnasium.Space, action_space: gymnasium.Space) -> None:
        self.observation_space = observation_space
        self.action_space = action_space


# The layers that see states, by their names in SB3's policy.
_FIRST_LAYERS = ('actor.latent_pi.0', *(f'{c}.qf{i}.0' for c in CRITICS for i in range(2)))


class _Sac(SAC):
    """SAC whose parameters may be views of larger tensors."""

    folded: tuple[np.ndarray, np.ndarray] | None = None
    """Mean and scale of the states that the nets see, to be put into their first layers."""

    def get_parameters(self) -> dict[str, dict]:
        """Parameters and optimizer states, copied: a file of a view holds all that it views."""
        found = tree_map_only(torch.Tensor, torch.clone, super().get_parameters())
        if self.folded is not None:
            _fold(found['policy'], *map(torch.from_numpy, self.folded))
        return found


def _fold(policy: dict[str, torch.Tensor], mean: torch.Tensor, scale: torch.Tensor) -> None:
    """Change first layers that take (states - mean) / scale into ones that take plain states."""
    for layer in _FIRST_LAYERS:
        weight, bias = policy[f'{layer}.weight'], policy[f'{layer}.bias']
        states = slice(None, len(mean))
        weight[:, states] /= scale
        bias -= weight[:, states] @ mean


def unscaled(space: gymnasium.spaces.Box, scaled: np.ndarray) -> np.ndarray:
    """Map an action from [-1, 1] to the units of an action space, float32 [A].

    Where these are its units already, every bit stays.
    """
    low, high = space.low, space.high
    middle, half = (high + low) / 2, (high - low) / 2
    there = middle + half * np.asarray(scaled, np.float32)
    # What is rounded beyond a bound is not an action.
    return np.clip(there, low, high).astype(np.float32)


class Agent:
    """One SAC agent whose updates come from outside.

    Args:
        config: hyper-parameters.
        observation_space: Box, float32 [S].
        action_space: Box, float32 [A].
        seed: of the initial parameters (SB3 also seeds the global generators with it).
    """

    def __init__(
        self,
        config: TrainConfig,
        observation_space: gymnasium.spaces.Box,
        action_space: gymnasium.spaces.Box,
        seed: int,
    ) -> None:
        self.sac = _Sac(
            'MlpPolicy',
            _Spaces(observation_space, action_space),
            learning_rate=config.learning_rate,
            buffer_size=1,
            batch_size=config.batch_size,
            tau=config.tau,
            gamma=config.gamma,
            ent_coef=f'auto_{config.initial_temperature}',
            target_entropy=-float(np.prod(action_space.shape)) / 2,
            policy_kwargs={'net_arch': [config.hidden_units] * 2},
            device='cpu',
            seed=seed,
        )
        # SB3 would reserve its own replay at this size; the agent only carries the number, for
        # those who load the zip and go on with plain SB3.
        self.sac.buffer_size = config.buffer_size
        self.sac.env = None
        self.sac.replay_buffer = None

    def act(self, state: np.ndarray, deterministic: bool = False) -> np.ndarray:
        """Choose an action, scaled to [-1, 1]: float32 [A] for a state float32 [S]."""
        with torch.inference_mode():
            states = torch.from_numpy(np.asarray(state, np.float32))[None]
            return self.sac.actor(states, deterministic)[0].numpy()

    def save(
        self,
        path: Path,
        total_steps: int,
        normalizer: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        """Write a plain SB3 zip, which ``SAC.load`` opens without furl_ros.

        Args:
            path: the file.
            total_steps: of the run.
            normalizer: mean and scale of the states that the nets see, float32 [S] each: the zip's
                nets then take plain states, and give the same. Its optimizers' averages are not
                converted.
        """
        self.sac.num_timesteps = total_steps
        self.sac.folded = normalizer
        try:
            self.sac.save(path, exclude=['replay_buffer', 'env', 'logger', 'folded'])
        finally:
            self.sac.folded = None

    def policy_layers(
        self, normalizer: tuple[np.ndarray, np.ndarray] | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Weight [out, in] and bias [out] of each layer of the mean action; for plain states.

        Args:
            normalizer: as for ``save``.
        """
        self.sac.folded = normalizer
        try:
            policy = self.sac.get_parameters()['policy']
        finally:
            self.sac.folded = None
        names = ('actor.latent_pi.0', 'actor.latent_pi.2', 'actor.mu')
        return [(policy[f'{n}.weight'].numpy(), policy[f'{n}.bias'].numpy()) for n in names]

    def load(self, path: Path) -> None:
        """Take over parameters and optimizer states of a zip; no code of it is executed.

        Raises:
            SettingError: the file is missing, no SB3 zip, or of another shape.
        """
        with explained(
            f'{path} does not fit; accepted: an SB3 zip of a SAC agent with the same spaces'
            ' and hidden_units'
        ):
            check_zip(path, _MEMBERS)
            # load_data=False leaves the pickled part alone; tensors load with weights_only.
            _, parameters, variables = load_from_zip_file(path, device='cpu', load_data=False)
            self.sac.set_parameters(parameters, exact_match=True, device='cpu')
            self.sac.log_ent_coef.data.copy_(variables['log_ent_coef'])

    def counters(self) -> dict[str, Any]:
        """What SB3 keeps outside the zip's tensors and a continuation needs."""
        return {'n_updates': self.sac._n_updates}

    def restore_counters(self, counters: dict[str, Any]) -> None:
        """Take over ``counters``."""
        self.sac._n_updates = counters['n_updates']
