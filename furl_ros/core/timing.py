# SPDX-License-Identifier: Apache-2.0
"""Where the time goes: seconds per named stage."""

import contextlib
import time
from collections.abc import Iterator


class Stages:
    """Adds up wall-clock seconds and calls by stage name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time the block under ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            self.calls[name] = self.calls.get(name, 0) + 1

    def shares(self, wall_seconds: float) -> dict[str, float]:
        """Share of ``wall_seconds`` that each stage took, 0 to 1."""
        return {name: seconds / wall_seconds for name, seconds in self.seconds.items()}
