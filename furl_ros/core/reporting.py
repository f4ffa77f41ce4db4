# SPDX-License-Identifier: Apache-2.0
"""Curves of a run: CSV tables for programs, TensorBoard for people, one line for the terminal."""

import threading
import time

from torch.utils.tensorboard import SummaryWriter

from furl_ros.core.run import RunFolder, Table
from furl_ros.core.trainer import Episode, Evaluation, Trainer

CURVES = (
    'total_steps',
    'wall_seconds',
    'steps_per_second',
    'updates',
    'heads_version',
    'stage',
    'positives',
    'relay',
    'success_rate_20',
    'vlm_reward_mean',
    'vlm/actor_loss',
    'vlm/critic_loss',
    'vlm/ent_coef',
    'sac/actor_loss',
    'sac/critic_loss',
    'sac/ent_coef',
)
# Seconds since the process began: of each stage, and of the processor.
STAGES = ('total_steps', 'wall_seconds', 'cpu_seconds', 'stage', 'stage_seconds')


def _tell(end: threading.ExceptHookArgs) -> None:
    """Print what ended a thread; not that it could not write: TensorBoard raises that once more."""
    if not isinstance(end.exc_value, OSError):
        threading.__excepthook__(end)


class Reporter:
    """Writes what happens in a run to its folder, row by row.

    Args:
        run: the run's folder; rows of lost work (after ``step``) are dropped.
        step: environment steps at the start.

    Attributes:
        step: environment steps at the newest row of the curves, or at the start.
        rate: environment steps per second before that row; NaN: not known yet.
    """

    def __init__(self, run: RunFolder, step: int) -> None:
        self.episodes = Table(
            run.path / 'episodes.csv', (*Episode._fields, 'success_rate_20'), step
        )
        self.evaluations = Table(run.path / 'evaluations.csv', Evaluation._fields, step)
        self.curves = Table(run.path / 'curves.csv', CURVES, step)
        self.stages = Table(run.path / 'stages.csv', STAGES, step)
        threading.excepthook = _tell
        self.board = SummaryWriter(str(run.path / 'tensorboard'), purge_step=step)
        self.started = time.monotonic()
        self.step, self._written = step, self.started
        self.rate = float('nan')

    def episode(self, episode: Episode, success_rate: float) -> None:
        """Write one finished training episode."""
        self.episodes.add(episode._asdict() | {'success_rate_20': success_rate})
        for name in ('task_return', 'vlm_return', 'length', 'intervened'):
            self.board.add_scalar(f'episode/{name}', getattr(episode, name), episode.total_steps)
        self.board.add_scalar('episode/success_rate_20', success_rate, episode.total_steps)

    def evaluation(self, evaluation: Evaluation) -> None:
        """Write one evaluation."""
        self.evaluations.add(evaluation._asdict())
        for name in ('success_any_step', 'success_last_step', 'task_return'):
            value = getattr(evaluation, name)
            self.board.add_scalar(f'evaluation/{name}', value, evaluation.total_steps)

    def progress(self, trainer: Trainer, stage: int) -> None:
        """Write one row of the learning curves and measure the speed since the last one."""
        step, now = trainer.steps, time.monotonic()
        if now > self._written and step > self.step:
            self.rate = (step - self.step) / (now - self._written)
        self.step, self._written = step, now
        row = {
            'total_steps': step,
            'wall_seconds': now - self.started,
            'steps_per_second': self.rate,
            'updates': trainer.updates,
            'heads_version': trainer.heads_version,
            'stage': stage,
            'positives': trainer.relay.positives,
            'relay': int(trainer.relay.active),
            'success_rate_20': trainer.success_rate,
            'vlm_reward_mean': trainer.vlm_reward_mean,
        }
        row |= {name: value for name, value in trainer.figures().items() if name in CURVES}
        self.curves.add(row)
        cpu = time.process_time()
        for name, seconds in trainer.stages.seconds.items():
            values = (step, row['wall_seconds'], cpu, name, seconds)
            self.stages.add(dict(zip(STAGES, values, strict=True)))
        for name, value in row.items():
            if name != 'total_steps':
                self.board.add_scalar(name if '/' in name else f'run/{name}', value, step)

    def go_on(self) -> None:
        """After a pause: the time until now does not count for the speed."""
        self._written = time.monotonic()

    def line(self, trainer: Trainer, target: int, stage: int) -> str:
        """Where the run stands, in one line."""
        speed = ''
        if self.rate > 0:
            minutes, seconds = divmod(round(max(0, target - trainer.steps) / self.rate), 60)
            left = f'{minutes // 60:02}:{minutes % 60:02}:{seconds:02}'
            speed = f' | {self.rate:.0f} steps/s, {left} left'
        who = 'relay' if trainer.relay.active else 'one agent'
        if trainer.steps < trainer.config.warmup_steps:
            who = 'warm-up'
        text = (
            f'step {trainer.steps:,} of {target:,}{speed} | {who}'
            f' | success, last 20 episodes: {trainer.success_rate:.2f}'
        )
        if trainer.last_evaluation is not None:
            text += f', evaluation: {trainer.last_evaluation.success_any_step:.2f}'
        if trainer.method.heads != 'none':
            text += f' | heads {trainer.heads_version} (stage {stage})'
        return text

    def close(self) -> None:
        """Close all files."""
        for table in (self.episodes, self.evaluations, self.curves, self.stages):
            table.close()
        self.board.close()
