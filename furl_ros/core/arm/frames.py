# SPDX-License-Identifier: Apache-2.0
"""Pairs observations with the pictures of a camera that has stamps of its own.

Stamps are int nanoseconds; arrival times are seconds of one monotonic clock, given by the caller.
"""

from collections import Counter, deque
from statistics import median_low
from typing import NamedTuple

KEPT_FRAMES = 64
_MOST_WAITING = 256
_REMEMBERED = 64
# Arrivals that tell how two clocks lie to each other, and how many are enough.
_ARRIVALS, _ENOUGH = 32, 10
# A stamp that is further ahead than so many nanoseconds does not tell that time has passed.
_BELIEVED = 10 * 10**9
# Apart by this many tolerances it is no trembling any more.
_FAR = 4


class Pairing(NamedTuple):
    """An observation that has been decided."""

    observation: int
    """Its stamp."""
    frame: int | None
    """Stamp of the nearest frame; None: none within the tolerance."""


class _Waiting(NamedTuple):
    stamp: int
    arrived: float


class NearestFrame:
    """Pairs each observation with the nearest frame within a tolerance.

    An observation is decided, once, as soon as it is certain: when a frame has come that is not
    earlier, nor ten seconds later (those of a camera come in order), or when it has waited long
    enough. A frame may serve several observations.

    Attributes:
        counts: what did not go as it should, by reason.
        offset_s: seconds that the camera's stamps are ahead of those of the observations, judged by
            when both arrive; None while they seem to be of one clock. Nothing is corrected by it.
    """

    def __init__(self, tolerance_s: float, wait_s: float, kept_frames: int = KEPT_FRAMES) -> None:
        """Begin without frames.

        Args:
            tolerance_s: how far a frame may be from its observation, in seconds.
            wait_s: how long an observation waits for its frame after it arrived, in seconds.
            kept_frames: frames that observations may still be paired with: the last ones that came.
        """
        self.counts: Counter[str] = Counter()
        self.offset_s: float | None = None
        self._tolerance = round(tolerance_s * 1e9)
        self._wait = wait_s
        self._kept_frames = kept_frames
        self._served: dict[int, int] = {}  # observations of each kept frame, in order of arrival
        self._waiting: deque[_Waiting] = deque()
        self._decided: deque[Pairing] = deque(maxlen=_REMEMBERED)
        self._last_frame: int | None = None
        self._frame_lags: deque[int] = deque(maxlen=_ARRIVALS)
        self._observation_lags: deque[int] = deque(maxlen=_ARRIVALS)
        self._warned = False

    @property
    def frames(self) -> tuple[int, ...]:
        """Stamps of the frames that may still be paired: the pictures to keep."""
        return tuple(self._served)

    def add_observation(self, stamp: int, now: float) -> list[Pairing]:
        """Take the stamp of an observation that arrived now; what is decided by that."""
        self._observation_lags.append(round(now * 1e9) - stamp)
        self._waiting.append(_Waiting(stamp, now))
        return self.tick(now)

    def add_frame(self, stamp: int, now: float) -> list[Pairing]:
        """Take the stamp of a frame that arrived now; what is decided by that."""
        if stamp in self._served:
            self.counts['frames with the stamp of another'] += 1
            return self.tick(now)
        if self._last_frame is not None and stamp < self._last_frame:
            self.counts['frames out of order'] += 1
        self._last_frame = stamp
        if any(self._is_nearer(stamp, pairing) for pairing in self._decided):
            self.counts['frames late'] += 1
        self._frame_lags.append(round(now * 1e9) - stamp)
        self._compare_clocks()
        self._served[stamp] = 0
        decided = self.tick(now)
        if len(self._served) > self._kept_frames:
            oldest = next(iter(self._served))
            if not self._served.pop(oldest):
                self.counts['frames dropped'] += 1
        return decided

    def tick(self, now: float) -> list[Pairing]:
        """What is decided by the time alone, too: to be called regularly."""
        decided, waiting = [], deque()
        over = len(self._waiting) - _MOST_WAITING
        for place, observation in enumerate(self._waiting):
            certain = any(0 <= frame - observation.stamp <= _BELIEVED for frame in self._served)
            if certain or place < over or not now - observation.arrived <= self._wait:
                decided.append(self._decide(observation.stamp))
            else:
                waiting.append(observation)
        self._waiting = waiting
        return decided

    def flush(self) -> list[Pairing]:
        """Decide all that wait with the frames that are there (an episode has ended)."""
        decided = [self._decide(observation.stamp) for observation in self._waiting]
        self._waiting.clear()
        return decided

    def take_warning(self) -> str:
        """What to tell people about the camera's clock, once; '' otherwise."""
        if self.offset_s is None or self._warned:
            return ''
        self._warned = True
        where = 'ahead of' if self.offset_s > 0 else 'behind'
        return (
            f'the stamps of the camera are {abs(self.offset_s):.3f} s {where} those of the'
            f' observations, by when both arrive (tolerance {self._tolerance / 1e9:g} s): its clock'
            ' is another one, or its pictures come that late; nothing is corrected'
        )

    def _decide(self, stamp: int) -> Pairing:
        nearest = min(self._served, key=lambda frame: (abs(frame - stamp), frame), default=None)
        if nearest is None or abs(nearest - stamp) > self._tolerance:
            nearest = None
            self.counts['observations without a frame'] += 1
        else:
            if self._served[nearest]:
                self.counts['frames repeated'] += 1
            self._served[nearest] += 1
        pairing = Pairing(stamp, nearest)
        self._decided.append(pairing)
        return pairing

    def _is_nearer(self, frame: int, pairing: Pairing) -> bool:
        """Whether a frame would have been the better one for what is decided already."""
        distance = abs(frame - pairing.observation)
        if pairing.frame is None:
            return distance <= self._tolerance
        return distance < abs(pairing.frame - pairing.observation)

    def _compare_clocks(self) -> None:
        if min(len(self._frame_lags), len(self._observation_lags)) < _ENOUGH:
            return
        behind = median_low(self._frame_lags) - median_low(self._observation_lags)
        spread = max(self._frame_lags) - min(self._frame_lags)
        limit = _FAR * self._tolerance
        if behind > 0:
            # Pictures may take as long as observations wait for them.
            limit += round(self._wait * 1e9)
        constant = spread < abs(behind) / 2
        self.offset_s = -behind / 1e9 if abs(behind) > limit and constant else None
