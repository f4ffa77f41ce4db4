# SPDX-License-Identifier: Apache-2.0
"""The `ros2` command, also as `python -m ros2_pip`."""

import signal
import sys

from .start import SIGNALS, quiet_start


def main() -> int | str | None:
    """Run the command; until its modules are imported, a signal ends it quietly."""
    with quiet_start():
        # Whoever starts this may hold signals back until they can be answered.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        from .cli import main as run
    return run()


if __name__ == '__main__':
    sys.exit(main())
