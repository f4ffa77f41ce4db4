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
