# SPDX-License-Identifier: Apache-2.0
"""What goes wrong on the way from and to the arm, drawn from a seed."""

from collections import Counter, deque
from typing import Generic, TypeVar

import numpy as np

from furl_ros.core.settings import SettingError
from sim.mock_arm.config import FaultConfig

T = TypeVar('T')
SENT, LATE, DROPPED, REPEATED = 'sent', 'late', 'dropped', 'repeated'


class Channel(Generic[T]):
    """A way that takes its time; what was put in first comes out first.

    Args:
        latency: seconds.
        jitter: random part, added, seconds.
        generator: draws it.
    """

    def __init__(
        self, latency: float, jitter: float = 0.0, generator: np.random.Generator | None = None
    ) -> None:
        self._latency, self._jitter, self._generator = latency, jitter, generator
        self._waiting: deque[tuple[float, T]] = deque()

    def put(self, item: T, now: float, more: float = 0.0) -> None:
        """Send something at a time; ``more`` seconds are added to the latency."""
        due = now + self._latency + more
        if self._jitter:
            due += self._jitter * self._generator.random()
        if self._waiting:
            due = max(due, self._waiting[-1][0])
        self._waiting.append((due, item))

    def take(self, now: float) -> list[T]:
        """What has arrived at a time and was not taken yet."""
        arrived = []
        while self._waiting and self._waiting[0][0] <= now:
            arrived.append(self._waiting.popleft()[1])
        return arrived

    @property
    def next_due(self) -> float:
        """When the next item arrives; infinite when there is none."""
        return self._waiting[0][0] if self._waiting else float('inf')


class Faults:
    """All faults of one arm. Each kind has its own draws: the n-th frame has the same fate always.

    Args:
        config: how much goes wrong.
        seed: of the draws.

    Attributes:
        counts: frames by their fate.
        commands, joints, frames: the ways of what comes to the arm and from it.
        late_by: how much longer a late frame takes, seconds.

    Raises:
        SettingError: the shares of frames sum up to more than 1.
    """

    def __init__(self, config: FaultConfig, seed: int) -> None:
        shares = {
            LATE: config.late_share,
            DROPPED: config.dropped_share,
            REPEATED: config.repeated_share,
        }
        if sum(shares.values()) > 1:
            raise SettingError(
                f'late_share, dropped_share and repeated_share are {list(shares.values())};'
                ' accepted: a sum of at most 1'
            )
        self._config, self._shares = config, shares
        commands, self._frames, self._joints = (
            np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3)
        )
        self.counts: Counter[str] = Counter()
        self.late_by = config.late_by
        self.commands: Channel = Channel(config.command_latency, config.command_jitter, commands)
        self.joints: Channel = Channel(config.joint_latency)
        self.frames: Channel = Channel(config.frame_latency)

    def fate_of_frame(self) -> str:
        """Draw what becomes of the next frame: SENT, LATE, DROPPED or REPEATED."""
        drawn, fate = self._frames.random(), SENT
        for name, share in self._shares.items():
            if drawn < share:
                fate = name
                break
            drawn -= share
        self.counts[fate] += 1
        return fate

    def noisy(self, positions: np.ndarray) -> np.ndarray:
        """Positions as the encoders tell them, rad."""
        if not self._config.joint_noise:
            return positions
        return positions + self._joints.normal(0.0, self._config.joint_noise, positions.shape)
