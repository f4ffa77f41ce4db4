# SPDX-License-Identifier: Apache-2.0
"""What several benches need: the machine's name, and Stable-Baselines3's own updates."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import torch
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import Tensor

from furl_ros.core.replay import Batch


def machine() -> str:
    """Processor and number of cores, and the GPU where there is one."""
    names = [
        line.split(':', 1)[1].strip()
        for line in Path('/proc/cpuinfo').read_text().splitlines()
        if line.startswith('model name')
    ]
    text = f'{names[0] if names else platform.processor()}, {len(os.sched_getaffinity(0))} cores'
    return f'{text}, {torch.cuda.get_device_name()}' if torch.cuda.is_available() else text


class Sb3Updates:
    """Takes the place of a ``RelayUpdate``: ``SAC.train`` of one agent after the other."""

    def __init__(self, agents: Mapping[str, SAC]) -> None:
        self.agents = dict(agents)
        for agent in self.agents.values():
            agent.set_logger(Logger(folder=None, output_formats=[]))

    def __call__(self, batch: Batch, rewards: Mapping[str, Tensor]) -> None:
        for name, agent in self.agents.items():
            samples = ReplayBufferSamples(*batch[:4], rewards[name])
            agent.replay_buffer = SimpleNamespace(sample=lambda size, env=None, s=samples: s)
            agent.train(gradient_steps=1, batch_size=len(batch.states))
            agent.replay_buffer = None

    def figures(self) -> dict[str, float]:
        """Nothing: SB3 keeps its figures in its own logger."""
        return {}
