# SPDX-License-Identifier: Apache-2.0
"""Where a run stands: a small file in its folder."""

import contextlib
import json
import os
import time
from collections import deque
from pathlib import Path
from typing import Any

PROGRESS = 'progress.json'
_WRITE_EVERY = 1.0  # seconds
_RATE_OVER = 60.0  # seconds


class Progress:
    """Where a run stands, for those who watch it; over all of its starts.

    Args:
        folder: the run folder.
        total: environment steps of the run.
    """

    def __init__(self, folder: Path, total: int) -> None:
        self.path = folder / PROGRESS
        self.began = self.written = time.monotonic()
        before = read_progress(folder)
        self.seconds_before = float(before.get('wall_seconds', 0.0))
        self.content: dict[str, Any] = {
            'pid': os.getpid(),
            'step': 0,
            'total_steps': total,
            'steps_per_second': None,
            'success_rate': None,
            'wall_seconds': self.seconds_before,
            'starts': int(before.get('starts', 0)) + 1,
            'commits': list(before.get('commits', [])),
            'note': '',
        }
        self._marks: deque[tuple[float, int]] = deque()

    def note(self, text: str) -> None:
        """Say something to those who watch, and to the log."""
        print(text, flush=True)
        self.content['note'] = text
        self.write()

    def step(self, step: int, success_rate: float, now: bool = False) -> None:
        """Take note of an environment step; written once a second, or ``now``."""
        time_now = time.monotonic()
        if self._marks and not now and time_now - self.written < _WRITE_EVERY:
            return
        self._marks.append((time_now, step))
        while time_now - self._marks[0][0] > _RATE_OVER and len(self._marks) > 2:
            self._marks.popleft()
        (since, first), self.content['step'] = self._marks[0], step
        if time_now > since:
            self.content['steps_per_second'] = (step - first) / (time_now - since)
        # NaN before the first episode.
        self.content['success_rate'] = success_rate if success_rate == success_rate else None
        self.write()

    def write(self) -> None:
        """Write it now, where the disk has room: no run fails of it."""
        self.written = time.monotonic()
        self.content['wall_seconds'] = self.seconds_before + self.written - self.began
        temporary = self.path.with_suffix('.tmp')
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(self.content))
            os.replace(temporary, self.path)


def read_progress(folder: Path) -> dict[str, Any]:
    """What ``Progress`` wrote last; empty where there is nothing readable."""
    try:
        content = json.loads((folder / PROGRESS).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
