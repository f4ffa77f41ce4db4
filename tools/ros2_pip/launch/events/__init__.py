# SPDX-License-Identifier: Apache-2.0
"""Events that launching emits, handles, or can be made to emit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ros2_pip.guard import not_in_subset

if TYPE_CHECKING:
    from ..entity import Action


class Event:
    """Base class of events."""

    name = 'launch.Event'


class Shutdown(Event):
    """Launching ends: processes are stopped, then the launch service returns."""

    name = 'launch.events.Shutdown'

    def __init__(self, *, reason: str = 'reason not given', due_to_sigint: bool = False) -> None:
        self.reason = reason
        self.due_to_sigint = due_to_sigint


def matches_action(target_action: Action) -> Callable[[Action], bool]:
    """Return a function that tells whether an action is this one."""
    return lambda action: action is target_action


from . import process  # noqa: E402  (needs Event)

__all__ = ['Event', 'Shutdown', 'matches_action', 'process']
__getattr__ = not_in_subset(__name__, __all__)
