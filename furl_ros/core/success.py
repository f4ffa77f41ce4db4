# SPDX-License-Identifier: Apache-2.0
"""How successful some episodes were, and how sure that is."""

import math
from collections.abc import Sequence

CONFIDENCE = 0.95


def wilson(successes: int, episodes: int) -> tuple[float, float]:
    """The Wilson interval of a share, 95 %: (low, high); NaN without episodes."""
    if not episodes:
        return math.nan, math.nan
    # Costs a second and much memory: for those who ask alone.
    from scipy.stats import binomtest

    interval = binomtest(successes, episodes).proportion_ci(CONFIDENCE, method='wilson')
    return float(interval.low), float(interval.high)


def summarize(any_step: Sequence[bool], last_step: Sequence[bool]) -> dict[str, float]:
    """Shares of successful episodes, in the terms of Evaluate.action; NaN without episodes."""
    count = len(any_step)
    low, high = wilson(sum(any_step), count)
    return {
        'success_any_step': sum(any_step) / count if count else math.nan,
        'success_any_step_low': low,
        'success_any_step_high': high,
        'success_last_step': sum(last_step) / count if count else math.nan,
    }


def describe(summary: dict[str, float], episodes: int) -> str:
    """``summarize`` in one line."""
    return (
        f'success {summary["success_any_step"]:.2f} (95 % interval'
        f' {summary["success_any_step_low"]:.2f} to {summary["success_any_step_high"]:.2f}),'
        f' at the last step {summary["success_last_step"]:.2f}, {episodes} episodes'
    )
