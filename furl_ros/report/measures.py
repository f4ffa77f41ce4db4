# SPDX-License-Identifier: Apache-2.0
"""The figures of one run; docs/reports.md says each in a sentence."""

from dataclasses import dataclass

import numpy as np

from furl_ros.core.methods import METHODS
from furl_ros.report.aggregates import DECIMALS
from furl_ros.report.runs import Evaluation, Run

# As furl_ros.core.trainer.WINDOW, which costs the import of torch.
WINDOW = 20
THRESHOLDS = (0.5, 0.9)


@dataclass(frozen=True)
class Measures:
    """What a run came to. Steps are environment steps; None: it did not come to that."""

    final_any: float
    """Share of the last 20 training episodes that were successful at any step."""
    final_last: float
    """... at their last step."""
    auc: float
    """Area under the success curve, 0 to 1."""
    evaluation: Evaluation | None
    first_success: int | None
    """End of the first episode that was successful at any step."""
    steps_to: dict[float, int | None]
    """Threshold to the step from which on a full window had it."""
    minutes_to: dict[float, float | None]
    """... and the wall time of it."""
    steps_per_second: float | None
    shares: dict[str, float]
    """Phase to its share of the steps of all finished episodes."""
    relay_ended: int | None
    """The step at which the relay ended; None: it did not."""
    has_relay: bool


def windowed(flags: np.ndarray) -> np.ndarray:
    """Share of successes in the last 20 episodes after each one, fewer at first: [N] to [N]."""
    count = np.concatenate([[0], np.cumsum(flags, dtype=np.int64)])
    last = np.arange(1, len(count))
    first = np.maximum(0, last - WINDOW)
    return (count[last] - count[first]) / (last - first)


def success_at(run: Run, steps: np.ndarray) -> np.ndarray:
    """The success curve: windowed success (any step) after the last episode that has ended.

    Args:
        run: the run.
        steps: environment steps [G]; before the end of the first episode the curve is 0.

    Returns:
        float64 [G].
    """
    values = np.concatenate([[0.0], windowed(run.any_step)])
    return values[np.searchsorted(run.ends, steps, side='right')]


def area(run: Run, until: int) -> float:
    """Mean of the success curve over the environment steps from 0 to ``until``, 0 to 1."""
    inside = run.ends < until
    edges = np.concatenate([run.ends[inside], [until]])
    total = np.sum(windowed(run.any_step)[inside] * np.diff(edges))
    return round(float(total / until), DECIMALS)


def steps_to(run: Run, threshold: float) -> int | None:
    """Environment steps until a full window of 20 episodes has this share of successes."""
    reached = windowed(run.any_step)[WINDOW - 1 :] >= threshold - 1e-9
    return int(run.ends[WINDOW - 1 :][reached.argmax()]) if reached.any() else None


def first_success(run: Run) -> int | None:
    """Environment steps until the first successful training episode (any step) has ended."""
    return int(run.ends[run.any_step.argmax()]) if run.any_step.any() else None


def minutes_at(run: Run, step: int | None) -> float | None:
    """Wall time at an environment step, between the rows of the curves; None without curves."""
    if step is None or not len(run.curve_steps):
        return None
    steps = np.concatenate([[0], run.curve_steps])
    return float(np.interp(step, steps, np.concatenate([[0.0], run.curve_seconds]))) / 60


def relay_ended(run: Run) -> int | None:
    """End of the last episode before it is seen that the relay is over; None when it never is.

    It is over in an episode of the VLM agent alone and in a row of the curves that says so. The
    relay ends with an episode, so that this is the very step unless it ended in the warm-up.
    """
    seen = []
    alone = np.flatnonzero(run.phases == 'vlm')
    if len(alone):
        seen.append(int(run.ends[alone[0] - 1]) if alone[0] else 0)
    off = run.curve_steps[~run.curve_relay]
    if len(off):
        before = run.ends[run.ends <= off[0]]
        seen.append(int(before[-1]) if len(before) else int(off[0]))
    return min(seen) if seen else None


def shares(run: Run) -> dict[str, float]:
    """Share of the steps of finished episodes by phase: 'random', 'relay', 'vlm', 'sac'."""
    total = int(run.lengths.sum())
    names = sorted(set(run.phases.tolist()))
    return {name: float(run.lengths[run.phases == name].sum() / total) for name in names}


def measure(run: Run, until: int) -> Measures:
    """All figures of a run.

    Args:
        run: the run.
        until: environment steps up to which the area is taken.
    """
    reached = {threshold: steps_to(run, threshold) for threshold in THRESHOLDS}
    speed = None
    if len(run.curve_steps) and run.curve_seconds[-1] > 0:
        speed = float(run.curve_steps[-1] / run.curve_seconds[-1])
    has_relay = METHODS[run.method].relay
    return Measures(
        float(np.mean(run.any_step[-WINDOW:])),
        float(np.mean(run.last_step[-WINDOW:])),
        area(run, until),
        run.evaluation,
        first_success(run),
        reached,
        {threshold: minutes_at(run, step) for threshold, step in reached.items()},
        speed,
        shares(run),
        relay_ended(run) if has_relay else None,
        has_relay,
    )
