# SPDX-License-Identifier: Apache-2.0
"""When to act, to take in, to evaluate and to save, from what is under way. No ROS, no clock.

A robot in lock-step waits for the action of each observation: how long it is left waiting is
decided here. One in real time goes on by itself, and is always answered at once.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from furl_ros.core.fair_share import FairShare

PATIENCE_S = 5.0  # seconds of silence after which a robot no longer holds the others back
REAL_TIME_BACKLOG = 100  # updates that may be owed when a robot does not wait for us


class Robot(Protocol):
    """What has to be known of a robot.

    Attributes:
        index: its number.
        name: what people call it.
        lockstep: it waits for the action of each observation.
        todo: the observation that waits for an action, or None.
        blind: the policy sees, and what it is to see with ``todo`` is not there yet.
        in_flight: steps that were begun and not taken in.
        resetting: it was asked for an episode, and has not said that one begins.
        silent_for: seconds that something it owes has been waited for.
        waits_for_scores: it has answered, and only the scores of frames are owed.
        alignment_lead: its observations that the newest heads have not seen.
    """

    index: int
    name: str
    lockstep: bool
    todo: object | None
    blind: bool
    in_flight: int
    resetting: bool
    silent_for: float
    waits_for_scores: bool
    alignment_lead: int


class Learning(Protocol):
    """What has to be known of the trainer.

    Attributes:
        steps: transitions that were taken in.
        owed: updates that they call for and that are not made yet.
    """

    steps: int
    owed: int


@dataclass(frozen=True)
class Pace:
    """How far the parts may run ahead of each other.

    Attributes:
        deterministic: the whole effect of a step comes before the next action; nothing is given up.
        max_in_flight: steps of a robot that may be under way, the updates owed counted in.
        max_lead: steps that a robot may be ahead of the slowest one.
        updates_per_step: updates that each step calls for.
        alignment_lead: observations of a robot that the heads may be behind; None: no matter.
        alignment: name of who trains the heads.
        stall_timeout: seconds of silence after which a new episode is asked for.
    """

    deterministic: bool = False
    max_in_flight: int = 16
    max_lead: int = 16
    updates_per_step: int = 1
    alignment_lead: int | None = None
    alignment: str = 'the alignment'
    stall_timeout: float = 30.0


class Wait(NamedTuple):
    """Something that is waited for too long."""

    text: str
    """To be said."""
    robot: Robot | None = None
    """To be asked for a new episode; None: go on waiting."""


class Due:
    """Something to be done at the multiples of a number of environment steps; never for 0."""

    def __init__(self, every: int, steps: int) -> None:
        self.every = every
        self.done(steps)

    def has_come(self, steps: int, target: int) -> bool:
        """Whether it is time, and the run does not end here anyway."""
        return self._next <= steps < target

    def done(self, steps: int) -> None:
        """It was done at this number of steps."""
        self._next = (steps // self.every + 1) * self.every if self.every else float('inf')


class Pacing:
    """Decides for one learner and its robots.

    Args:
        pace: the limits.
        robots: all of them; ``deterministic`` takes one.
        learning: the trainer.

    Attributes:
        target: steps at which the run ends.
        foreseen: the action that would follow the last step of the run has been chosen.
    """

    def __init__(self, pace: Pace, robots: Sequence[Robot], learning: Learning) -> None:
        self.pace, self.robots, self.learning = pace, robots, learning
        self.target = learning.steps
        self.foreseen = False
        self._share = FairShare(len(robots), pace.max_lead, PATIENCE_S)
        # Of an episode that is played again: the actions that are left, and the steps known.
        self._again: deque[np.ndarray] = deque()
        self._known = 0

    @property
    def wants_more(self) -> bool:
        """Whether steps beyond those that have begun are needed."""
        return self.learning.steps + sum(robot.in_flight for robot in self.robots) < self.target

    @property
    def has_all(self) -> bool:
        """Whether all steps of the run are taken in."""
        return self.learning.steps >= self.target

    @property
    def is_done(self) -> bool:
        """Whether all steps are taken in and all updates made."""
        return self.has_all and self.learning.owed <= 0

    @property
    def holds(self) -> bool:
        """Whether a step is held back until the observation that it leads to is answered.

        So the order of acting and learning does not depend on when a score arrives.
        """
        return self.wants_more or self._foresees

    def hear(self, robot: Robot, now: float) -> None:
        """A robot waits for an action, at this time in seconds."""
        self._share.hear(robot.index, now)

    def may_act(self, robot: Robot, now: float) -> bool:
        """Whether ``todo`` of a robot may be answered now: the back-pressure."""
        if robot.blind:
            return False
        return not robot.lockstep or (
            self.wants_more
            and self._is_fresh(robot)
            and self._share.may_begin(robot.index, now)
            and not self._waits_for_alignment(robot)
        )

    def must_foresee(self, robot: Robot) -> bool:
        """Whether the action is to be chosen and not sent.

        A longer run chooses the action after the last step before it learns from that step.
        """
        ready = not robot.blind and self._is_fresh(robot)
        return self._foresees and not self.wants_more and ready

    def begin(self, robot: Robot) -> None:
        """A robot has been given an action."""
        self._share.begin(robot.index)

    def backlog(self, robot: Robot) -> int | None:
        """Updates that may still be owed after a step of this robot; None: all are made."""
        return None if robot.lockstep else REAL_TIME_BACKLOG

    # An episode that is played again.

    def play_again(self, actions: Iterable[np.ndarray], known: int) -> None:
        """Have these actions carried out first; so many steps of the episode are known."""
        self._again = deque(actions)
        self._known = known

    def begin_episode(self) -> None:
        """A new episode begins: nothing is played again."""
        self.play_again((), 0)

    @property
    def plays_again(self) -> bool:
        """Whether the next action was chosen before."""
        return bool(self._again)

    def next_again(self) -> np.ndarray:
        """That action."""
        return self._again.popleft()

    def is_known(self, step: int) -> bool:
        """Whether a step of the running episode was learned from before."""
        return step <= self._known

    # Who is late.

    def find_waits(self) -> list[Wait]:
        """What is waited for too long.

        Seconds in which nothing was asked of anybody (a long start, an evaluation) do not count,
        nor those in which we wait for the alignment. Bit for bit, no episode can be given up.
        """
        waits = []
        behind = [
            robot.alignment_lead
            for robot in self.robots
            if robot.todo is not None and self._waits_for_alignment(robot)
        ]
        if behind:
            text = f'waiting for {self.pace.alignment}: {max(behind)} observations behind'
            waits.append(Wait(text))
        for robot in self.robots:
            # An episode of one that does not wait for us may itself wait for a person.
            may_rest = robot.resetting and not robot.lockstep
            if may_rest or robot.silent_for <= self.pace.stall_timeout:
                continue
            name = robot.name or 'the source'
            who = 'the reward node' if robot.waits_for_scores else name
            text = f'nothing heard of {who} for {robot.silent_for:.0f} s: '
            if self.pace.deterministic:
                waits.append(Wait(f'{text}waiting'))
            else:
                waits.append(Wait(f'{text}asking {name} for a new episode', robot))
        return waits

    @property
    def _foresees(self) -> bool:
        return self.pace.deterministic and not self.foreseen and not self._again

    def _is_fresh(self, robot: Robot) -> bool:
        """Whether so much is learned that the next action would not come too early."""
        if self.pace.deterministic:
            # Bit for bit: the whole effect of the step before comes first.
            return self.learning.owed <= 0 and robot.in_flight <= 1
        updates = self.pace.updates_per_step * len(self.robots)
        return robot.in_flight + self.learning.owed / updates <= self.pace.max_in_flight

    def _waits_for_alignment(self, robot: Robot) -> bool:
        """Whether a robot is so far ahead of the newest heads that the queues just hold it."""
        limit = self.pace.alignment_lead
        return limit is not None and robot.alignment_lead >= limit
