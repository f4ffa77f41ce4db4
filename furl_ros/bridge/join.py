# SPDX-License-Identifier: Apache-2.0
"""Join observations and frame scores by stamp. No ROS types: stamps are nanoseconds."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import numpy as np

S = TypeVar('S')


class Sensed(NamedTuple):
    """The content of an Observation message."""

    stamp: int
    previous_stamp: int
    episode: int
    step: int
    state: np.ndarray
    action: np.ndarray
    task_reward: float
    success: bool
    terminated: bool
    truncated: bool

    @property
    def last(self) -> bool:
        """This observation ends its episode."""
        return self.terminated or self.truncated


class Joined(NamedTuple, Generic[S]):
    """A step whose two observations and score have met."""

    before: Sensed
    after: Sensed
    score: S
    previous_score: S | None
    """That of the frame before; None when that could not be scored."""


@dataclass
class StampJoin(Generic[S]):
    """Pairs each observation of one source with the score of its frame, in observation order.

    Observations must come in order of stamp (they do: one reliable writer); scores may come in
    any order, early or late. Nothing is matched by counting.

    Attributes:
        max_waiting: observations that wait for a score; beyond them the oldest one's is given up
            (its frame was dropped on the way). More than lock-step can have under way: the
            steps in flight (60) and the depth of the queues (64).
        max_waiting_scores: scores that wait for an observation.
        in_pairs: leave out steps whose frame before could not be scored.
        counts: what could not be used, by reason.
    """

    max_waiting: int = 128
    max_waiting_scores: int = 1_000
    in_pairs: bool = False
    counts: Counter = field(default_factory=Counter)
    _waiting: deque[Sensed] = field(default_factory=deque)
    _scores: dict[int, S | None] = field(default_factory=dict)
    _before: Sensed | None = None
    _previous_score: S | None = None
    _newest: int = -1
    _joined: int = -1

    @property
    def in_flight(self) -> int:
        """Steps whose frame's score has not come yet."""
        return sum(observation.step > 0 for observation in self._waiting)

    def restart(self, stamp: int) -> None:
        """Forget everything before ``stamp``: an episode starts there that we asked for."""
        self._waiting = deque(o for o in self._waiting if o.stamp >= stamp)
        self._scores = {s: score for s, score in self._scores.items() if s >= stamp}
        if self._before is not None and self._before.stamp < stamp:
            self._before = None
        self._joined = max(self._joined, stamp - 1)
        self._newest = max(self._newest, stamp - 1)

    def add_observation(self, observation: Sensed) -> bool:
        """Queue an observation; False (and counted) when its stamp lies in the past."""
        if observation.stamp <= max(self._newest, self._joined):
            self.counts['observations in the past'] += 1
            return False
        self._newest = observation.stamp
        self._waiting.append(observation)
        return True

    def add_score(self, stamp: int, score: S | None) -> None:
        """Take the score of the frame with this stamp; None when the frame could not be scored."""
        if stamp <= self._joined:
            self.counts['scores in the past'] += 1
            return
        # The first one counts, so that all who read the same scores join the same steps.
        self._scores.setdefault(stamp, score)
        if len(self._scores) > self.max_waiting_scores:
            self._scores.pop(min(self._scores))
            self.counts['scores without an observation'] += 1

    def pop(self) -> list[Joined[S]]:
        """Every step that is complete by now, in order.

        A reset observation opens an episode and is no step. A step is left out, and counted,
        when its frame could not be scored, or never was, or its predecessor is not the
        observation before it, or (in pairs) has no score.
        """
        steps = []
        while self._waiting:
            scored = self._waiting[0].stamp in self._scores
            if not scored and len(self._waiting) <= self.max_waiting:
                break
            after = self._waiting.popleft()
            score = self._scores.pop(after.stamp, None)
            before, self._before, self._joined = self._before, after, after.stamp
            previous_score, self._previous_score = self._previous_score, score
            if after.step == 0:
                continue
            if before is None or before.stamp != after.previous_stamp:
                self.counts['steps without their predecessor'] += 1
            elif not scored:
                self.counts['steps whose frame was never scored'] += 1
            elif score is None:
                self.counts['steps whose frame could not be scored'] += 1
            elif self.in_pairs and previous_score is None:
                self.counts['steps whose frame before has no score'] += 1
            else:
                steps.append(Joined(before, after, score, previous_score))
        return steps
