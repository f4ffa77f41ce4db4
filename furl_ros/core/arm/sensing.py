# SPDX-License-Identifier: Apache-2.0
"""The observation vector of a robot: from fields of messages to float32 [S]."""

import re
import reprlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from furl_ros.core.arm.profile import LAST_ACTION, TO_SI, Source

_STEP = re.compile(r'(\w+)(?:\[([^\]]+)\])?')
# Fields in which messages name the entries of their other fields.
_NAMES = ('name', 'names', 'joint_names')
_MOST_NAMES, _LONGEST_NAME = 20, 50


class FieldError(ValueError):
    """A message has not what a field path asks for; the text is one line for people."""


def read_fields(source: Source, message: Any) -> np.ndarray:
    """The values of a source in a message: float64 [source.size], in the units of the topic.

    Entries are found by the names in the message, in whatever order they come.

    Raises:
        FieldError: names the field, or the joint, that the message has not.
    """
    values = [_read_field(path, message) for path in source.fields]
    joined = np.concatenate(values)
    if len(joined) != source.size:
        raise FieldError(
            f'{", ".join(source.fields)}: {len(joined)} values; accepted: {source.size}'
        )
    return joined


def _read_field(path: str, message: Any) -> np.ndarray:
    value = message
    for step in _STEP.finditer(path):
        parent, (name, key) = value, step.groups()
        if not hasattr(parent, name):
            raise FieldError(f'{path}: {type(parent).__name__} has no field {name!r}')
        value = getattr(parent, name)
        if key is not None:
            value = _entry(path, parent, value, key)
    if isinstance(value, (str, bytes)):
        raise FieldError(f'{path} is {reprlib.repr(value)}; accepted: a number')
    try:
        return np.atleast_1d(np.asarray(value, np.float64)).ravel()
    except (TypeError, ValueError):
        raise FieldError(f'{path} is a {type(value).__name__}; accepted: a number') from None


def _entry(path: str, parent: Any, values: Any, key: str) -> Any:
    names = next((list(getattr(parent, name)) for name in _NAMES if hasattr(parent, name)), [])
    if key in names:
        index = names.index(key)
    elif key.isdecimal():
        index = int(key)
    else:
        raise FieldError(f'{path}: there is no {key!r}; there are: {_listed(names) or "no names"}')
    try:
        return values[index]
    except (IndexError, TypeError):
        size = len(values) if hasattr(values, '__len__') else 0
        raise FieldError(f'{path}: it has {size} values, no number {index}') from None


def _listed(names: list[str]) -> str:
    """Names for people: of a broken message as few as they can read."""
    listed = ', '.join(name[:_LONGEST_NAME] for name in names[:_MOST_NAMES])
    return listed + (', ...' if len(names) > _MOST_NAMES else '')


class Reading(NamedTuple):
    """The observation vector at one time, or what it lacks."""

    values: np.ndarray | None
    """float32 [S], normalised; None while something is missing or stale."""
    missing: tuple[str, ...]
    """Sources that nothing ever came from."""
    stale: tuple[str, ...]
    """Sources that have been silent for too long."""


class Layout:
    """Collects what comes from the sources, each in its own time, and lays it out as one vector.

    Attributes:
        size: values of the vector, S.
        proprioception: indices of what the robot senses of itself; empty: all of it.
        counts: what was refused, by reason.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        """Take sources as ``read_profile`` leaves them, in the order of the vector."""
        self.size = sum(source.size for source in sources.values())
        of_robot = [not s.scene for s in sources.values() for _ in range(s.size)]
        indices = () if all(of_robot) else np.flatnonzero(of_robot).tolist()
        self.proprioception: tuple[int, ...] = tuple(indices)
        self.counts: Counter[str] = Counter()
        self._sources = dict(sources)
        self._latest: dict[str, tuple[float, np.ndarray]] = {}
        self._acted = [name for name, source in sources.items() if source.type == LAST_ACTION]
        self.restart()

    def restart(self) -> None:
        """An episode begins: the last action is none, zeros."""
        for name in self._acted:
            self.acted(np.zeros(self._sources[name].size))

    def acted(self, action: np.ndarray) -> None:
        """Take the action [A] that was carried out, for the sources of type last_action."""
        for name in self._acted:
            self.put(name, action, float('nan'))

    def put(self, name: str, values: np.ndarray, now: float) -> str:
        """Take what came from a source at this time in seconds.

        Args:
            name: the source.
            values: [its size], in the units of its topic.

        Returns:
            '' when it was taken, else why not; what was there before then stays, and grows stale.
        """
        source = self._sources[name]
        values = np.asarray(values, np.float64)
        if values.shape != (source.size,):
            self.counts[f'{name}: wrong size'] += 1
            return f'{values.size} values; accepted: {source.size}'
        with np.errstate(over='ignore', invalid='ignore'):
            values = (values * TO_SI[source.unit] - source.offset) / source.scale
            finite = np.isfinite(values.astype(np.float32)).all()
        if not finite:
            self.counts[f'{name}: not finite'] += 1
            return 'not finite'
        self._latest[name] = now, values
        return ''

    def get(self, name: str, now: float) -> np.ndarray | None:
        """What came from one source, float64 and normalised; None when missing or stale."""
        if name not in self._latest or self._is_stale(name, now):
            return None
        return self._latest[name][1]

    def read(self, now: float) -> Reading:
        """The vector at this time in seconds."""
        missing = tuple(name for name in self._sources if name not in self._latest)
        stale = tuple(
            name for name in self._sources if name in self._latest and self._is_stale(name, now)
        )
        if missing or stale:
            return Reading(None, missing, stale)
        parts = [self._latest[name][1] for name in self._sources]
        return Reading(np.concatenate(parts).astype(np.float32), (), ())

    def _is_stale(self, name: str, now: float) -> bool:
        source = self._sources[name]
        # Written so that a time that is not a number counts as stale.
        return source.type != LAST_ACTION and not (
            abs(now - self._latest[name][0]) <= source.stale_s
        )
