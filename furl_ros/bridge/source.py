# SPDX-License-Identifier: Apache-2.0
"""The learner's side of one robot: asks for episodes, answers observations, joins frames."""

from collections import deque
from typing import NamedTuple

import numpy as np
from rclpy.task import Future

from furl_interfaces.msg import Action, FrameScore, Observation, SourceInfo
from furl_interfaces.srv import Reset
from furl_ros.bridge.convert import to_ns
from furl_ros.bridge.inbox import Inbox
from furl_ros.bridge.join import Joined, Sensed, StampJoin
from furl_ros.bridge.node import FurlNode
from furl_ros.bridge.qos import LATCHED, LOCKSTEP
from furl_ros.bridge.steps import from_observation, to_action


class Score(NamedTuple):
    """What the reward node said of a frame."""

    embedding: np.ndarray
    """Raw image embedding, float32 [E]."""
    reward: float


NO_SCORE = Score(np.zeros(0, np.float32), float('nan'))


class SourceError(RuntimeError):
    """A robot could not do what was asked of it."""


class Source:
    """Topics of one robot, and what is on its way between it and the learner.

    The callbacks only fill the inbox; everything else runs in the thread that drains it.

    Args:
        node: makes publishers, subscriptions and the client; counts what cannot be used.
        inbox: where the callbacks put what arrives.
        index: number of the source.
        name: its namespace, relative to the node's; '' for the node's own.
        scored: wait for the score of each frame; False: a step is complete without one.
        in_pairs: a step is complete only with the score of the frame before, too.

    Attributes:
        embedding_width: E of the frame scores; to be set before the first ``reset``.
        info: what the robot senses and accepts, once it has said so.
        todo: the observation that waits for an action.
        ready: complete steps that have not been taken.
        restarted: the robot's process began anew; its episode cannot go on.
    """

    def __init__(
        self,
        node: FurlNode,
        inbox: Inbox,
        index: int,
        name: str,
        scored: bool,
        in_pairs: bool = False,
    ) -> None:
        prefix = f'{name}/' if name else ''
        self.index, self.name, self.scored = index, name, scored
        self.embedding_width = 0
        self.join: StampJoin[Score] = StampJoin(counts=node.counts, in_pairs=in_pairs)
        self.info: SourceInfo | None = None
        self.todo: Sensed | None = None
        self.restarted = False
        self.ready: deque[Joined[Score]] = deque()
        self._answered = False
        self._resetting = False
        self._held: list[Observation] = []
        self._inbox = inbox
        self._actions = node.create_publisher(Action, f'{prefix}action', LOCKSTEP)
        self._resets = node.create_client(Reset, f'{prefix}reset')
        for kind, topic, handler, qos in (
            (SourceInfo, 'source_info', self._on_info, LATCHED),
            (Observation, 'observation', self._on_observation, LOCKSTEP),
            (FrameScore, 'frame_score', self._on_score, LOCKSTEP),
        ):
            if kind is not FrameScore or scored:
                node.create_subscription(
                    kind, prefix + topic, lambda m, h=handler: inbox.put(h, m), qos
                )

    @property
    def waiting_for(self) -> str:
        """What keeps the robot from starting an episode; empty when nothing does."""
        where = f' of {self.name}' if self.name else ''
        if self.info is None:
            return f'source_info{where}'
        if not self._resets.service_is_ready():
            return f'the reset service{where}'
        return ''

    @property
    def in_flight(self) -> int:
        """Steps that were begun and are not whole yet: actions under way, frames unscored."""
        return self.join.in_flight + len(self.ready) + self._answered

    def reset(self, seed: int) -> None:
        """Ask for a new episode; its first observation becomes ``todo``."""
        self._resetting, self._answered, self.todo = True, False, None
        self.restarted = False
        self.ready.clear()
        future = self._resets.call_async(Reset.Request(seed=seed, use_seed=True))
        future.add_done_callback(lambda done: self._inbox.put(self._on_reset, done))

    def act(self, action: np.ndarray, agent: str) -> None:
        """Answer ``todo``."""
        self._actions.publish(to_action(self.todo.stamp, action, agent))
        self.todo, self._answered = None, True

    def take(self, hold: bool = True) -> Joined[Score] | None:
        """The next complete step, in order, if there is one.

        Args:
            hold: keep the step that leads to ``todo`` back until that is answered: so the order
                of acting and learning never depends on when a score arrives.
        """
        self.ready.extend(self.join.pop())
        held = hold and self.ready and self.todo is not None and self.ready[0].after is self.todo
        return self.ready.popleft() if self.ready and not held else None

    def _on_info(self, message: SourceInfo) -> None:
        self.restarted = self.info is not None
        self.info = message

    def _on_reset(self, future: Future) -> None:
        response = future.result()
        if response is None or response.error_code != Reset.Response.OK:
            reason = response.error_msg if response else 'no answer'
            raise SourceError(f'reset of {self.name or "the source"} failed: {reason}')
        stamp = to_ns(response.stamp)
        self.join.restart(stamp)
        self._resetting = False
        held, self._held = self._held, []
        for message in held:
            if to_ns(message.header.stamp) >= stamp:
                self._on_observation(message)

    def _on_observation(self, message: Observation) -> None:
        if self.info is None:
            self.join.counts['observations before source_info'] += 1
            return
        if self._resetting:
            self._held.append(message)
            return
        try:
            sensed = from_observation(message, self.info.state_size, len(self.info.action_low))
        except ValueError:
            self.join.counts['bad observations'] += 1
            return
        if not self.join.add_observation(sensed):
            return
        self._answered = False
        if not self.scored:
            self.join.add_score(sensed.stamp, NO_SCORE)
        if not sensed.last:
            self.todo = sensed

    def _on_score(self, message: FrameScore) -> None:
        embedding = np.asarray(message.embedding, np.float32)
        score = None
        if message.status == FrameScore.OK:
            if len(embedding) != self.embedding_width:
                # Not from the model that sent the prompt: its answer is still to come.
                self.join.counts['bad embeddings'] += 1
                return
            if np.isfinite(embedding).all():
                score = Score(embedding, message.reward)
        self.join.add_score(to_ns(message.header.stamp), score)
