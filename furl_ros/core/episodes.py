# SPDX-License-Identifier: Apache-2.0
"""The episodes of a learner's robots: begun, acted in and learned from when the pacing says so.

No ROS: a robot is what ``Robot`` says, simulated or not.
"""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from furl_ros.core.pacing import Pacing
from furl_ros.core.pacing import Robot as Paced
from furl_ros.core.replay import NO_ACTION, NO_EMBEDDING, Transition
from furl_ros.core.seeds import episode_seed
from furl_ros.core.trainer import Episode, Trainer


class Sensed(Protocol):
    """An observation; ``action`` (in the robot's units) led to it, ``last`` ends its episode.

    ``asked_action`` is what was asked for before limits cut it; empty: the action itself.
    """

    stamp: int
    step: int
    state: np.ndarray
    action: np.ndarray
    asked_action: np.ndarray
    task_reward: float
    success: bool
    terminated: bool
    last: bool
    intervened: bool
    judged: bool


class Score(Protocol):
    """Of a frame: its raw embedding, float32 [E], and what it was worth when it came."""

    embedding: np.ndarray
    reward: float


class Step(Protocol):
    """Two observations that follow each other, and the scores of their frames."""

    before: Sensed
    after: Sensed
    score: Score
    previous_score: Score | None


class Robot(Paced, Protocol):
    """What has to be known of a robot, and what it can be asked for.

    Attributes:
        newest: stamp of its newest observation; the next episode comes after it.
        period_ns: time between two stamps of a lock-step episode, nanoseconds.
        is_over: its episode has ended, and all that can be learned from it was taken.
        restarted: its process began anew, so that its episode cannot go on.
        discarded: its episode was thrown away, and is to be forgotten.
        sight: raw embedding of the newest frame, float32 [E], for a policy that sees.
    """

    sight: np.ndarray
    todo: Sensed | None
    newest: int
    period_ns: int
    is_over: bool
    restarted: bool
    discarded: bool

    def reset(self, seed: int) -> None:
        """Ask for a new episode."""

    def retry(self) -> None:
        """Ask again, where it was refused for a while."""

    def act(self, action: np.ndarray, agent: str) -> None:
        """Answer ``todo``, and say who chose the action."""

    def lag_at(self, stamp: int) -> int:
        """Steps by which what was seen at an observation was older than its own frame."""

    def take(self, hold: bool) -> Step | None:
        """The next complete step; ``hold``: none that leads to ``todo``."""


class Taken(NamedTuple):
    """A step was taken in."""

    stamp: int
    """Of the observation that it led to."""
    ended: Episode | None
    """The episode, where this was its last step."""


