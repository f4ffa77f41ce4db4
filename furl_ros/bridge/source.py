# SPDX-License-Identifier: Apache-2.0
"""The learner's side of one robot: asks for episodes, answers observations, joins frames."""

import time
from collections import deque
from typing import Any, NamedTuple

import numpy as np
from rclpy.task import Future

from furl_interfaces.msg import Action, FrameScore, Observation, SourceInfo
from furl_interfaces.srv import Reset
from furl_ros.bridge.convert import NANOSECONDS, to_ns, to_time
from furl_ros.bridge.inbox import Inbox
from furl_ros.bridge.join import Joined, Sensed, StampJoin
from furl_ros.bridge.node import FurlNode
from furl_ros.bridge.qos import LATCHED, LOCKSTEP
from furl_ros.bridge.steps import from_observation, to_action
from furl_ros.bridge.topics import prefix_of
from furl_ros.core.replay import NO_EMBEDDING, can_be_kept


class Score(NamedTuple):
    """What the reward node said of a frame."""

    embedding: np.ndarray
    """Raw image embedding, float32 [E]."""
    reward: float


SILENCE_S = 5.0  # seconds in which a robot that introduced itself again is heard, if it goes on
REMEMBERED = 64  # observations whose steps are known
MOST_LAG = 255  # steps that are told apart
RETRY_S = 1.0  # seconds between two resets of a robot that serves another run
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
        sees: the policy is given the embedding of the newest frame.

    Attributes:
        embedding_width: E of the frame scores; to be set before the first ``reset``.
        info: what the robot senses and accepts, once it has said so.
        todo: the observation that waits for an action.
        ready: complete steps that have not been taken.
        newest: stamp of the newest observation, 0 before the first one.
        discarded: its episode was thrown away, and nobody has forgotten it yet.
    """

    def __init__(
        self,
        node: FurlNode,
        inbox: Inbox,
        index: int,
        name: str,
        scored: bool,
        in_pairs: bool = False,
        sees: bool = False,
    ) -> None:
        prefix = prefix_of(name)
        self.index, self.name, self.scored, self.sees = index, name, scored, sees
        self.embedding_width = 0
        self.join: StampJoin[Score] = StampJoin(counts=node.counts, in_pairs=in_pairs)
        self.info: SourceInfo | None = None
        self.todo: Sensed | None = None
        self.ready: deque[Joined[Score]] = deque()
        self.newest = 0
        self.discarded = False
        self._node = node
        # What may come next: the first observation of the episode that was asked for, by its stamp
        # (None until the answer has come), then what follows the one before.
        self._resetting: Future | None = None
        self._start: int | None = None
        self._before: Sensed | None = None
        self._answered = False
        # The newest frame of the episode that was scored: its stamp and its embedding.
        self._newest_sight: tuple[int, np.ndarray] | None = None
        # Of the last observations of the episode: their steps, and what the policy saw then.
        self._step_at: dict[int, int] = {}
        self._lag_at: dict[int, int] = {}
        # When the robot introduced itself again; None once it has been heard since.
        self._introduced: float | None = None
        self._held: list[Observation] = []
        self._seed, self._evaluation = 0, False
        self._refused = False
        self._asked = self._owed_since = time.monotonic()
        # Observations that the alignment has not seen yet, the oldest first.
        self._unaligned: deque[int] = deque()
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
    def lockstep(self) -> bool:
        """Whether the robot waits for the action of each observation."""
        return self.info.lockstep

    @property
    def period_ns(self) -> int:
        """Time between two stamps of a lock-step episode, nanoseconds."""
        return round(self.info.control_period * NANOSECONDS)

    @property
    def in_flight(self) -> int:
        """Steps that were begun and are not whole yet: actions under way, frames unscored."""
        return self.join.in_flight + len(self.ready) + self._answered

    @property
    def restarted(self) -> bool:
        """Whether the robot's process began anew, so that its episode cannot go on.

        It introduces itself again, and is not heard afterwards: alone the first is a message that
        anybody may repeat.
        """
        if self._introduced is None or not self._asked_robot:
            return False
        return time.monotonic() > max(self._introduced, self._owed_since) + SILENCE_S

    @property
    def _asked_robot(self) -> bool:
        return bool(self._resetting or self._start is not None or self._answered)

    @property
    def resetting(self) -> bool:
        """Whether it was asked for an episode, and has not answered."""
        return self._resetting is not None

    @property
    def silent_for(self) -> float:
        """Seconds that the robot, or a frame's score, has been waited for; 0 when nothing is."""
        owes = self._asked_robot or self.join.in_flight or self.blind
        return time.monotonic() - self._owed_since if owes else 0.0

    @property
    def is_over(self) -> bool:
        """Whether its episode has ended, and all that can be learned from it was taken."""
        ended = self._before is not None and self._before.last
        return ended and not (self._asked_robot or self.join.in_flight or self.ready)

    @property
    def waits_for_scores(self) -> bool:
        """Whether the robot has answered, and only frames' scores are missing."""
        return not self._asked_robot and (self.join.in_flight > 0 or self.blind)

    @property
    def blind(self) -> bool:
        """Whether the policy is to see the frame of ``todo``, or any, and cannot yet.

        One in lock-step waits for its own frame; one in real time takes the newest there is.
        """
        if not self.sees or self.todo is None:
            return False
        is_known, _ = self.join.score_of(self.todo.stamp)
        return not is_known and (self.lockstep or self._newest_sight is None)

    @property
    def sight(self) -> np.ndarray:
        """What the policy sees with ``todo``: raw embedding, float32 [E].

        That of the newest frame that could be scored; zeros where there is none.
        """
        if not self.sees:
            return NO_EMBEDDING
        _, score = self.join.score_of(self.todo.stamp)
        if score is not None:
            self._newest_sight = self.todo.stamp, score.embedding
        if self._newest_sight is None:
            return np.zeros(self.embedding_width, np.float32)
        return self._newest_sight[1]

    def lag_at(self, stamp: int) -> int:
        """Steps by which what was seen at an observation was older than its own frame."""
        return self._lag_at.get(stamp, 0)

    @property
    def sight_age(self) -> float:
        """Seconds that what the policy saw last was older than the observation."""
        stamp, lag = next(reversed(self._lag_at.items()), (0, 0))
        return lag * self.info.control_period if stamp else 0.0

    @property
    def alignment_lead(self) -> int:
        """Observations that the newest heads have not seen; the queues must hold them."""
        return len(self._unaligned)

    def aligned(self, stamp: int) -> None:
        """The alignment has taken in, or given up, all observations up to this stamp."""
        while self._unaligned and self._unaligned[0] <= stamp:
            self._unaligned.popleft()

    @property
    def sensed(self) -> Sensed | None:
        """The newest observation of the episode; None before its first one."""
        return self._before

    def reset(self, seed: int, evaluation: bool = False) -> None:
        """Ask for an episode, of the training or not; its first observation becomes ``todo``."""
        self._start = self._before = self.todo = None
        self._answered, self._introduced = False, None
        self.discarded = False
        self.ready.clear()
        self._held.clear()
        self._newest_sight = None
        self._step_at.clear()
        self._lag_at.clear()
        self._seed, self._evaluation = seed, evaluation
        self._ask()

    def _ask(self) -> None:
        self._asked = self._owed_since = time.monotonic()
        request = Reset.Request(seed=self._seed, use_seed=True, run=self._node.run_id)
        request.after = to_time(self.newest)
        request.evaluation = self._evaluation
        self._resetting = self._resets.call_async(request)
        self._resetting.add_done_callback(lambda done: self._inbox.put(self._on_reset, done))

    def retry(self) -> None:
        """Ask again for the episode, where the robot was serving another run."""
        if self._refused and time.monotonic() > self._asked + RETRY_S:
            self._refused = False
            self._ask()

    def act(self, action: np.ndarray, agent: str) -> None:
        """Answer ``todo``."""
        if self.sees and self._newest_sight is not None:
            seen = self._step_at.get(self._newest_sight[0], self.todo.step)
            self._lag_at[self.todo.stamp] = min(self.todo.step - seen, MOST_LAG)
            _forget_all_but(self._lag_at, REMEMBERED)
        message = to_action(self.todo.stamp, action, agent)
        message.run = self._node.run_id
        self.todo, self._answered = None, True
        self._owed_since = time.monotonic()
        self._actions.publish(message)

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
        if message.run and not self._node.is_ours(message, 'source_info'):
            return
        if self.info is not None and (sizes := _shape(message)) != (known := _shape(self.info)):
            self._node.count_bad(
                'sources that changed their shape',
                f'{self.name or "the source"} has {sizes} now; accepted: {known}, as before',
            )
            return
        if self.info is not None and self._introduced is None:
            self._introduced = time.monotonic()
        self.info = message

    def _on_reset(self, future: Future) -> None:
        if future is not self._resetting:
            return  # of an episode that is no longer wanted
        self._resetting = None
        response = future.result()
        name = self.name or 'the source'
        if response is not None and response.error_code == Reset.Response.OTHER_RUN:
            self._refused = True
            self._node.count_bad('resets refused', f'{name}: {response.error_msg}; asking again')
            return
        if response is None or response.error_code != Reset.Response.OK:
            reason = response.error_msg if response else 'no answer'
            raise SourceError(f'reset of {name} failed: {reason}')
        self._start = to_ns(response.stamp)
        self.join.restart(self._start)
        held, self._held = self._held, []
        for message in held:
            self._on_observation(message)

    def _on_observation(self, message: Observation) -> None:
        if not self._node.is_ours(message, 'observation'):
            return
        if self.info is None:
            self.join.counts['observations before source_info'] += 1
            return
        if self._resetting is not None:
            self._held.append(message)
            return
        try:
            sensed = from_observation(message, self.info.state_size, len(self.info.action_low))
        except ValueError:
            self.join.counts['bad observations'] += 1
            return
        if not self._is_next(sensed):
            self.join.counts['observations that nobody asked for'] += 1
            return
        if sensed.discarded:
            self._discard(sensed)
            return
        if not self.join.add_observation(sensed):
            return
        self._start, self._before, self._answered = None, sensed, False
        self._introduced = None
        self.newest = sensed.stamp
        self._owed_since = time.monotonic()
        self._step_at[sensed.stamp] = sensed.step
        _forget_all_but(self._step_at, REMEMBERED)
        if self.scored:
            self._unaligned.append(sensed.stamp)
        else:
            self.join.add_score(sensed.stamp, NO_SCORE)
        self.todo = None if sensed.last else sensed

    def _discard(self, sensed: Sensed) -> None:
        """The operator has thrown the episode away: nothing of it is to be learned."""
        self.join.discard(sensed)
        self.ready.clear()
        self._unaligned.append(sensed.stamp)
        self.todo = self._before = None
        self._answered, self._introduced = False, None
        self.newest, self._owed_since = sensed.stamp, time.monotonic()
        self.discarded = True

    def _is_next(self, sensed: Sensed) -> bool:
        """Whether an observation is what must come now: no other one may move the episode on."""
        if self._start is not None:
            return sensed.step == 0 and sensed.stamp == self._start
        before = self._before
        if before is None or before.last or sensed.episode != before.episode:
            return False
        ahead, steps = sensed.stamp - before.stamp, sensed.step - before.step
        if ahead <= 0 or steps <= 0:
            return False
        if self.lockstep:
            return self._answered and steps == 1 and sensed.previous_stamp == before.stamp
        # It does not wait for us, so that some may have been lost on the way; but not this many.
        return ahead <= NANOSECONDS * (1 + 10 * steps * self.info.control_period)

    def _on_score(self, message: FrameScore) -> None:
        if not self._node.is_ours(message, 'frame_score'):
            return
        embedding = np.asarray(message.embedding, np.float32)
        score = None
        if message.status == FrameScore.OK:
            if len(embedding) != self.embedding_width:
                # Not from the model that sent the prompt: its answer is still to come.
                self.join.counts['bad embeddings'] += 1
                return
            if can_be_kept(embedding):
                score = Score(embedding, message.reward)
            else:
                self.join.counts['bad embeddings'] += 1
        stamp = to_ns(message.header.stamp)
        if score is not None and stamp in self._step_at:
            newest = self._newest_sight
            if newest is None or newest[0] < stamp:
                self._newest_sight = stamp, score.embedding
        self.join.add_score(stamp, score)
        if self.join.in_flight:
            self._owed_since = time.monotonic()


def _forget_all_but(known: dict[int, int], most: int) -> None:
    while len(known) > most:
        del known[next(iter(known))]


def _shape(info: SourceInfo) -> tuple[Any, ...]:
    """What training is bound to: sizes, bounds, what of the state is proprioception, the pace."""
    lists = (list(field) for field in (info.proprioception, info.action_low, info.action_high))
    return info.state_size, *lists, info.control_period, info.lockstep
