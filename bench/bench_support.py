# SPDX-License-Identifier: Apache-2.0
"""What several benches need: machine, tables of runs, SB3's own updates. Without ROS."""

import csv
import math
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
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

    def __call__(
        self,
        batch: Batch,
        rewards: Mapping[str, Tensor],
        pause: Callable[[], None] = lambda: None,
        bounds: Mapping[str, Tensor] | None = None,
    ) -> None:
        if bounds is not None:
            raise ValueError('SB3 knows no bounds of values; accepted: return_bound false')
        for name, agent in self.agents.items():
            samples = ReplayBufferSamples(*batch[:4], rewards[name])
            agent.replay_buffer = SimpleNamespace(sample=lambda size, env=None, s=samples: s)
            agent.train(gradient_steps=1, batch_size=len(batch.states))
            agent.replay_buffer = None

    def figures(self) -> dict[str, float]:
        """Nothing: SB3 keeps its figures in its own logger."""
        return {}


def execute(command: list[str], folder: Path, environment: dict | None = None) -> None:
    """Run a command to its end; its output goes to a file that is shown when it fails."""
    log = folder.with_suffix('.log')
    with open(log, 'w') as file:
        code = subprocess.call(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    if code != 0:
        raise SystemExit(f'{" ".join(command)}: exit code {code}\n{log.read_text()[-2000:]}')


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def speed(curves: Sequence[Mapping[str, str]], start: int, end: float = math.inf) -> float:
    """Steps per second of a finished run between two steps, from its curves."""
    rows = [
        (int(row['total_steps']), float(row['wall_seconds']))
        for row in curves
        if start <= int(row['total_steps']) <= end
    ]
    if len(rows) < 2:
        raise SystemExit('too few steps after the warm-up to measure; use more --steps')
    return (rows[-1][0] - rows[0][0]) / (rows[-1][1] - rows[0][1])