class Episodes:
    """Carries out what the pacing decides, for all of its robots.

    Args:
        pacing: decides.
        trainer: chooses the actions and takes the steps in.
        counts: what went wrong, by name.
        warn: says something to people.

    Attributes:
        learned: stamp of the newest observation of each robot that was learned from; 0: none.
    """

    def __init__(
        self, pacing: Pacing, trainer: Trainer, counts: Counter[str], warn: Callable[[str], None]
    ) -> None:
        self._pacing, self._trainer, self._counts, self._warn = pacing, trainer, counts, warn
        self.learned = {robot.index: 0 for robot in pacing.robots}
        for robot in pacing.robots:
            robot.newest = trainer.replay.newest_stamp(robot.index)
        # Numbers of the episodes that the robots were asked for by us.
        self._numbers: dict[int, int] = {}
        self._first = 0  # stamp that an episode that is played again must begin with

    def begin(self, target: int) -> None:
        """Train until ``target`` steps: every robot that is needed gets an episode."""
        self._pacing.target = target
        for robot in self._pacing.robots:
            if self._pacing.wants_more and not self._go_on(robot):
                self.start(robot)
        self._pacing.foreseen = False

    def start(self, robot: Robot) -> None:
        """Ask a robot for its next episode, with the seed that belongs to it."""
        self._pacing.begin_episode()
        self._reset(robot, self._trainer.start_episode(robot.index))

    def start_next(self, robot: Robot) -> None:
        """The same after the end of an episode, where more steps are wanted."""
        if self._pacing.wants_more:
            self.start(robot)

    def answer(self, now: float) -> bool:
        """Act where that may be done at this time (seconds); False when nothing was to be done."""
        acted = False
        for robot in self._pacing.robots:
            if robot.todo is None:
                continue
            self._pacing.hear(robot, now)
            if self._pacing.may_act(robot, now):
                if self._pacing.plays_again:
                    self._act_again(robot)
                else:
                    robot.act(*self._choose(robot))
                self._pacing.begin(robot)
                acted = True
            elif self._pacing.must_foresee(robot):
                self._choose(robot)
                self._pacing.foreseen = True
        return acted

    def take_in(self, robot: Robot) -> Taken | None:
        """Learn from a robot's next complete step, if there is one."""
        # A robot that does not wait for us goes on while the last updates are made.
        if self._pacing.has_all:
            return None
        joined = robot.take(hold=self._pacing.holds)
        if joined is None:
            return None
        after, previous = joined.after, joined.previous_score
        if self._pacing.is_known(after.step):
            return Taken(after.stamp, None)
        number, asked = self._numbers[robot.index], after.asked_action
        self._trainer.add(
            Transition(
                joined.before.state,
                self._trainer.scale(after.action),
                after.state,
                after.task_reward,
                after.success,
                after.terminated,
                joined.score.embedding,
                after.stamp,
                robot.index,
                number,
                after.step,
                NO_EMBEDDING if previous is None else previous.embedding,
                robot.lag_at(joined.before.stamp),
                after.intervened,
                self._trainer.scale(asked) if len(asked) else NO_ACTION,
            ),
            joined.score.reward,
            float('nan') if previous is None else previous.reward,
        )
        self.learned[robot.index] = after.stamp
        backlog = self._pacing.backlog(robot)
        if backlog is not None:
            self._trainer.forgive(backlog)
        ended = None
        if after.last:
            ended = self._trainer.end_episode(robot.index, number, after.judged)
        return Taken(after.stamp, ended)

    def mend(self, robot: Robot) -> None:
        """Ask for another episode where a robot's own cannot go on, or was thrown away."""
        if robot.discarded:
            steps = self._trainer.forget_episode(robot.index)
            self._counts['episodes thrown away'] += 1
            self._warn(f'an episode of {steps} steps was thrown away')
            robot.discarded = False
            self.start_next(robot)
        # Where its last step was taken in, the next one was asked for there and then.
        if robot.is_over and self._pacing.wants_more:
            self._counts['episodes whose last step could not be scored'] += 1
            self.start(robot)
        robot.retry()
        if robot.restarted:
            self._warn(f'{robot.name or "the source"} has restarted')
            self.start(robot)

    def look_for_stalls(self) -> list[str]:
        """Ask robots that are silent for another episode; returns what is simply waited for."""
        waited = []
        for wait in self._pacing.find_waits():
            if wait.robot is None:
                waited.append(wait.text)
                continue
            self._counts['stalls'] += 1
            self._warn(wait.text)
            self.start(wait.robot)
        return waited

    def _choose(self, robot: Robot) -> tuple[np.ndarray, str]:
        """The action for the observation that waits for one, and who chose it."""
        todo = robot.todo
        return self._trainer.act(todo.state, todo.step, robot.index, robot.sight)

    def _reset(self, robot: Robot, number: int) -> None:
        self._numbers[robot.index] = number
        robot.reset(episode_seed(self._trainer.config.seed, robot.index, number))

    def _go_on(self, robot: Robot) -> bool:
        """Bit for bit: go on with the episode that the last training broke off; False without one.

        Where that was another process, the robot has started anew, and plays it again.
        """
        broken_off = self._trainer.resume_episode(robot.index)
        if broken_off is None or not self._pacing.pace.deterministic:
            return False
        number, known, actions = broken_off
        if robot.index in self._numbers:
            self._pacing.play_again(actions[-1:] if self._pacing.foreseen else (), 0)
            return True
        self._pacing.play_again(actions, known)
        # Its observations get the stamps that they had.
        self.learned[robot.index] = self._trainer.replay.newest_stamp(robot.index)
        self._first = self.learned[robot.index] - known * robot.period_ns
        robot.newest = self._first - robot.period_ns
        self._reset(robot, number)
        return True

    def _act_again(self, robot: Robot) -> None:
        """Carry out the next action of an episode that is played again."""
        if robot.todo.step == 0 and robot.todo.stamp != self._first:
            self._warn(
                'the robot did not start anew with the run: its episode cannot be gone on with'
            )
            self.start(robot)
            return
        robot.act(self._pacing.next_again(), 'again')
