# SPDX-License-Identifier: Apache-2.0
"""rewards.csv: what the reward was along a few episodes of a run (written by ``rewards``)."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from furl_ros.core.settings import SettingError
from furl_ros.report.runs import Run, read_table

REWARDS = 'rewards.csv'
FAILED, FIRST_SUCCESS, LAST_SUCCESS = KINDS = ('failed', 'first_success', 'last_success')
_CURVES = ('initial', 'final', 'prompt_cosine', 'goal_cosine')
COLUMNS = ('episode_kind', 'episode', 'step', 'success', *_CURVES)


class Trace(NamedTuple):
    """One episode, T steps."""

    kind: str
    episode: int
    steps: np.ndarray
    """Environment steps of the episode, int64 [T]."""
    success: np.ndarray
    """bool [T]"""
    rewards: dict[str, np.ndarray]
    """'initial', 'final', 'prompt_cosine', 'goal_cosine' (where there is one): float64 [T]."""


def _kind(text: str) -> str:
    return KINDS[KINDS.index(text)]


def _flag(text: str) -> bool:
    return {'True': True, 'False': False}[text]


def _reward(text: str) -> float:
    return float(text) if text else np.nan


_READERS = {'episode_kind': _kind, 'episode': int, 'step': int, 'success': _flag}


def read_traces(run: Run) -> list[Trace]:
    """Read the rewards.csv of a run; nothing where there is none.

    Raises:
        SettingError: the file is broken.
    """
    path: Path = run.folder / REWARDS
    if not path.exists():
        return []
    table = read_table(path, _READERS | dict.fromkeys(_CURVES, _reward))
    kinds = np.array(table['episode_kind'], str)
    traces = []
    for kind in dict.fromkeys(table['episode_kind']):
        rows = np.flatnonzero(kinds == kind)
        steps = np.array(table['step'], np.int64)[rows]
        if not np.array_equal(steps, np.arange(1, len(rows) + 1)):
            raise SettingError(f'{path}: {kind} has not the steps 1, 2, ...; accepted: all of them')
        columns = {name: np.array(table[name], np.float64)[rows] for name in _CURVES}
        traces.append(
            Trace(
                kind,
                table['episode'][rows[0]],
                steps * run.action_repeat,
                np.array(table['success'], bool)[rows],
                {name: values for name, values in columns.items() if np.isfinite(values).all()},
            )
        )
    return traces
