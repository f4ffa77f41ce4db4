# SPDX-License-Identifier: Apache-2.0
"""Whether a node is well: limits of the values that its diagnostics tell, and counts that grow.

docs/diagnostics.md is made from here: ``python -m furl_ros.bridge.reference diagnostics``.
"""

import enum
import math
import shutil
from collections import deque
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

WINDOW_S = 10.0
"""Seconds for which a count that grew is worth a warning, and over which rates are taken."""


class Level(enum.IntEnum):
    """As in diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


class Rule(NamedTuple):
    """Limits of a value."""

    value: str
    """Its name in /diagnostics; a pattern where there are several of a kind."""
    warn: float
    error: float
    """Beyond it; inf (or -inf): no such limit."""
    meaning: str
    """What it is, with its unit, and what to do."""
    low_is_bad: bool = False

    def level(self, value: float) -> Level:
        """How good a value is."""
        for level, limit in ((Level.ERROR, self.error), (Level.WARN, self.warn)):
            if value < limit if self.low_is_bad else value > limit:
                return level
        return Level.OK


EVERYWHERE = (
    Rule(
        'lag_s',
        1,
        10,
        'Seconds that the thread which takes messages in came too late to its work, at the most, in'
        ' the last 10: the machine is too slow, or swaps, or the node was stopped.',
    ),
    Rule(
        'memory_left_mb',
        500,
        100,
        'Memory that this machine, or the container, can still give, MB: a node that gets none is'
        ' killed. Smaller: `buffer_size`, `num_sims`, the model.',
        low_is_bad=True,
    ),
)
"""Of every node."""

NOT_FINITE = Rule(
    'not_finite',
    math.inf,
    0,
    'Losses and figures that are NaN or infinite now: nothing is learned any more. Stop, and go on'
    ' from a checkpoint before that with a smaller learning rate.',
)
RULES: dict[str, tuple[Rule, ...]] = {
    'sim_node': (),
    'reward_node': (
        Rule(
            'frame_age_s',
            10,
            60,
            'Seconds that the frame which waits longest for its score has waited: the model is too'
            ' slow for what comes. A smaller model, a GPU, fewer simulators.',
        ),
    ),
    'alignment_node': (
        Rule(
            'steps_waiting',
            120,
            math.inf,
            'Observations of one robot that wait for the score of their frame: more than may be'
            ' under way. The reward node, or the way from it, is in trouble.',
        ),
        NOT_FINITE,
    ),
    'learner_node': (
        Rule(
            'silent_s',
            5,
            60,
            'Seconds that a robot, or the score of a frame, has been waited for; after'
            ' `stall_timeout` a new episode is asked for.',
        ),
        Rule(
            'heads_lag',
            0.9,
            math.inf,
            'How far the newest heads are behind the robots, as a share of what the queues hold; at'
            ' 1 the learner waits for the alignment.',
        ),
        Rule(
            'disk_left_mb',
            2_000,
            200,
            'Free where the run folder is, MB. Smaller checkpoints: `keep_checkpoints`.',
            low_is_bad=True,
        ),
        NOT_FINITE,
    ),
    'arm_node': (
        Rule(
            'jitter_share',
            0.5,
            1,
            'Lateness of the control steps (99 of 100 were earlier), as a share of the time from'
            ' one to the next: too much runs on this machine.',
        ),
        Rule(
            'messages_waiting',
            1_000,
            math.inf,
            'Messages that wait for the control loop, which drops those beyond 2,000.',
        ),
    ),
    'camera_node': (
        Rule(
            '*/picture_age_s',
            1,
            5,
            'Seconds since the newest picture of a camera came.',
        ),
    ),
    'mock_arm_node': (),
}
"""Of the nodes by themselves."""


class Finding(NamedTuple):
    """A value beyond its limit."""

    level: Level
    name: str
    text: str


def judge(rules: Iterable[Rule], values: Mapping[str, object]) -> list[Finding]:
    """What is beyond the limits; values that are not there, or are NaN, are not judged."""
    found = []
    for rule in rules:
        for name in (name for name in values if fnmatchcase(name, rule.value)):
            value = float(values[name])
            level = rule.level(value)
            if level is not Level.OK:
                limit = rule.error if level is Level.ERROR else rule.warn
                side = 'under' if rule.low_is_bad else 'over'
                found.append(Finding(level, name, f'{name} is {value:g}, {side} {limit:g}'))
    return found


class Recent:
    """How much totals grew lately; they begin at nothing.

    Args:
        now: seconds of a clock that never goes back, as in the calls.
    """

    def __init__(self, now: float) -> None:
        self._looks: deque[tuple[float, dict[str, float]]] = deque([(now, {})])

    def __call__(self, totals: Mapping[str, float], now: float) -> dict[str, float]:
        """Look at the totals; by how much each has grown in the last ``WINDOW_S``, if it has."""
        self._looks.append((now, dict(totals)))
        while len(self._looks) > 2 and self._looks[1][0] <= now - WINDOW_S:
            self._looks.popleft()
        _, before = self._looks[0]
        grown = {name: total - before.get(name, 0) for name, total in totals.items()}
        return {name: more for name, more in grown.items() if more > 0}

    @property
    def seconds(self) -> float:
        """From the look that growth is counted from to the newest one."""
        return self._looks[-1][0] - self._looks[0][0]


class Rate:
    """How much a total grows per second, over the last ``WINDOW_S``; arguments as of ``Recent``."""

    def __init__(self, now: float) -> None:
        self._recent = Recent(now)

    def __call__(self, total: float, now: float) -> float:
        """Look at the total."""
        grown = self._recent({'': total}, now)
        return grown.get('', 0.0) / max(self._recent.seconds, 1e-9)


class Age:
    """For how long a value has been what it is; ``now`` as of ``Recent``."""

    def __init__(self, now: float) -> None:
        self._value: object = None
        self._since = now

    def __call__(self, value: object, now: float) -> float:
        """Look at the value; seconds since the look that first saw it so."""
        if value != self._value:
            self._value, self._since = value, now
        return now - self._since


def count_not_finite(figures: Iterable[float]) -> int:
    """How many of some figures are NaN or infinite."""
    return sum(not math.isfinite(figure) for figure in figures)


def disk_left_megabytes(folder: Path) -> float:
    """Free where a folder is, or will be made, in MB; NaN where the system does not tell."""
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        return shutil.disk_usage(folder).free / 2**20
    except OSError:
        return math.nan
