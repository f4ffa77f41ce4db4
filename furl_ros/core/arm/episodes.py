# SPDX-License-Identifier: Apache-2.0
"""When an episode of a physical arm begins and ends.

The node carries out what ``Episodes.step`` asks for and tells what came of it. Times are seconds of
one monotonic clock, given by the caller.
"""

import enum
from collections import Counter
from typing import NamedTuple

import numpy as np

from furl_ros.core.arm.profile import MOVE, WAIT_FOR_READY, Episode

SUCCESS, FAILURE = 'success', 'failure'
ENDED, THROWN_AWAY = 'ended by the operator', 'thrown away by the operator'


class Phase(enum.Enum):
    """Where between two episodes the arm is."""

    WAITING = 'waiting for a reset'
    RESETTING = 'resetting'
    RUNNING = 'running'


class ResetStep(NamedTuple):
    """Something to be carried out before the episode begins."""

    kind: str
    """CALL_SERVICE, MOVE (send the trajectory and report positions) or WAIT_FOR_READY."""
    number: int
    """Unique: an answer that comes late is for this step and for no other."""
    began: float


class Outcome(NamedTuple):
    """How an episode ended."""

    success: bool
    terminated: bool
    """The task itself ended it (success or failure): no value beyond."""
    truncated: bool
    """Time or an abort ended it: the value beyond counts."""
    reason: str
    discarded: bool = False
    """The operator threw it away."""
    judged: bool = False
    """The reward says that it is a success; nobody else has."""


class Episodes:
    """The episodes of one robot, one after the other.

    Attributes:
        phase: the phase.
        step: what is to be carried out now; None but in RESETTING.
        error: why the last reset came to nothing; '' otherwise.
        counts: labels that did not count, by reason.
    """

    def __init__(self, config: Episode) -> None:
        self.phase = Phase.WAITING
        self.step: ResetStep | None = None
        self.error = ''
        self.counts: Counter[str] = Counter()
        self._config = config
        self._to_do: list[str] = []
        self._steps = 0
        self._began = 0.0
        # Unknown until a topic has spoken: what it says first may be long over.
        self._levels: dict[str, bool] = {}
        self._label = self._ended = ''
        self._judged = False

    def reset(self, now: float) -> None:
        """Begin a reset, whatever is under way: an episode that runs is dropped."""
        self.phase, self.error = Phase.RESETTING, ''
        self._to_do = list(self._config.reset.kinds)
        self._next(now)

    def step_done(self, step: ResetStep, now: float) -> None:
        """A step was carried out. An answer for a step of before is left alone."""
        if step == self.step:
            self._next(now)

    def step_failed(self, step: ResetStep, reason: str) -> None:
        """A step could not be carried out: the reset comes to nothing."""
        if step == self.step:
            self._give_up(reason)

    def at(self, positions: np.ndarray, now: float) -> None:
        """Tell the measured joint positions [J]: a MOVE is done when they are there."""
        if self.step is None or self.step.kind != MOVE:
            return
        reset = self._config.reset
        # Not a number is not there.
        if (np.abs(np.asarray(positions) - reset.positions) <= reset.tolerance).all():
            self._next(now)

    def ready(self, now: float) -> bool:
        """The person says that everything is in its place.

        Returns:
            False, and nothing happens, when nobody waits for that: it is not kept for later.
        """
        if self.step is None or self.step.kind != WAIT_FOR_READY:
            return False
        self._next(now)
        return True

    def level(self, label: str, value: bool) -> None:
        """Take the level of a Bool topic (SUCCESS or FAILURE).

        It counts where it turns from false to true in a running episode. What is true from before,
        or when it is heard for the first time, does not count until it has been false.
        """
        before = self._levels.get(label)
        self._levels[label] = value
        if not value or before:
            return
        if before is None:
            self.counts[f'{label} that was never false before'] += 1
        else:
            self.label(label)

    def label(self, label: str, judged: bool = False) -> bool:
        """Somebody says SUCCESS or FAILURE now. The first label of an episode counts.

        Args:
            label: which.
            judged: it is the reward that says so.

        Returns:
            Whether it counts.
        """
        if self.phase is not Phase.RUNNING:
            self.counts[f'{label} while no episode runs'] += 1
            return False
        if self._label:
            self.counts[f'{label} after {self._label}'] += 1
            return False
        self._label, self._judged = label, judged
        return True

    def tick(self, now: float) -> Outcome | None:
        """Look at the time and at the labels, once in a control step.

        Returns:
            How the episode ended, once; the arm then waits for a reset. None while it goes on, and
            when none runs.
        """
        if self.step is not None:
            self._check_time(self.step, now)
        if self.phase is not Phase.RUNNING:
            return None
        if self._ended == THROWN_AWAY:
            self.phase = Phase.WAITING
            return Outcome(False, False, True, THROWN_AWAY, True)
        if self._label:
            self.phase = Phase.WAITING
            return self._labelled()
        if self._ended:
            self.phase = Phase.WAITING
            return Outcome(False, False, True, ENDED)
        # Written so that a time that is not a number ends it.
        if not now - self._began < self._config.time_limit_s:
            self.phase = Phase.WAITING
            return Outcome(False, False, True, 'time limit')
        return None

    def abort(self, reason: str) -> Outcome | None:
        """End what is under way (a stop, an operator).

        Returns:
            The outcome of the episode that ran; None when none did.
        """
        if self.phase is Phase.RESETTING:
            self._give_up(reason)
        if self.phase is not Phase.RUNNING:
            return None
        self.phase = Phase.WAITING
        if self._ended == THROWN_AWAY:
            return Outcome(False, False, True, THROWN_AWAY, True)
        if self._label:
            return self._labelled()
        return Outcome(False, False, True, reason)

    def _labelled(self) -> Outcome:
        """How an episode ended that has a label."""
        reason = f'{self._label}, by the reward' if self._judged else self._label
        return Outcome(self._label == SUCCESS, True, False, reason, judged=self._judged)

    def end(self, discard: bool) -> bool:
        """The operator ends the running episode, at the next control step.

        Args:
            discard: throw it away: it is recorded again.

        Returns:
            Whether an episode runs.
        """
        if self.phase is not Phase.RUNNING:
            return False
        self._ended = THROWN_AWAY if discard else ENDED
        return True

    def take_error(self) -> str:
        """Why the last reset came to nothing, told once; '' otherwise."""
        error, self.error = self.error, ''
        return error

    def _next(self, now: float) -> None:
        if self._to_do:
            self._steps += 1
            self.step = ResetStep(self._to_do.pop(0), self._steps, now)
            return
        self.step, self.phase = None, Phase.RUNNING
        self._began, self._label, self._ended = now, '', ''

    def _give_up(self, reason: str) -> None:
        self.phase, self.step, self.error = Phase.WAITING, None, reason

    def _check_time(self, step: ResetStep, now: float) -> None:
        reset = self._config.reset
        limit = reset.timeout_s
        if step.kind == WAIT_FOR_READY:
            limit = reset.ready_timeout_s or float('inf')
        elif step.kind == MOVE:
            limit += reset.move_s
        if not now - step.began <= limit:
            self._give_up(f'reset: {step.kind} took more than {limit:g} s')
