# SPDX-License-Identifier: Apache-2.0
"""Episodes that somebody showed, as a file: driven by hand, scripted, or from recordings.

A transition is that of the replay, with the embeddings of its frames: a file is for one model.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from furl_ros.core.replay import Transition
from furl_ros.core.settings import SettingError
from furl_ros.core.storage import load_tree, save_tree

SOURCE = -1
"""Number of the robot that demonstrations come from, in a replay."""
_COLUMNS = {
    'state': np.float32,
    'action': np.float32,
    'next_state': np.float32,
    'task_reward': np.float32,
    'success': bool,
    'terminated': bool,
    'embedding': np.float16,
    'previous_embedding': np.float16,
    'episode': np.int32,
    'step': np.int32,
}
# What a run and its demonstrations have to agree on; what a file does not know is not compared.
BOUND = ('task', 'vlm', 'success_reward', 'action_repeat')


class Demonstrations(NamedTuple):
    """Episodes in their order, and what they were shown with."""

    transitions: list[Transition]
    """Of source ``SOURCE``; states as the robot senses them, actions scaled to [-1, 1]."""
    about: dict[str, Any]
    """Settings by name: those in ``BOUND``, prompt."""

    @property
    def episodes(self) -> list[list[Transition]]:
        """The transitions of each episode."""
        found: dict[int, list[Transition]] = {}
        for transition in self.transitions:
            found.setdefault(transition.episode, []).append(transition)
        return list(found.values())


def save_demonstrations(path: Path, shown: Demonstrations) -> None:
    """Write a file, atomically.

    Raises:
        OSError: it cannot be written.
    """
    arrays = {
        name: np.array([getattr(t, name) for t in shown.transitions], kind)
        for name, kind in _COLUMNS.items()
    }
    save_tree(path, arrays, {'demonstrations': shown.about})


def load_demonstrations(path: str | Path) -> Demonstrations:
    """Read a file; executes no code of it.

    Raises:
        SettingError: it is missing, or is no such file.
    """
    path = Path(path).expanduser()
    arrays, meta = load_tree(path)
    if 'demonstrations' not in meta or set(arrays) != set(_COLUMNS):
        raise SettingError(f"demonstrations is '{path}'; accepted: a file of demonstrate")
    sizes = {len(array) for array in arrays.values()}
    if len(sizes) != 1 or not sizes.pop():
        raise SettingError(f"demonstrations is '{path}', which holds no transitions")
    rows = zip(*(arrays[name] for name in _COLUMNS), strict=True)
    transitions = []
    for number, row in enumerate(rows):
        values = dict(zip(_COLUMNS, row, strict=True))
        transitions.append(
            Transition(
                values['state'],
                values['action'],
                values['next_state'],
                float(values['task_reward']),
                bool(values['success']),
                bool(values['terminated']),
                values['embedding'],
                number + 1,
                SOURCE,
                int(values['episode']),
                int(values['step']),
                values['previous_embedding'],
                0,
                True,
            )
        )
    return Demonstrations(transitions, meta['demonstrations'])


def check_demonstrations(shown: Demonstrations, config: dict[str, Any]) -> None:
    """Check that a run may learn from them.

    Raises:
        SettingError: names the first setting that differs.
    """
    for name in BOUND:
        known = shown.about.get(name)
        if known is not None and name in config and config[name] != known:
            raise SettingError(
                f'{name} is {config[name]!r}; accepted with these demonstrations: {known!r}'
            )


def check_sizes(
    shown: Demonstrations, state: int, action: int, embedding: int | None = None
) -> None:
    """Check that they are of this robot and this model.

    Args:
        state, action, embedding: how many values; None: whatever.

    Raises:
        SettingError: they are of another.
    """
    first = shown.transitions[0]
    has = [len(first.state), len(first.action), len(first.embedding)]
    wanted = [state, action, has[2] if embedding is None else embedding]
    if has != wanted:
        raise SettingError(
            f'demonstrations have states, actions and embeddings of {has} values; accepted here:'
            f' {wanted}'
        )
