# SPDX-License-Identifier: Apache-2.0
"""The episode that people look at: steps and scores, joined by stamp, some of which may be lost."""

import itertools
import math
from typing import NamedTuple

import numpy as np

from furl_ros.monitor.pictures import Moment

MOST_STEPS = 5_000  # kept of an episode without end
MOST_EARLY = 500  # scores that are kept for steps to come


class Score(NamedTuple):
    """What the model says of a frame; see ``Moment``."""

    cosine: float
    reward: float
    heads_version: int


class SeenStep(NamedTuple):
    """One step as the robot tells it; see ``Moment``.

    Attributes:
        episode: its number.
        place: of the gripper, x, y, z in metres, world frame; None where nobody knows.
    """

    episode: int
    step: int
    success: bool
    agent: str
    place: tuple[float, float, float] | None


UNKNOWN = Score(math.nan, math.nan, 0)


class WatchedEpisode:
    """Collects the steps of the newest two episodes: scores come behind, and frames are late.

    Stamps (nanoseconds) of one robot grow. An earlier one means that another run has begun, and all
    that was before is forgotten.
    """

    def __init__(self) -> None:
        self._steps: dict[int, SeenStep] = {}
        self._scores: dict[int, Score] = {}
        self._newest = 0
        self._scored = 0

    @property
    def newest(self) -> int | None:
        """Stamp of the newest step; None before the first."""
        return self._newest if self._steps else None

    @property
    def newest_scored(self) -> int | None:
        """Stamp of the newest step whose frame has a score; None when there is none."""
        return self._scored if self._scored in self._steps else None

    def knows(self, stamp: int) -> bool:
        """Whether there is a step of that stamp."""
        return stamp in self._steps

    def add_step(self, stamp: int, step: SeenStep) -> None:
        """The robot has made a step."""
        if stamp <= self._newest:
            if stamp in self._steps:
                return
            self._steps.clear()
            self._scores.clear()
            self._scored = 0
        self._newest = stamp
        self._steps[stamp] = step
        if step.step == 0 or len(self._steps) > MOST_STEPS:
            kept = list(self._steps.items())[-MOST_STEPS // 2 :]
            self._steps = {s: seen for s, seen in kept if step.episode - seen.episode in (0, 1)}
            first = next(iter(self._steps))
            self._scores = {s: score for s, score in self._scores.items() if s >= first}
        if stamp in self._scores:
            self._scored = stamp

    def add_score(self, stamp: int, score: Score) -> None:
        """The model has scored a frame, before or after its step came."""
        self._scores[stamp] = score
        if stamp in self._steps:
            self._scored = max(self._scored, stamp)
        elif len(self._scores) > len(self._steps) + MOST_EARLY:
            for early in [s for s in self._scores if s not in self._steps][: -MOST_EARLY // 2]:
                del self._scores[early]

    def until(self, stamp: int) -> tuple[list[Moment], np.ndarray]:
        """The episode of a step up to that step.

        Args:
            stamp: of a known step.

        Returns:
            The moments, and the gripper's places: float64 [moments, 3], NaN where not known.
        """
        found = [(s, seen) for s, seen in self._steps.items() if s <= stamp]
        # A robot that was started anew counts its episodes from the same number.
        before = [
            place
            for place, ((_, one), (_, other)) in enumerate(itertools.pairwise(found), 1)
            if other.episode != one.episode or other.step <= one.step
        ]
        found = found[before[-1] if before else 0 :]
        moments = []
        for one, seen in found:
            score = self._scores.get(one, UNKNOWN)
            moments.append(
                Moment(
                    seen.step,
                    score.cosine,
                    score.reward,
                    seen.success,
                    seen.agent,
                    score.heads_version,
                )
            )
        nowhere = (math.nan, math.nan, math.nan)
        places = np.array([seen.place or nowhere for _, seen in found], np.float64)
        return moments, places.reshape(-1, 3)
