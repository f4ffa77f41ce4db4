# SPDX-License-Identifier: Apache-2.0
"""Nodes in the test's own process: a start costs no imports, and what they do can be looked at.

They are the same nodes, with an executor thread, a context and parameters of their own. What is a
matter of the process (signals, exit codes, what a kill leaves behind) needs a real one.
"""

import importlib
import threading
import traceback
from collections.abc import Sequence
from typing import Any

import rclpy
from rclpy.impl import rcutils_logger

from furl_ros.bridge import node as bridge_node
from furl_ros.bridge.node import FurlNode, serve

# Seconds: a test that waits for their diagnostics waits less.
bridge_node.DIAGNOSTICS_PERIOD = 0.2

_LEVELS = {10: 'DEBUG', 20: 'INFO', 30: 'WARN', 40: 'ERROR', 50: 'FATAL'}
_hosted: set['Hosted'] = set()
_log = rcutils_logger._rclpy.rclpy_logging_rcutils_log


def _log_and_keep(severity: int, name: str, text: str, *place: Any) -> None:
    _log(severity, name, text, *place)
    for one in list(_hosted):
        one.hear(name, f'[{_LEVELS.get(int(severity), severity)}] [{name}]: {text}\n')


# What rclpy has decided to log, after throttling: its loggers have no other place to listen at.
rcutils_logger._rclpy.rclpy_logging_rcutils_log = _log_and_keep


def node_class(executable: str) -> type[FurlNode]:
    """The class of a node, by the name of its executable."""
    name = ''.join(word.capitalize() for word in executable.split('_'))
    return getattr(importlib.import_module(f'furl_ros.nodes.{executable}'), name)


class Hosted:
    """One node in two threads of this process; is waited for and ended like a ``Command``.

    Args:
        executable: name of the node's executable.
        domain: ROS domain.
        arguments: what would follow ``--ros-args``.

    Attributes:
        node: the node, once it has been made; None when it was refused.
        returncode: None as long as it runs.
    """

    def __init__(self, executable: str, domain: int, arguments: Sequence[str] = ()) -> None:
        self.executable, self.domain = executable, domain
        self.node: FurlNode | None = None
        self.returncode: int | None = None
        self._arguments = ['--ros-args', *arguments] if arguments else []
        self._stop = threading.Event()
        self._lines: list[str] = []
        self._news = threading.Condition()
        self.context = rclpy.Context()
        rclpy.init(args=[], context=self.context, domain_id=domain)
        _hosted.add(self)
        self._thread = threading.Thread(target=self._run, name=executable, daemon=True)
        self._thread.start()

    def _make(self) -> FurlNode:
        self.node = node_class(self.executable)(
            context=self.context, cli_args=self._arguments, use_global_arguments=False
        )
        return self.node

    def _run(self) -> None:
        code, text = 1, ''
        try:
            code, text = serve(self._make, self._stop, self.context)
        except BaseException:
            text = traceback.format_exc()
        finally:
            self.context.try_shutdown()
            _hosted.discard(self)
            self._add(text)
            self.returncode = code

    def hear(self, logger: str, line: str) -> None:
        """Keep a line of the log, if it is this node's."""
        name = self.node.get_logger().name if self.node is not None else self.executable
        if logger in (name, self.executable) or logger.startswith(f'{name}.'):
            self._add(line)

    def _add(self, text: str) -> None:
        with self._news:
            self._lines.append(text)
            self._news.notify_all()

    def __enter__(self) -> 'Hosted':
        return self

    def __exit__(self, *_: object) -> None:
        self.interrupt()
        self._thread.join(60.0)

    @property
    def output(self) -> str:
        """What it has logged so far, and what ended it."""
        with self._news:
            return ''.join(self._lines)

    def interrupt(self) -> None:
        """What Ctrl-C does to a process."""
        self._stop.set()

    def join(self, timeout: float) -> bool:
        """Wait for the end; False when it does not come within this time (seconds)."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def wait_for_news(self, seconds: float) -> None:
        """Wait for a further line, at most for so long."""
        with self._news:
            self._news.wait(seconds)
