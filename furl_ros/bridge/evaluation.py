# SPDX-License-Identifier: Apache-2.0
"""Evaluations: the learner's side of the robot that they run on, and who asks for them."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from std_srvs.srv import Trigger

from furl_interfaces.action import Evaluate
from furl_interfaces.msg import EpisodeResult, SourceInfo
from furl_ros.bridge.goal_results import GoalResults
from furl_ros.bridge.inbox import Inbox
from furl_ros.bridge.join import Sensed
from furl_ros.bridge.limits import LARGEST_FIRST_SEED, MOST_TRIALS
from furl_ros.bridge.node import FurlNode
from furl_ros.bridge.source import Source, SourceError
from furl_ros.core.seeds import evaluation_seeds
from furl_ros.core.trainer import Trial


class Care(NamedTuple):
    """How an evaluation minds what happens meanwhile."""

    patience: float
    """Seconds to wait for an observation."""
    most_unscored: int
    """Steps whose frames may be unscored (lock-step), where frames are scored."""
    stopped: Callable[[], bool]
    """Whether to wait no longer."""
    rest: Callable[[], None]
    """Returns when nobody wants a pause; called where the robot can be left alone."""


class EvaluationRobot:
    """A robot that carries out one action after the other, as ``Trainer.evaluate`` asks it to.

    Args:
        source: the robot; nothing else is asked of it meanwhile.
        inbox: what comes from it.
        care: how to wait.
    """

    def __init__(self, source: Source, inbox: Inbox, care: Care) -> None:
        self.name = source.name
        self._source, self._inbox, self._care = source, inbox, care
        self._seen: Sensed | None = None

    @property
    def info(self) -> SourceInfo | None:
        """What the robot senses and accepts, once it has said so."""
        return self._source.info

    def find_missing(self) -> str:
        """Take in what has come; returns what keeps the robot from starting an episode, or ''."""
        self._inbox.drain()
        return self._source.waiting_for

    def reset(self, seed: int) -> Sensed:
        """Start an episode; returns its first observation.

        Raises:
            SourceError: the robot does not answer, or nobody waits for it any more.
        """
        self._care.rest()
        self._seen = None
        self._source.reset(seed, evaluation=True)
        return self._next()

    def step(self, action: np.ndarray) -> Sensed:
        """Carry out an action, float32 [A] in the robot's units; returns what follows.

        Raises:
            SourceError: as for ``reset``.
        """
        if self._source.lockstep:
            self._care.rest()
        self._source.act(action, 'eval')
        return self._next()

    @property
    def sight(self) -> np.ndarray:
        """What the policy sees now: raw embedding, float32 [E]."""
        return self._source.sight

    def expect(self, embedding_width: int) -> None:
        """Frames have embeddings of this width."""
        self._source.embedding_width = embedding_width

    def leave(self) -> None:
        """After the last episode: let the frames that are under way have their scores."""
        self._wait(lambda: self._source.in_flight == 0)

    def _next(self) -> Sensed:
        source, most = self._source, self._care.most_unscored
        came = self._wait(
            lambda: (
                source.discarded
                or (
                    source.sensed is not self._seen
                    and not source.blind
                    and not (source.lockstep and source.in_flight > most)
                )
            )
        )
        if not came:
            raise SourceError(f'{source.name or "the source"} does not answer')
        if source.discarded:
            raise SourceError('the operator threw the episode away')
        self._seen = source.sensed
        return self._seen

    def _wait(self, predicate: Callable[[], bool]) -> bool:
        """Take in what comes until the predicate holds; False when that takes too long."""
        deadline = time.monotonic() + self._care.patience
        while not self._care.stopped():
            # Nobody learns from its steps.
            while self._source.take(hold=False):
                pass
            if predicate():
                return True
            # The episode of one that does not wait for us may itself wait for a person.
            if self._source.resetting and not self._source.lockstep:
                deadline = time.monotonic() + self._care.patience
            if time.monotonic() > deadline:
                return False
            self._source.retry()
            self._inbox.drain(0.1)
        return False


def robot_apart(node: FurlNode, name: str, care: Care, sees: bool = False) -> EvaluationRobot:
    """A robot for evaluations alone: the training stands still.

    Args:
        sees: the policy looks at its frames; otherwise they need no score.
    """
    inbox = Inbox()
    source = Source(node, inbox, 0, name, scored=sees, sees=sees)
    return EvaluationRobot(source, inbox, care)


class Evaluations:
    """~/evaluate and the action evaluate: received here, carried out elsewhere.

    The main thread sees ``waiting``, takes the order with ``take``, reports with ``tell`` and
    ``end``. Everything else happens in the executor's thread. One order at a time.

    Args:
        node: makes service and action.
        refusal: says why nothing can be evaluated; '' when it can.
    """

    def __init__(self, node: FurlNode, refusal: Callable[[], str]) -> None:
        self._node, self._refusal = node, refusal
        self._goal: Evaluate.Goal | None = None
        self._begun = False
        self._handle: ServerGoalHandle | None = None
        self.results = GoalResults(node)
        self._count = 0
        node.create_service(Trigger, '~/evaluate', self._on_trigger)
        self._action = ActionServer(
            node,
            Evaluate,
            'evaluate',
            execute_callback=self._on_goal,
            goal_callback=self._on_goal_request,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            # A goal that is being awaited would block the other callbacks of its group.
            callback_group=ReentrantCallbackGroup(),
        )

    @property
    def waiting(self) -> bool:
        """Whether an evaluation was asked for that has not begun."""
        return self._goal is not None and not self._begun

    @property
    def cancelled(self) -> bool:
        """Whether the evaluation that runs is to end now."""
        handle = self._handle
        return self._begun and handle is not None and handle.is_cancel_requested

    def take(self, seed: int, episodes: int) -> Sequence[int]:
        """Begin the evaluation that waits; returns the seeds of its episodes.

        Args:
            seed: of the run.
            episodes: where the order names no number.
        """
        goal, self._begun, self._count = self._goal, True, 0
        count = goal.episodes or episodes
        if goal.seed:
            return range(goal.seed, goal.seed + count)
        return evaluation_seeds(seed, count)

    def tell(self, episode: EpisodeResult) -> None:
        """An episode of the evaluation is over."""
        self._count += 1
        if self._handle is not None:
            feedback = Evaluate.Feedback(episodes_done=self._count, last=episode)
            self._handle.publish_feedback(feedback)

    def end(self, result: Evaluate.Result) -> None:
        """The evaluation is over, or could not be; the next one may come."""
        self.results.give(result)
        self._goal, self._begun = None, False

    def _on_trigger(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """~/evaluate: the configured episodes, as soon as that can be."""
        response.message = self._why_not()
        response.success = not response.message
        if response.success:
            self._goal = Evaluate.Goal()
            response.message = 'evaluating'
        return response

    def _on_goal_request(self, goal: Evaluate.Goal) -> GoalResponse:
        """Evaluate action: one at a time, and no more than can be."""
        why_not = self._why_not()
        if goal.episodes > MOST_TRIALS:
            why_not = f'episodes is {goal.episodes}; accepted: 0 to {MOST_TRIALS}'
        elif goal.seed > LARGEST_FIRST_SEED:
            why_not = f'seed is {goal.seed}; accepted: 0 to {LARGEST_FIRST_SEED}'
        # First, since the main thread may see the goal, and be done with it, at any time.
        if not why_not and not self.results.expect():
            why_not = 'the learner ends'
        if why_not:
            self._node.get_logger().warning(f'no evaluation: {why_not}')
            return GoalResponse.REJECT
        self._goal = goal
        return GoalResponse.ACCEPT

    def _why_not(self) -> str:
        return 'already evaluating' if self._goal is not None else self._refusal()

    async def _on_goal(self, handle: ServerGoalHandle) -> Evaluate.Result:
        """Evaluate action: waits for the main thread without blocking the executor."""
        self._handle = handle
        result = await self.results.take()
        self._handle = None
        if result.error_code == Evaluate.Result.OK:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return result


def to_result(trial: Trial, source: str, number: int, total_steps: int) -> EpisodeResult:
    """An evaluation episode as a message, the ``number``-th of its evaluation."""
    return EpisodeResult(
        source=source,
        episode=number,
        length=trial.length,
        total_steps=total_steps,
        task_return=trial.task_return,
        vlm_return=float('nan'),
        success_any_step=trial.success_any_step,
        success_last_step=trial.success_last_step,
        phase='eval',
    )
