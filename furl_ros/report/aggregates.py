# SPDX-License-Identifier: Apache-2.0
"""Aggregates over tasks with intervals, after Agarwal et al. (NeurIPS 2021, arXiv 2108.13264).

The definitions are those of the authors' library rliable 1.2.0, and the tests compare with what it
printed. The library itself is not used: it brings pandas, statsmodels, arch and seaborn (150 MB)
for these few lines, cannot be imported with the releases that pip takes for it (arch 7.2 fails
under pandas 3), and draws from NumPy's global generator whatever ``random_state`` says, so that a
table would not come out the same twice.

Scores are float64 [N, M]: N runs of each of M tasks. Intervals come from the stratified bootstrap:
the runs of each task are drawn again with replacement, for themselves; the tasks stay.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

RESAMPLES = 50_000
CONFIDENCE = 0.95
# Beyond these a figure depends on the order in which a machine adds, and with it a rounded 0.425.
DECIMALS = 9
_AT_ONCE = 2_000
_SEED = 0


class Estimate(NamedTuple):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def mean(scores: np.ndarray) -> np.ndarray:
    """Mean over runs and tasks: [..., N, M] to [...]."""
    return scores.mean(axis=(-2, -1))


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """Mean of the middle half of all runs of all tasks: [..., N, M] to [...].

    A quarter of the values, rounded down, is left out at each end.
    """
    values = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = values.shape[-1] // 4
    return values[..., cut : values.shape[-1] - cut].mean(axis=-1)


def improvement(scores: np.ndarray, others: np.ndarray) -> float:
    """Probability that a run of one is better than a run of the other, averaged over the tasks.

    Args:
        scores: [N, M].
        others: [K, M], the same tasks; an equal score counts half.
    """
    return float(_wins(scores, others).mean())


def _wins(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """1 where a run is better than the other, 0.5 where as good: [M, N, K]."""
    difference = scores.T[:, :, None] - others.T[:, None, :]
    return (np.sign(difference) + 1) / 2


def _draws(generator: np.random.Generator, runs: int, tasks: int) -> Iterator[np.ndarray]:
    """Which runs are taken: int64 [R, runs, tasks] again and again, RESAMPLES in all."""
    for start in range(0, RESAMPLES, _AT_ONCE):
        count = min(_AT_ONCE, RESAMPLES - start)
        yield generator.integers(runs, size=(count, runs, tasks))


def _estimate(value: float, resampled: list[np.ndarray]) -> Estimate:
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(np.concatenate(resampled), [tail, 100 - tail])
    return Estimate(*(round(float(figure), DECIMALS) for figure in (value, low, high)))


def estimate(scores: np.ndarray, figure: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """A figure of scores [N, M] with its interval; the same numbers at every call.

    Args:
        scores: [N, M].
        figure: ``mean`` or ``interquartile_mean``.
    """
    generator = np.random.default_rng(_SEED)
    tasks = np.arange(scores.shape[1])
    resampled = [figure(scores[draw, tasks]) for draw in _draws(generator, *scores.shape)]
    return _estimate(figure(scores), resampled)


def estimate_improvement(scores: np.ndarray, others: np.ndarray) -> Estimate:
    """``improvement`` with its interval: both sides are drawn again, each for itself."""
    generator, other = (np.random.default_rng([_SEED, side]) for side in (1, 2))
    wins = _wins(scores, others)
    tasks = np.arange(len(wins))[:, None, None]
    resampled = []
    draws = (_draws(generator, *scores.shape), _draws(other, *others.shape))
    for rows, columns in zip(*draws, strict=True):
        pairs = (rows.transpose(0, 2, 1)[..., None], columns.transpose(0, 2, 1)[..., None, :])
        resampled.append(wins[(tasks, *pairs)].mean(axis=(1, 2, 3)))
    return _estimate(wins.mean(), resampled)
