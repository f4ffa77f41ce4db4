# SPDX-License-Identifier: Apache-2.0
"""Where the time goes: seconds per named stage."""

import contextlib
import time
from collections.abc import Iterator


class Stages:
    """Adds up wall-clock seconds and calls by stage name; a stage inside another one interrupts it.

    For one thread.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._inside = 0.0  # seconds of the stages inside the running one

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time the block under ``name``."""
        start, before, self._inside = time.perf_counter(), self._inside, 0.0
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds - self._inside
            self.calls[name] = self.calls.get(name, 0) + 1
            self._inside = before + seconds
