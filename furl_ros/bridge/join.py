# SPDX-License-Identifier: Apache-2.0
"""Join observations and frame scores by stamp. No ROS types: stamps are nanoseconds."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from furl_ros.bridge.limits import JOIN_WAITING

S = TypeVar('S')
NO_ACTION = np.zeros(0, np.float32)
_REMEMBERED = 64  # observations that have had their turn


class Sensed(NamedTuple):
    """The content of an Observation message; ``asked_action`` is empty where none was cut."""

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
    evaluation: bool = False
    discarded: bool = False
    intervened: bool = False
    judged: bool = False
    asked_action: np.ndarray = NO_ACTION

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
    begins: bool
    """It is the first one of its episode that is whole."""


@dataclass
class StampJoin(Generic[S]):
    """Pairs each observation of one source with the score of its frame, in observation order.

    Observations are linked by ``previous_stamp``, scores meet them by stamp; scores may come in any
    order, early or late. Nothing is matched by counting, and there is no clock that one message
    could set: an observation or a score stamped in the future waits, and is in nobody's way. (One
    that names a known observation as the one before it waits for its score like any other.)

    Attributes:
        max_waiting: observations that wait for a score; beyond them the oldest one's is given up
            (its frame was dropped on the way).
        max_early: scores that wait for an observation; beyond them the first one goes.
        in_pairs: leave out steps whose frame before could not be scored.
        counts: what could not be used, by reason.
        newest: stamp of the observation that had its turn last; 0: none yet.
        taken: observations that have had their turn.
    """

    max_waiting: int = JOIN_WAITING
    max_early: int = 1_000
    in_pairs: bool = False
    counts: Counter = field(default_factory=Counter)
    newest: int = 0
    taken: int = 0
    _waiting: deque[Sensed] = field(default_factory=deque)
    _scores: dict[int, S | None] = field(default_factory=dict)
    # Observations that have had their turn, with their scores: those that others may follow.
    _done: dict[int, tuple[Sensed, S | None]] = field(default_factory=dict)
    # Stamps of observations, the first ones first, and whether they have had their turn.
    _known: dict[int, bool] = field(default_factory=dict)
    _floor: int = -1
    # The observation that the newest whole step led to, and whether an episode was opened since.
    _newest_step: Sensed | None = None
    _opened: bool = False

    @property
    def in_flight(self) -> int:
        """Steps whose frame's score has not come yet."""
        # Of a copy: diagnostics ask from another thread.
        return sum(observation.step > 0 for observation in tuple(self._waiting))

    @property
    def waiting(self) -> list[int]:
        """Stamps of the observations that wait for a score."""
        return [observation.stamp for observation in self._waiting]

    def restart(self, stamp: int) -> None:
        """Forget everything before ``stamp``: an episode starts there that we asked for."""
        self._floor = max(self._floor, stamp)
        self._waiting = deque(o for o in self._waiting if o.stamp >= stamp)
        self._scores = {s: score for s, score in self._scores.items() if s >= stamp}
        self._done = {s: done for s, done in self._done.items() if s >= stamp}

    def add_observation(self, observation: Sensed) -> bool:
        """Queue an observation; False (and counted) when it is known, or lies before a restart."""
        stamp = observation.stamp
        if stamp < self._floor or stamp in self._known:
            self.counts['observations in the past'] += 1
            return False
        self._known[stamp] = False
        if len(self._known) > self.max_waiting + _REMEMBERED:
            del self._known[next(iter(self._known))]
        self._waiting.append(observation)
        return True

    def discard(self, observation: Sensed) -> bool:
        """Leave out the episode that this observation ends: it was thrown away.

        Returns:
            Whether the steps that came out last are of this very episode.
        """
        gone = [o for o in self._waiting if o.episode == observation.episode]
        self._waiting = deque(o for o in self._waiting if o.episode != observation.episode)
        for one in (*gone, observation):
            self._known[one.stamp] = True
            self._scores.pop(one.stamp, None)
        if any(one.step == 0 for one in gone) or self._is_new(observation):
            return False
        self._newest_step = None
        return True

    def add_score(self, stamp: int, score: S | None) -> None:
        """Take the score of the frame with this stamp; None when the frame could not be scored."""
        if self.has_passed(stamp):
            self.counts['scores in the past'] += 1
            return
        # The first one counts, so that all who read the same scores join the same steps.
        self._scores.setdefault(stamp, score)
        if len(self._scores) > self.max_early + len(self._waiting):
            early = next((s for s in self._scores if s not in self._known), None)
            if early is not None:
                del self._scores[early]
                self.counts['scores without an observation'] += 1

    def score_of(self, stamp: int) -> tuple[bool, S | None]:
        """Whether it is known how the frame with this stamp was scored, and its score.

        The score is None where it could not be scored.
        """
        if stamp in self._scores:
            return True, self._scores[stamp]
        if stamp in self._done:
            return True, self._done[stamp][1]
        return False, None

    def has_passed(self, stamp: int) -> bool:
        """Whether the observation with this stamp has had its turn, or never will."""
        if stamp < self._floor:
            return True
        if stamp in self._known:
            return self._known[stamp]
        # It is forgotten, or was lost, when all these came after it: no few from the future.
        return len(self._done) == _REMEMBERED and stamp < min(self._done)

    def give_up(self, stamp: int) -> list[int]:
        """Go on without the scores of the observations up to this one.

        Returns:
            Stamps of those whose scores were missing.
        """
        if stamp not in self.waiting:
            return []
        place = self.waiting.index(stamp) + 1
        missing = [s for s in self.waiting[:place] if s not in self._scores]
        self._scores |= dict.fromkeys(missing)
        return missing

    def pop(self) -> list[Joined[S]]:
        """Every step that is complete by now, in order.

        A reset observation opens an episode and is no step. A step is left out, and counted,
        when its frame could not be scored, or never was, or its predecessor is not known, or (in
        pairs) has no score.
        """
        steps = []
        while self._waiting:
            scored = self._waiting[0].stamp in self._scores
            if not scored and len(self._waiting) <= self.max_waiting and not self._is_stray():
                break
            after = self._waiting.popleft()
            self.newest, self.taken = after.stamp, self.taken + 1
            if after.stamp in self._known:
                self._known[after.stamp] = True
            score = self._scores.pop(after.stamp, None)
            before, previous_score = self._done.get(after.previous_stamp, (None, None))
            self._done[after.stamp] = after, score
            if len(self._done) > _REMEMBERED:
                del self._done[next(iter(self._done))]
                self._drop_passed_scores()
            if after.step == 0:
                self._opened = True
                continue
            if before is None:
                self.counts['steps without their predecessor'] += 1
                continue
            if not scored:
                self.counts['steps whose frame was never scored'] += 1
            elif score is None:
                self.counts['steps whose frame could not be scored'] += 1
            elif self.in_pairs and previous_score is None:
                self.counts['steps whose frame before has no score'] += 1
            else:
                steps.append(Joined(before, after, score, previous_score, self._is_new(after)))
                self._newest_step, self._opened = after, False
        return steps

    def _is_new(self, observation: Sensed) -> bool:
        """Whether it is of another episode than the newest whole step.

        The number alone does not tell: a robot that is started anew counts from the same one.
        """
        newest = self._newest_step
        if newest is None or self._opened or observation.episode != newest.episode:
            return True
        return observation.step <= newest.step

    def _drop_passed_scores(self) -> None:
        """Nobody asked for those that still wait for an observation when its turn is over."""
        oldest = min(self._done)
        passed = [s for s in self._scores if s < oldest and s not in self._known]
        for stamp in passed:
            del self._scores[stamp]
            self.counts['scores in the past'] += 1

    def _is_stray(self) -> bool:
        """Whether the first one that waits is no step, and the next one does not follow it.

        It is of an episode that was broken off, or nobody of this run sent it: its score may never
        come, and holds nobody up.
        """
        if len(self._waiting) < 2:
            return False
        first, second = self._waiting[0], self._waiting[1]
        is_step = first.step > 0 and first.previous_stamp in self._done
        is_followed = second.step > 0 and second.previous_stamp == first.stamp
        return not is_step and not is_followed
