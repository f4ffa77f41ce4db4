# SPDX-License-Identifier: Apache-2.0
"""Entry point of ``ros2 run furl_ros sweep`` and of ``python -m furl_ros.sweep``."""

import os
import signal
from types import FrameType


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(130)


def main(arguments: list[str] | None = None) -> None:
    """Run a sweep; a signal that comes while modules are imported ends it quietly."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    from furl_ros.sweep.command import main as run

    run(arguments)


if __name__ == '__main__':
    main()
