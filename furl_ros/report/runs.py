# SPDX-License-Identifier: Apache-2.0
"""Finished runs, read from the folders that a sweep leaves: <task>/<variant>/s<seed>/.

Files count actions; everything here is in environment steps, which are actions times
``action_repeat``.
"""

import csv
import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from furl_ros.core.methods import METHODS
from furl_ros.core.run import CONFIG
from furl_ros.core.settings import SettingError

RUN = 'run.yaml'
EPISODES, CURVES, EVALUATIONS = 'episodes.csv', 'curves.csv', 'evaluations.csv'
LAYOUT = f'<results>/<task>/<variant>/s<seed>/ with {RUN} and {EPISODES} in it'
_COMMIT_LENGTH = 12
PHASES = ('random', 'relay', 'vlm', 'sac')


class Evaluation(NamedTuple):
    """The last evaluation of a run."""

    episodes: int
    any_step: float
    last_step: float


@dataclass(frozen=True)
class Run:
    """One run. Arrays have one entry per finished training episode [N] or row of the curves [C]."""

    folder: Path
    task: str
    variant: str
    seed: int
    method: str
    settings: dict[str, Any]
    commit: str
    machine: str
    wall_seconds: float
    """As the sweep measured it; NaN where it did not."""
    action_repeat: int
    total_steps: int
    """Environment steps that the run was to have."""
    ends: np.ndarray
    """Environment steps of the run when the episode ended, int64 [N]."""
    lengths: np.ndarray
    """Environment steps of the episode, int64 [N]."""
    any_step: np.ndarray
    """The task was solved at some step, bool [N]."""
    last_step: np.ndarray
    """It was solved at the last step, bool [N]."""
    phases: np.ndarray
    """Who acted, one of PHASES, str [N]."""
    evaluation: Evaluation | None
    curve_steps: np.ndarray
    """Environment steps, int64 [C]."""
    curve_seconds: np.ndarray
    """Wall time since the run began, that between two starts left out, float64 [C]."""
    curve_relay: np.ndarray
    """The relay was on, bool [C]."""

    @property
    def name(self) -> str:
        """<task>/<variant>/s<seed>."""
        return f'{self.task}/{self.variant}/s{self.seed}'

    @property
    def reached(self) -> int:
        """Environment steps that its tables tell of."""
        return max([*self.ends[-1:].tolist(), *self.curve_steps[-1:].tolist(), 0])

    @property
    def finished(self) -> bool:
        """Whether it came to its end: what is missing is shorter than an episode."""
        if not len(self.ends):
            return False
        left = self.total_steps - int(self.ends[-1])
        return self.reached >= self.total_steps or left < int(self.lengths.max())


class Results(NamedTuple):
    """What a results folder holds."""

    runs: list[Run]
    """Finished ones, by task, variant and seed."""
    missing: list[str]
    """One line for each run that is not finished or not there."""


