# SPDX-License-Identifier: Apache-2.0
"""One line at the end of a launch's output that says where the run stands, drawn anew each second.

Only a terminal gets it, and the log lines scroll above. A file or a pipe gets the learner's plain
lines.
"""

import contextlib
import logging
import shutil
import sys
import threading
from collections.abc import Iterator
from typing import Any, TextIO

import launch.logging
from rclpy.executors import ExternalShutdownException

from furl_interfaces.msg import TrainingStatus
from furl_ros.bridge.onlooker import Onlooker
from furl_ros.bridge.qos import LATCHED
from furl_ros.monitor.standing import live_line

ERASE = '\r\x1b[2K'


class Screen:
    """A terminal with a line below all that is written to it.

    Args:
        terminal: the stream.
    """

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._lock = threading.RLock()  # a signal may make its own thread write in between
        self._line = ''
        self._at_start = True  # nothing but whole lines was written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._terminal, name)

    def write(self, text: str) -> int:
        """Write text above the line."""
        with self._lock, self._erased():
            self._at_start = text.endswith('\n') if text else self._at_start
            return self._terminal.write(text)

    def show(self, line: str) -> None:
        """Show another line; '' for none."""
        with self._lock, self._erased():
            self._line = line

    @contextlib.contextmanager
    def _erased(self) -> Iterator[None]:
        if self._line and self._at_start:
            self._terminal.write(ERASE)
        yield
        if self._line and self._at_start:
            width = shutil.get_terminal_size().columns - 1
            self._terminal.write(self._line[:width])
            self._terminal.flush()


class LiveLine:
    """Shows in this process's terminal what a topic ``training_status`` says.

    Args:
        topic: its full name.
    """

    def __init__(self, topic: str) -> None:
        self._terminal = sys.stdout
        self._screen = Screen(sys.stdout)
        self._send_output_to(self._screen)
        self._onlooker = Onlooker('furl_ros_live_line')
        self._onlooker.node.create_subscription(
            TrainingStatus, topic, lambda m: self._screen.show(live_line(m)), LATCHED
        )
        self._thread = threading.Thread(target=self._spin, name='live line', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take the line away, and let go of the domain; the second time it does nothing."""
        if not self._thread.is_alive():
            return
        self._onlooker.executor.shutdown()
        self._thread.join()
        self._onlooker.close()
        self._screen.show('')
        self._send_output_to(self._terminal)

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._onlooker.executor.spin()

    @staticmethod
    def _send_output_to(stream: Any) -> None:
        sys.stdout = stream
        # ROS's own launch keeps the stream that it found; the stand-in looks each time.
        handler = launch.logging.launch_config.screen_handler
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(stream)
