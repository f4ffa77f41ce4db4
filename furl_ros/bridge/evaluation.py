# SPDX-License-Identifier: Apache-2.0
"""The learner's side of the robot that evaluation episodes run on."""

import time
from collections.abc import Callable

import numpy as np

from furl_ros.bridge.inbox import Inbox
from furl_ros.bridge.join import Sensed
from furl_ros.bridge.node import FurlNode
from furl_ros.bridge.source import Source, SourceError


class EvaluationRobot:
    """A robot that carries out one action after the other, as ``Trainer.evaluate`` asks it to.

    It has an inbox of its own: the training stream stands still meanwhile.

    Args:
        node: makes publishers, subscriptions and the client.
        name: namespace of the robot.
        patience: seconds to wait for an observation.
        stopped: whether to wait no longer.
    """

    def __init__(
        self, node: FurlNode, name: str, patience: float, stopped: Callable[[], bool]
    ) -> None:
        self._inbox = Inbox()
        self._source = Source(node, self._inbox, 0, name, scored=False)
        self._patience, self._stopped = patience, stopped

    def find_missing(self) -> str:
        """Take in what has come; returns what keeps the robot from starting an episode, or ''."""
        self._inbox.drain()
        return self._source.waiting_for

    def reset(self, seed: int) -> Sensed:
        """Start an episode; returns its first observation.

        Raises:
            SourceError: the robot does not answer, or nobody waits for it any more.
        """
        self._source.reset(seed)
        return self._next()

    def step(self, action: np.ndarray) -> Sensed:
        """Carry out an action, float32 [A] in the robot's units; returns what follows.

        Raises:
            SourceError: as for ``reset``.
        """
        self._source.act(action, 'eval')
        return self._next()

    def _next(self) -> Sensed:
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline and not self._stopped():
            if self._source.todo is not None:
                return self._source.todo
            joined = self._source.take()
            if joined is not None and joined.after.last:
                return joined.after
            self._inbox.drain(0.1)
        raise SourceError(f'{self._source.name} does not answer')
