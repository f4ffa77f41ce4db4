# SPDX-License-Identifier: Apache-2.0
"""Everything that the report says, as numbers: runs compared by task and variant."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from furl_ros.core.methods import METHODS
from furl_ros.core.settings import SettingError
from furl_ros.report.aggregates import (
    Estimate,
    estimate,
    estimate_improvement,
    interquartile_mean,
    mean,
)
from furl_ros.report.measures import Measures, measure
from furl_ros.report.runs import Results, Run

# What is aggregated over tasks.
SCORES: dict[str, Callable[[Measures], float]] = {
    'final_any': lambda measures: measures.final_any,
    'final_last': lambda measures: measures.final_last,
    'auc': lambda measures: measures.auc,
}
FURL = 'furl'


@dataclass(frozen=True)
class Aggregate:
    """A variant over the tasks of the comparison."""

    tasks: tuple[str, ...]
    """Those of them that it has runs of."""
    seeds: tuple[int, ...]
    """How many seeds there are of each of these tasks."""
    used: int
    """How many of each were taken: the first ones, as many as every task has."""
    mean: dict[str, Estimate]
    iqm: dict[str, Estimate]


@dataclass(frozen=True)
class Improvement:
    """How one variant does beside another."""

    variant: str
    other: str
    tasks: tuple[str, ...]
    probability: dict[str, Estimate]
    apart: dict[str, bool]
    """The intervals of the two interquartile means over these tasks do not overlap."""


class Comparison:
    """Runs by task and variant, their figures, and the aggregates.

    Args:
        results: runs.
        apart: tasks that are shown but left out of the aggregates.
        baseline: variant that all others are compared with; '': each variant whose name begins
            with 'furl' is compared with all others.

    Raises:
        SettingError: there is no such task or variant, or no task is left.
    """

    def __init__(self, results: Results, apart: Sequence[str] = (), baseline: str = '') -> None:
        self.runs, self.missing = results
        self.all_tasks = sorted({run.task for run in self.runs})
        # The plain methods first, the full one last.
        order = list(METHODS)[::-1]
        places = {run.variant: (order.index(run.method), run.variant) for run in self.runs}
        self.variants = sorted(places, key=places.__getitem__)
        for task in apart:
            if task not in self.all_tasks:
                raise SettingError(
                    f'apart is {task!r}; accepted: tasks with finished runs'
                    f' ({", ".join(self.all_tasks)})'
                )
        if baseline and baseline not in self.variants:
            raise SettingError(
                f'baseline is {baseline!r}; accepted: variants with finished runs'
                f' ({", ".join(self.variants)})'
            )
        self.tasks = [task for task in self.all_tasks if task not in apart]
        self.apart = [task for task in self.all_tasks if task in apart]
        self.until = {
            task: min(run.total_steps for run in self.runs if run.task == task)
            for task in self.all_tasks
        }
        self.measures = {run.name: measure(run, self.until[run.task]) for run in self.runs}
        self.aggregates = {
            variant: aggregate
            for variant in self.variants
            if (aggregate := self._aggregate(variant)) is not None
        }
        self.improvements = [self._improvement(*pair) for pair in self._pairs(baseline)]

    def cell(self, task: str, variant: str) -> list[Run]:
        """Finished runs of a variant on a task, by seed."""
        return [run for run in self.runs if (run.task, run.variant) == (task, variant)]

    def scores(self, variant: str, tasks: Sequence[str], name: str) -> np.ndarray:
        """A score as a matrix: as many seeds as every task has, float64 [N, M]."""
        cells = [self.cell(task, variant) for task in tasks]
        used = min(len(cell) for cell in cells)
        score = SCORES[name]
        columns = [[score(self.measures[run.name]) for run in cell[:used]] for cell in cells]
        return np.array(columns, np.float64).T

    def _tasks_of(self, *variants: str) -> tuple[str, ...]:
        return tuple(
            task for task in self.tasks if all(self.cell(task, variant) for variant in variants)
        )

    def _aggregate(self, variant: str) -> Aggregate | None:
        tasks = self._tasks_of(variant)
        if not tasks:
            return None
        seeds = tuple(len(self.cell(task, variant)) for task in tasks)
        scores = {name: self.scores(variant, tasks, name) for name in SCORES}
        return Aggregate(
            tasks,
            seeds,
            min(seeds),
            {name: estimate(matrix, mean) for name, matrix in scores.items()},
            {name: estimate(matrix, interquartile_mean) for name, matrix in scores.items()},
        )

    def _pairs(self, baseline: str) -> list[tuple[str, str]]:
        if baseline:
            pairs = [(variant, baseline) for variant in self.variants if variant != baseline]
        else:
            furl = [variant for variant in self.variants if variant.startswith(FURL)]
            pairs = [
                (one, other)
                for one in furl
                for other in self.variants
                # Of two FuRLs each pair once: the other way round it is the rest to 1.
                if other not in furl or self.variants.index(one) < self.variants.index(other)
            ]
        return [pair for pair in pairs if self._tasks_of(*pair)]

    def _improvement(self, variant: str, other: str) -> Improvement:
        tasks = self._tasks_of(variant, other)
        probability, apart = {}, {}
        for name in SCORES:
            scores, others = (self.scores(one, tasks, name) for one in (variant, other))
            probability[name] = estimate_improvement(scores, others)
            mine, its = (estimate(matrix, interquartile_mean) for matrix in (scores, others))
            apart[name] = mine.low > its.high or its.low > mine.high
        return Improvement(variant, other, tasks, probability, apart)

    def differing_settings(self) -> dict[str, dict[str, Any]]:
        """Settings that are the same in all runs of each variant, but not in all variants.

        Returns:
            Name of the setting to variant to value; None where a variant does not name it.
        """
        names = sorted({name for run in self.runs for name in run.settings})
        table = {}
        for name in names:
            values: dict[str, Any] = {}
            for run in self.runs:
                value = run.settings.get(name)
                if values.setdefault(run.variant, value) != value:
                    break
            else:
                if any(value != values[self.variants[0]] for value in values.values()):
                    table[name] = values
        return table

    def as_json(self) -> dict[str, Any]:
        """All figures, JSON-able."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {str(key): plain(item) for key, item in value.items()}
            if isinstance(value, Estimate):
                return {key: plain(item) for key, item in value._asdict().items()}
            if isinstance(value, (list, tuple)):
                return [plain(item) for item in value]
            return None if isinstance(value, float) and math.isnan(value) else value

        return {
            'runs': [
                {
                    'task': run.task,
                    'variant': run.variant,
                    'seed': run.seed,
                    'total_steps': run.total_steps,
                    'action_repeat': run.action_repeat,
                    'wall_seconds': plain(run.wall_seconds),
                    **plain(asdict(self.measures[run.name])),
                    'evaluation': run.evaluation._asdict() if run.evaluation else None,
                }
                for run in self.runs
            ],
            'tasks': self.tasks,
            'apart': self.apart,
            'aggregates': {name: plain(asdict(one)) for name, one in self.aggregates.items()},
            'improvements': [plain(asdict(one)) for one in self.improvements],
            'missing': self.missing,
        }
