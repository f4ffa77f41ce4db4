# SPDX-License-Identifier: Apache-2.0
"""What `ros2 launch` prints, and its log file."""

from __future__ import annotations

import datetime
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

from ros2_pip.guard import not_in_subset

__all__ = ['get_logger', 'launch_config']
__getattr__ = not_in_subset(__name__, __all__)


class _LineFormatter(logging.Formatter):
    """`[LEVEL] [name]: text`, and a process's own lines as they are."""

    def __init__(self, *, timestamp: bool) -> None:
        super().__init__()
        self._timestamp = timestamp

    def format(self, record: logging.LogRecord) -> str:
        line = record.getMessage()
        if not getattr(record, 'verbatim', False):
            line = f'[{record.levelname}] [{record.name}]: {line}'
        return f'{record.created:.7f} {line}' if self._timestamp else line


class _ScreenHandler(logging.Handler):
    """Prints to whatever sys.stdout is at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), flush=True)
        except OSError:
            # Who read the output has gone; launching and its clean-up go on.
            sys.stdout = open(os.devnull, 'w')  # noqa: SIM115


class LaunchConfig:
    """Where the log goes and how much is said."""

    def __init__(self) -> None:
        self.level = logging.INFO
        self.log_dir: Path | None = None
        self.screen_handler = _ScreenHandler()
        self.screen_handler.setFormatter(_LineFormatter(timestamp=False))
        self.file_handler: logging.Handler | None = None

    def open_log_file(self) -> None:
        """Make this launch's folder and log file, once.

        The folder is made in $ROS_LOG_DIR, else $ROS_HOME/log, else ~/.ros/log.
        """
        if self.file_handler is not None:
            return
        home = Path(os.environ.get('ROS_HOME') or '~/.ros')
        base = Path(os.environ.get('ROS_LOG_DIR') or home / 'log').expanduser()
        now = datetime.datetime.now().strftime('%Y-%m-%d-%H-%M-%S-%f')
        self.log_dir = base / f'{now}-{socket.gethostname()}-{os.getpid()}'
        self.log_dir.mkdir(parents=True)
        self.file_handler = logging.FileHandler(self.log_dir / 'launch.log', encoding='utf-8')
        self.file_handler.setFormatter(_LineFormatter(timestamp=True))

    def handle(self, record: logging.LogRecord, *, screen: bool, log: bool) -> None:
        """Write a record to the screen, to the log file, or both."""
        if screen:
            self.screen_handler.handle(record)
        if log and self.file_handler is not None:
            self.file_handler.handle(record)


launch_config = LaunchConfig()


class _LaunchHandler(logging.Handler):
    """Sends what loggers say to both places."""

    def handle(self, record: logging.LogRecord) -> bool:
        if record.levelno >= launch_config.level:
            launch_config.handle(record, screen=True, log=True)
        return True


_launch_handler = _LaunchHandler()


def get_logger(name: str = 'launch') -> logging.Logger:
    """Return a logger that prints to the screen and to the launch log file."""
    logger = logging.getLogger(name)
    if _launch_handler not in logger.handlers:
        logger.addHandler(_launch_handler)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
    return logger


def write_process_line(line: str, *, screen: bool, log: bool) -> None:
    """Write a line that a process printed, already prefixed with its name."""
    record = logging.LogRecord('process', logging.INFO, __file__, 0, line, None, None)
    record.verbatim = True
    launch_config.handle(record, screen=screen, log=log)


def output_destinations(config: Any) -> dict[str, set[str]]:
    """Return where the lines of 'stdout' and 'stderr' of a process go: 'screen', 'log'.

    Args:
        config: 'screen', 'log' (stdout to the log file, stderr to both) or 'both'; or a dict with
            keys 'stdout', 'stderr', 'both' and values 'screen', 'log' or a set of these.

    Raises:
        ValueError: anything else.
    """
    named = {
        'screen': {'both': {'screen'}},
        'log': {'both': {'log'}, 'stderr': {'screen'}},
        'both': {'both': {'screen', 'log'}},
    }
    if isinstance(config, str):
        if config not in named:
            raise ValueError(f"output '{config}' is not supported; accepted: {', '.join(named)}")
        config = named[config]
    sources: dict[str, set[str]] = {}
    for source, places in config.items():
        sources[source] = {places} if isinstance(places, str) else set(places)
        if source not in ('stdout', 'stderr', 'both') or not sources[source] <= {'screen', 'log'}:
            raise ValueError(
                f'output {source}: {places} is not supported; '
                'accepted: stdout, stderr, both with screen, log'
            )
    both = sources.get('both', set())
    return {name: sources.get(name, set()) | both for name in ('stdout', 'stderr')}