def _number(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value


def _flag(text: str) -> bool:
    return {'True': True, 'False': False}[text]


def _phase(text: str) -> str:
    return PHASES[PHASES.index(text)]


# Columns that are read, and what they hold.
_EPISODE = {
    'total_steps': _number,
    'length': _number,
    'phase': _phase,
    'success_any_step': _flag,
    'success_last_step': _flag,
}
_CURVE = {'total_steps': _number, 'wall_seconds': float, 'relay': _number}
_EVALUATION = {
    'total_steps': _number,
    'episodes': _number,
    'success_any_step': float,
    'success_last_step': float,
}


def read_table(path: Path, columns: dict[str, Callable[[str], Any]]) -> dict[str, list]:
    """Read columns of a CSV file with a header; a last row that a dying machine tore is left out.

    Args:
        path: the file.
        columns: name to the function that reads a cell and raises ValueError or KeyError.

    Raises:
        SettingError: names the file, the line and what is accepted.
    """
    try:
        with open(path, newline='', encoding='utf-8') as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or []
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingError(f'{path} cannot be read: {error}') from None
    for name in columns:
        if name not in names:
            raise SettingError(
                f'{path} has no column {name!r}; accepted: a CSV file with {", ".join(columns)}'
            )
    if rows and None in rows[-1].values():
        rows.pop()
    table: dict[str, list] = {name: [] for name in columns}
    for line, row in enumerate(rows, 2):
        for name, read in columns.items():
            try:
                table[name].append(read(row[name]))
            except (ValueError, KeyError, TypeError):
                raise SettingError(
                    f'{path}, line {line}: {name} is {row[name]!r}; accepted: what a run writes'
                ) from None
    steps = table.get('total_steps', [])
    for line, (before, after) in enumerate(itertools.pairwise(steps), 3):
        if after < before:
            raise SettingError(
                f'{path}, line {line}: total_steps is {after} after {before}; accepted: rows in'
                ' order'
            )
    return table


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingError(f'{path} cannot be read: {" ".join(str(error).split())}') from None
    if not isinstance(content, dict):
        raise SettingError(f'{path} holds no mapping; accepted: a YAML mapping')
    return content


def _get(path: Path, content: dict[str, Any], name: str, kind: type) -> Any:
    value = content.get(name)
    if type(value) is not kind or (kind is int and value < 0):
        raise SettingError(
            f'{path}: {name} is {value!r}; accepted: a value of type {kind.__name__}'
        )
    return value


def _add_up(seconds: list[float]) -> np.ndarray:
    """Wall time of a run of several starts: each counts from 0 again, float64 [C]."""
    total, before = 0.0, 0.0
    added = []
    for now in seconds:
        total += now - before if now >= before else now
        before = now
        added.append(total)
    return np.array(added, np.float64)


def _commit(content: dict[str, Any]) -> str:
    """Git's name of the code, '' where it is not known."""
    commit = str(content.get('commit') or '')[:_COMMIT_LENGTH]
    return f'{commit} with changes' if commit and content.get('dirty') else commit


def _machine(machine: Any) -> str:
    if isinstance(machine, dict):
        parts = {'processor': '{}', 'cores': '{} cores'}
        return ', '.join(text.format(machine[k]) for k, text in parts.items() if k in machine)
    return str(machine or '')


def read_run(folder: Path) -> Run:
    """Read one run.

    Raises:
        SettingError: a file is missing or broken.
    """
    path = folder / RUN
    content = _read_mapping(path)
    stored = _read_mapping(folder / CONFIG) if (folder / CONFIG).exists() else {}
    given = content.get('settings') or {}
    if not isinstance(given, dict):
        raise SettingError(f'{path}: settings is {given!r}; accepted: a mapping')
    settings = stored | given
    repeat = content.get('action_repeat', settings.get('action_repeat', 1))
    repeat = _get(path, {'action_repeat': repeat}, 'action_repeat', int)
    method = settings.get('method', content.get('method'))
    if method not in METHODS:
        raise SettingError(f'{path}: method is {method!r}; accepted: {", ".join(METHODS)}')

    episodes = read_table(folder / EPISODES, _EPISODE)
    curves: dict[str, list] = {name: [] for name in _CURVE}
    if (folder / CURVES).exists():
        curves = read_table(folder / CURVES, _CURVE)
    evaluation = None
    if (folder / EVALUATIONS).exists():
        table = read_table(folder / EVALUATIONS, _EVALUATION)
        rows = [table[name] for name in ('episodes', 'success_any_step', 'success_last_step')]
        evaluation = Evaluation(*(column[-1] for column in rows)) if rows[0] else None
    seconds = content.get('wall_seconds')
    return Run(
        folder,
        _get(path, content, 'task', str),
        _get(path, content, 'variant', str),
        _get(path, content, 'seed', int),
        method,
        settings,
        _commit(content),
        _machine(content.get('machine')),
        float(seconds) if isinstance(seconds, (int, float)) else math.nan,
        repeat,
        _get(path, content, 'total_steps', int) * repeat,
        np.array(episodes['total_steps'], np.int64) * repeat,
        np.array(episodes['length'], np.int64) * repeat,
        np.array(episodes['success_any_step'], bool),
        np.array(episodes['success_last_step'], bool),
        np.array(episodes['phase'], str),
        evaluation,
        np.array(curves['total_steps'], np.int64) * repeat,
        _add_up(curves['wall_seconds']),
        np.array(curves['relay'], bool),
    )


def read_results(results: Path) -> Results:
    """Read all runs of a results folder.

    Raises:
        SettingError: there is no finished run, a file is broken, or a run is there twice.
    """
    folders = sorted(
        folder for folder in results.glob('*/*/s*') if re.fullmatch(r's\d+', folder.name)
    )
    if not folders:
        raise SettingError(f'{results} holds no runs; accepted: {LAYOUT}')
    found: dict[tuple[str, str, int], Run] = {}
    missing, started = [], set()
    for folder in folders:
        task, variant, seed = *folder.parts[-3:-1], int(folder.name[1:])
        if not (folder / RUN).exists():
            started.add((task, variant, seed))
            missing.append(f'{task}/{variant}/s{seed}: not finished (no {RUN})')
            continue
        run = read_run(folder)
        key = (run.task, run.variant, run.seed)
        if key in found:
            raise SettingError(
                f'{folder} and {found[key].folder} are both {run.name}; accepted: each run once'
            )
        if run.finished:
            found[key] = run
        else:
            started.add(key)
            missing.append(
                f'{run.name}: not finished ({run.reached:,} of {run.total_steps:,} environment'
                ' steps)'
            )
    if not found:
        raise SettingError(f'{results} holds no finished run: {"; ".join(missing)}')
    return Results([found[key] for key in sorted(found)], missing + _gaps(found, started))


def _gaps(found: dict[tuple[str, str, int], Run], started: set[tuple[str, str, int]]) -> list[str]:
    """What others of the same task have, and this variant has not even begun."""
    gaps = []
    known = set(found) | started
    variants = sorted({variant for _, variant, _ in known})
    for task in sorted({task for task, _, _ in known}):
        seeds = sorted({seed for name, _, seed in known if name == task})
        for variant in variants:
            absent = [seed for seed in seeds if (task, variant, seed) not in known]
            if absent == seeds:
                gaps.append(f'{task}/{variant}: no runs')
            elif absent:
                gaps.append(f'{task}/{variant}: no seed {", ".join(map(str, absent))}')
    return gaps
