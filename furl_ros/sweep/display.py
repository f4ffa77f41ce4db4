# SPDX-License-Identifier: Apache-2.0
"""What a sweep shows: a table that moves in a terminal, else a line a minute."""

import heapq
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from furl_ros.sweep import results
from furl_ros.sweep.plan import Job, Plan

LINE_EVERY = 60.0  # seconds


class State(NamedTuple):
    """Where a sweep stands."""

    running: Sequence[tuple[Job, dict[str, Any]]]
    """Jobs that run, and where each stands (see ``Progress``; empty at first)."""
    waiting: Sequence[Job]
    elsewhere: int
    """How many of those that wait are run by another sweep."""
    finished: int
    failed: int
    workers: int


class Rates:
    """Steps per second by variant, of what runs and of what has finished in this sweep."""

    def __init__(self) -> None:
        self._finished: dict[str, list[float]] = {}

    def add(self, variant: str, rate: float) -> None:
        """Take note of a finished run's steps per second."""
        self._finished.setdefault(variant, []).append(rate)

    def by_variant(self, state: State) -> dict[str, float]:
        """Mean rates; variants that none is known of are left out."""
        rates = {name: list(known) for name, known in self._finished.items()}
        for job, progress in state.running:
            if progress.get('steps_per_second'):
                rates.setdefault(job.variant, []).append(progress['steps_per_second'])
        return {name: statistics.mean(known) for name, known in rates.items()}


def seconds_left(state: State, rates: dict[str, float]) -> float | None:
    """Estimated seconds until all jobs are finished; None while nothing is known.

    A variant that has not run yet is taken to be as fast as the others on average.
    """
    if not rates or state.workers < 1:
        return None
    usual = statistics.mean(rates.values())

    def seconds(job: Job, step: int) -> float:
        return (job.values['total_steps'] - step) / rates.get(job.variant, usual)

    busy = [seconds(job, progress.get('step', 0)) for job, progress in state.running]
    free_at = busy + [0.0] * (state.workers - len(busy))
    heapq.heapify(free_at)
    for job in state.waiting:
        heapq.heapreplace(free_at, free_at[0] + seconds(job, 0))
    return max(free_at)


def duration(seconds: float | None) -> str:
    """Hours, minutes and seconds; '?' for None."""
    if seconds is None:
        return '?'
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes // 60:02}:{minutes % 60:02}:{rest:02}'


def _figures(job: Job, progress: dict[str, Any]) -> tuple[str, str, str]:
    """Steps, steps per second, and success of the last 20 episodes of a running job."""
    if not progress:
        return 'starting', '', ''
    rate, success = progress['steps_per_second'], progress['success_rate']
    return (
        f'{progress["step"]:,} of {job.values["total_steps"]:,}',
        '' if rate is None else f'{rate:.0f}',
        '' if success is None else f'{success:.2f}',
    )


class Display:
    """Shows the state of a sweep, until it is closed.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.rates = Rates()
        self._line_at = time.monotonic() + LINE_EVERY
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(console=console, auto_refresh=False, transient=True)
            self._live.start()

    def say(self, text: str) -> None:
        """Print something that stays."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, state: State) -> None:
        """Show where the sweep stands: call it about once a second."""
        if self._live is not None:
            self._live.update(self._picture(state), refresh=True)
        elif time.monotonic() >= self._line_at:
            self._line_at = time.monotonic() + LINE_EVERY
            self.say(self.line(state))

    def close(self) -> None:
        """Leave only what was said."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def line(self, state: State) -> str:
        """Where the sweep stands, in one line."""
        parts = [self._summary(state)]
        for job, progress in state.running:
            steps, rate, success = _figures(job, progress)
            text = f'{job.name}: {steps}'
            text += f', {rate} steps/s' if rate else ''
            parts.append(text + (f', success {success}' if success else ''))
        return ' | '.join(parts)

    def _summary(self, state: State) -> str:
        total = state.finished + state.failed + len(state.running) + len(state.waiting)
        left = duration(seconds_left(state, self.rates.by_variant(state)))
        text = f'{state.finished} of {total} finished, {state.failed} failed'
        if state.elsewhere:
            text += f', {state.elsewhere} run by another sweep'
        if not state.workers:
            text += ', no worker is there'
        return f'{text}, {left} left'

    def _picture(self, state: State) -> Group:
        table = Table(box=None, pad_edge=False)
        for name in ('task', 'variant', 'seed'):
            table.add_column(name)
        for name in ('step', 'steps/s', 'success, last 20'):
            table.add_column(name, justify='right')
        for job, progress in state.running:
            table.add_row(job.task, job.variant, str(job.seed), *_figures(job, progress))
        return Group(table, Text(self._summary(state)))


def markdown(plan: Plan) -> str:
    """Success of the last 20 episodes, task by variant: the mean, and each seed's."""
    places = {(job.task, job.variant, job.seed): job.results for job in plan.jobs}

    def cell(task: str, variant: str) -> str:
        values = []
        for seed in plan.seeds:
            folder = places[task, variant, seed]
            values.append(results.success(folder) if results.is_finished(folder) else None)
        known = [value for value in values if value is not None]
        if not known:
            return '-'
        each = ' '.join('-' if value is None else f'{value:.2f}' for value in values)
        return f'{statistics.mean(known):.2f} ({each})'

    lines = [
        f'Success rate of the last 20 training episodes: mean (seeds'
        f' {" ".join(map(str, plan.seeds))})',
        '',
        f'| task | {" | ".join(plan.variants)} |',
        '|---' * (len(plan.variants) + 1) + '|',
    ]
    for task in plan.tasks:
        cells = ' | '.join(cell(task, variant) for variant in plan.variants)
        lines.append(f'| {task} | {cells} |')
    return '\n'.join(lines)
