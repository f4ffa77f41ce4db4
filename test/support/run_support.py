# SPDX-License-Identifier: Apache-2.0
"""Runs that are refused, ended, killed, or gone on with: what must hold for them."""

from pathlib import Path

import numpy as np
from graph_support import SMALL, checkpoints, read_alignment, read_table, read_trainer

from furl_ros.bridge.config import LearnerNodeConfig

ENDLESS = 100_000_000
"""More steps than any test makes."""


def steps_of(checkpoint: Path) -> int:
    """Environment steps of a checkpoint."""
    return int(checkpoint.name.removeprefix('step_'))


def assert_whole(folder: Path) -> None:
    """Every checkpoint can be read, and nothing half-written lies beside it."""
    assert not list(folder.glob('**/*.tmp'))
    assert_readable(folder)


def assert_readable(folder: Path) -> None:
    """Every checkpoint can be read, and is of one moment."""
    for path in checkpoints(folder):
        replay, trainer = read_trainer(path)
        _, alignment = read_alignment(path)
        assert trainer['steps'] == len(replay['stamp']) == steps_of(path)
        # Frames that had been scored when the learner left belong to no finished episode.
        early = alignment['transitions'] - trainer['steps']
        assert 0 <= early <= LearnerNodeConfig().max_in_flight + 1


def assert_goes_on(folder: Path, before: Path, after: Path) -> None:
    """The later checkpoint has all that the earlier one has, and more."""
    old, old_meta = read_trainer(before)
    new, new_meta = read_trainer(after)
    count = len(old['stamp'])
    assert new_meta['steps'] == len(new['stamp']) > count
    for name in set(old) - {'written'}:
        np.testing.assert_array_equal(new[name][:count], old[name], name)
    assert (np.diff(new['stamp']) > 0).all()
    assert new_meta['updates'] >= new_meta['steps'] - SMALL['warmup_steps'] - 1
    assert new_meta['episodes'] >= old_meta['episodes']
    assert new['episode'][count] > old['episode'][-1]
    assert new['step'][count] == 1
    for table in ('episodes.csv', 'curves.csv'):
        steps = [int(row['total_steps']) for row in read_table(folder / table)]
        assert steps == sorted(set(steps)), table
