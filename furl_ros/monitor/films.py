# SPDX-License-Identifier: Apache-2.0
"""Episodes as films: MP4 (H.264) of the annotated pictures, and strips of a few frames."""

import io
import json
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from furl_ros.core.storage import write_whole
from furl_ros.monitor.pictures import SIZE, Moment, annotated, strip

FASTEST = 30  # pictures per second; of a faster robot some are left out
STRIP_FRAMES, STRIP_SIDE, STRIP_LINES = 8, 160, 100  # frames, their pixels, those of the rewards
FIRST, BEST, LAST = 'first', 'best', 'last'
INDEX = 'videos.json'


class Film(NamedTuple):
    """One episode, frame by frame.

    Attributes:
        total_steps: environment steps of the run when it was played.
        prompt: the task in words; '' where there is none.
        frames: uint8 [H, W, 3] each, RGB, all of one size.
        moments: one for each frame.
        period: seconds between two frames.
        task_return: sum of the task rewards.
    """

    total_steps: int
    prompt: str
    frames: Sequence[np.ndarray]
    moments: Sequence[Moment]
    period: float
    task_return: float

    @property
    def success(self) -> bool:
        """Whether the task was solved at any step."""
        return any(moment.success for moment in self.moments)


def shown(film: Film) -> tuple[list[int], Fraction]:
    """Which frames of a film are shown at real speed, and how many of them in a second."""
    every = max(1, math.ceil(1 / (film.period * FASTEST) - 1e-9))
    # Who stops at the last picture sees how it ended.
    numbers = sorted({*range(0, len(film.frames), every), len(film.frames) - 1})
    return numbers, Fraction(1 / (film.period * every)).limit_denominator(1000)


def picture(film: Film, number: int) -> np.ndarray:
    """The annotated picture of one frame, uint8 [H, W, 3]."""
    return annotated(film.frames[number], film.prompt, film.moments[: number + 1], SIZE)


def encode(film: Film) -> bytes:
    """A film as MP4 (H.264, yuv420p: what browsers play), at real speed."""
    numbers, rate = shown(film)
    file = io.BytesIO()
    with av.open(file, 'w', format='mp4') as container:
        stream = container.add_stream('libx264', rate=rate)
        stream.width, stream.height = SIZE
        stream.pix_fmt = 'yuv420p'
        stream.options = {'crf': '20', 'preset': 'veryfast'}
        # Films are made beside a training.
        stream.thread_count = 1
        for number in numbers:
            frame = av.VideoFrame.from_ndarray(picture(film, number), format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def film_strip(film: Film) -> np.ndarray:
    """A few frames in a row, evenly spread, above the rewards of the episode: uint8 [H, W, 3]."""
    last = len(film.frames) - 1
    numbers = np.linspace(0, last, min(STRIP_FRAMES, last + 1)).round().astype(int)
    height, width = film.frames[0].shape[:2]
    size = (STRIP_SIDE, max(1, round(STRIP_SIDE * height / width)))
    row = np.hstack(
        [cv2.resize(film.frames[n], size, interpolation=cv2.INTER_AREA) for n in numbers]
    )
    return np.vstack([row, strip(film.moments, (row.shape[1], STRIP_LINES))])


class Shelf:
    """first.mp4, best.mp4 and last.mp4 of a run; each is replaced only by a whole one.

    The best is the one with a success, then with the largest return; of equals the first stays.

    Args:
        folder: where they lie; made by the first film. What is known of them is in videos.json.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, dict[str, float]] = {}
        if (folder / INDEX).is_file():
            self._known = json.loads((folder / INDEX).read_text())

    def add(self, film: Film) -> list[str]:
        """Keep a film under the names that it deserves; returns these.

        Raises:
            OSError: it cannot be written.
        """
        names, best = [LAST], self._known.get(BEST)
        if FIRST not in self._known:
            names.append(FIRST)
        rank = film.success, film.task_return
        if best is None or rank > (best['success'], best['task_return']):
            names.append(BEST)
        content = encode(film)
        self._folder.mkdir(parents=True, exist_ok=True)
        entry = {
            'total_steps': film.total_steps,
            'success': film.success,
            'task_return': film.task_return,
            'frames': len(film.frames),
            'scored': sum(math.isfinite(moment.reward) for moment in film.moments),
        }
        for name in names:
            write_whole(self._folder / f'{name}.mp4', content)
            self._known[name] = entry
        write_whole(self._folder / INDEX, json.dumps(self._known, indent=2) + '\n')
        return names
