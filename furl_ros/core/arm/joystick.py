# SPDX-License-Identifier: Apache-2.0
"""What an operator's hand does, as actions and events: a joystick, a twist, keys. No ROS.

Buttons count where they are pressed down, not while they are held: one that is held when the
joystick is first heard counts only after it was let go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from furl_ros.core.settings import SettingError, setting

EVENTS = ('success', 'failure', 'rerecord', 'end', 'pause', 'estop', 'arm', 'ready')
NONE = -1


def _button(what: str, number: int = NONE) -> int:
    return setting(number, f'Number of the button that {what}; -1: none.', low=NONE, high=255)


@dataclass(frozen=True)
class Mapping:
    """What the axes and buttons of a joystick mean (a YAML file; sensor_msgs/Joy)."""

    axes: tuple[int, ...] = setting(
        (1, 0, 4, 2),
        'Number of the axis for each value of an action; those beyond the action are left alone.',
        low=0,
        high=255,
        item=int,
    )
    scale: tuple[float, ...] = setting(
        (1.0,),
        'What a whole deflection asks for, one or one per axis; 1: the largest action, -1: the'
        ' other way.',
        low=-1,
        high=1,
        item=float,
    )
    dead_zone: float = setting(0.1, 'Deflections smaller than this are none.', low=0, high=0.99)
    drive: int = _button('is held to drive; without it any deflection drives')
    success: int = _button('says that the task is solved', 0)
    failure: int = _button('says that it is not', 1)
    rerecord: int = _button('throws the episode away', 2)
    end: int = _button('ends the episode', 3)
    pause: int = _button('pauses the training, and lets it go on', 7)
    estop: int = _button('stops the arm', 6)
    arm: int = _button('arms it')
    ready: int = _button('says that everything is in its place')
    twist_scale: tuple[float, ...] = setting(
        (0.1,),
        'Of a TwistStamped (m/s, rad/s): what the largest action is, one or one per value.',
        low=1e-6,
        high=100,
        item=float,
    )
    twist_axes: tuple[int, ...] = setting(
        (0, 1, 2, 3, 4, 5),
        'Which of x, y, z, roll, pitch, yaw (0 to 5) each value of an action is.',
        low=0,
        high=5,
        item=int,
    )


class Hand(NamedTuple):
    """What a hand does now."""

    action: np.ndarray | None
    """float32 [A] in [-1, 1]; None: it drives nothing."""
    events: tuple[str, ...]
    """Buttons that were pressed since the last time, by what they mean."""


class Joystick:
    """Reads a joystick.

    Args:
        mapping: what its axes and buttons mean.
        action_size: A.

    Raises:
        SettingError: the scale is neither one nor one per axis.
    """

    def __init__(self, mapping: Mapping, action_size: int) -> None:
        self._mapping, self._size = mapping, action_size
        self._axes = list(mapping.axes[:action_size])
        self._scale = _one_or_each('scale', mapping.scale, len(mapping.axes))[: len(self._axes)]
        self._held: frozenset[int] | None = None

    def read(self, axes: Sequence[float], buttons: Sequence[int]) -> Hand:
        """Take a message; an axis or a button that it does not have is at rest."""
        mapping = self._mapping
        down = frozenset(number for number, value in enumerate(buttons) if value)
        pressed = down - self._held if self._held is not None else frozenset()
        self._held = down
        events = tuple(name for name in EVENTS if getattr(mapping, name) in pressed)
        values = np.array([axes[n] if n < len(axes) else 0.0 for n in self._axes], np.float64)
        values = np.where(np.isfinite(values) & (np.abs(values) >= mapping.dead_zone), values, 0.0)
        drives = values.any() if mapping.drive == NONE else mapping.drive in down
        if not drives:
            return Hand(None, events)
        action = np.zeros(self._size, np.float32)
        action[: len(values)] = np.clip(values * self._scale, -1, 1)
        return Hand(action, events)


def from_twist(mapping: Mapping, twist: Sequence[float], action_size: int) -> np.ndarray | None:
    """The action of a twist (x, y, z, roll, pitch, yaw): float32 [A]; None where it is none."""
    values = np.nan_to_num(np.array(twist, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if not values.any():
        return None
    axes = list(mapping.twist_axes[:action_size])
    scale = _one_or_each('twist_scale', mapping.twist_scale, len(mapping.twist_axes))[: len(axes)]
    action = np.zeros(action_size, np.float32)
    action[: len(axes)] = np.clip(values[axes] / scale, -1, 1)
    return action


def _one_or_each(name: str, values: Sequence[float], count: int) -> np.ndarray:
    if len(values) not in (1, count):
        raise SettingError(f'{name} has {len(values)} values; accepted: 1 or {count}')
    return np.broadcast_to(np.array(values, np.float64), count)
