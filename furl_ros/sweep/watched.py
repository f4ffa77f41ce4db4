# SPDX-License-Identifier: Apache-2.0
"""The local runner, telling where it stands."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from furl_ros.local import LocalRun, train
from furl_ros.report.rewards import rewards_along_episodes
from furl_ros.sweep.progress import Progress


class WatchedRun(LocalRun):
    """A local run that writes its progress down."""

    def __init__(self, values: dict[str, Any], progress: Progress) -> None:
        super().__init__(values)
        self.progress = progress

    def steps(self) -> Iterator[int]:
        """As in a local run."""
        trainer = self.trainer
        self.progress.step(trainer.steps, trainer.success_rate)
        for step in super().steps():
            self.progress.step(step, trainer.success_rate)
            yield step

    def report(self) -> str:
        """As in a local run; the line goes to the log, too."""
        line = super().report()
        self.progress.step(self.trainer.steps, self.trainer.success_rate, now=True)
        print(line, flush=True)
        return line


def train_watched(values: dict[str, Any], log_every: int, progress: Progress) -> None:
    """Train in one thread.

    Args:
        values: settings of the whole graph, with the checkpoint to go on from as ``resume``.
        log_every: environment steps between rows of the curves.
        progress: is told each step.
    """
    torch.set_num_threads(1)
    train(values, log_every, functools.partial(WatchedRun, progress=progress))


def write_rewards(folder: Path) -> None:
    """Write down the rewards along some episodes of a trained run.

    Raises:
        SettingError: its replay holds no whole episode.
    """
    torch.set_num_threads(1)
    rewards_along_episodes(folder)
