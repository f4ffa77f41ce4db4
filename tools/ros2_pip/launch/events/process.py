# SPDX-License-Identifier: Apache-2.0
"""Events of single processes."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from ros2_pip.guard import not_in_subset

from . import Event

if TYPE_CHECKING:
    from ..actions import ExecuteProcess

__all__ = ['ProcessExited', 'ProcessStarted', 'ShutdownProcess', 'SignalProcess']
__getattr__ = not_in_subset(__name__, __all__)


class RunningProcessEvent(Event):
    """Base class of what a process did."""

    def __init__(
        self,
        *,
        action: ExecuteProcess,
        name: str,
        cmd: list[str],
        cwd: str | None,
        env: dict[str, str],
        pid: int,
    ) -> None:
        self.action = action
        self.process_name = name
        self.cmd = cmd
        self.cwd = cwd
        self.env = env
        self.pid = pid


class ProcessStarted(RunningProcessEvent):
    """A process was started."""

    name = 'launch.events.process.ProcessStarted'


class ProcessExited(RunningProcessEvent):
    """A process ended; `returncode` is negative where a signal ended it."""

    name = 'launch.events.process.ProcessExited'

    def __init__(self, *, returncode: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.returncode = returncode


class ProcessTargetedEvent(Event):
    """Base class of what a process should do."""

    def __init__(self, *, process_matcher: Callable[[ExecuteProcess], bool]) -> None:
        self.process_matcher = process_matcher


class ShutdownProcess(ProcessTargetedEvent):
    """A process should be stopped: SIGINT, then SIGTERM, then SIGKILL."""

    name = 'launch.events.process.ShutdownProcess'


class SignalProcess(ProcessTargetedEvent):
    """A process should get a signal, given by number or by name."""

    name = 'launch.events.process.SignalProcess'

    def __init__(self, *, signal_number: str | signal.Signals, **kwargs) -> None:
        super().__init__(**kwargs)
        self.signal = (
            signal.Signals[signal_number]
            if isinstance(signal_number, str)
            else signal.Signals(signal_number)
        )
