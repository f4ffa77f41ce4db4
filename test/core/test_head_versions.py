# SPDX-License-Identifier: Apache-2.0
"""Which version of the heads an update uses: plain calls, heads are only passed on."""

from dataclasses import dataclass

import pytest

from furl_ros.core.head_versions import HeadVersions


@dataclass
class Trainer:
    steps: int = 0
    heads: str | None = None
    heads_version: int = 0
    heads_transitions: int = 0

    def set_heads(self, heads, version, transitions):
        self.heads, self.heads_version, self.heads_transitions = heads, version, transitions


def versions(every, *seen):
    """Versions that have come, one for each number of transitions."""
    made = HeadVersions(every)
    for number, transitions in enumerate(seen):
        made.add(f'after {transitions}', number, transitions)
    return made


def test_each_is_used_as_it_comes():
    trainer, made = Trainer(), versions(None, 0, 50)
    made.begin(trainer, most=1_000)
    assert (trainer.heads, trainer.heads_version) == ('after 50', 1)
    made.add('after 100', 2, 100)
    assert trainer.heads == 'after 100'
    # The one that came last, whatever it has seen: its sender may have begun anew.
    made.add('anew', 3, 60)
    assert (trainer.heads, trainer.heads_transitions) == ('anew', 60)
    trainer.steps = 10_000
    assert made.give_due()


def test_those_that_have_seen_more_than_there_was_are_of_another_run():
    trainer, made = Trainer(), versions(None, 0, 5_000)
    made.begin(trainer, most=1_000)
    assert trainer.heads == 'after 0'


class TestBitForBit:
    """However soon they come."""

    def test_each_has_its_steps(self):
        trainer, made = Trainer(), versions(50, 0)
        made.begin(trainer, most=1_000)
        trainer.steps = 49
        assert made.give_due()
        assert trainer.heads == 'after 0'
        trainer.steps = 50
        assert not made.give_due()
        assert trainer.heads == 'after 0'
        for transitions in (50, 100):
            made.add(f'after {transitions}', 1, transitions)
        assert trainer.heads == 'after 0'
        assert made.give_due()
        assert trainer.heads == 'after 50'
        trainer.steps = 99
        assert made.give_due()
        assert trainer.heads == 'after 50'
        trainer.steps = 100
        assert made.give_due()
        assert trainer.heads == 'after 100'
        assert len(made) == 1

    def test_those_of_the_checkpoint_are_used_until_the_next_are_due(self):
        # The alignment goes on from the same checkpoint, and has said so.
        trainer, made = Trainer(333, 'of the checkpoint', 7, 300), versions(50, 333)
        made.begin(trainer, most=1_000)
        assert made.give_due()
        assert (trainer.heads, trainer.heads_version) == ('of the checkpoint', 7)
        trainer.steps = 350
        assert not made.give_due()

    @pytest.mark.parametrize('steps', [0, 10_000])
    def test_heads_that_are_not_trained_are_not_waited_for(self, steps):
        trainer, made = Trainer(), versions(0, 0)
        made.begin(trainer, most=100_000)
        made.add('as before', 0, 50)
        trainer.steps = steps
        assert made.give_due()
        assert trainer.heads == 'after 0'


def test_without_any_heads_nothing_is_waited_for():
    trainer, made = Trainer(), versions(None)
    made.begin(trainer, most=1_000)
    assert len(made) == 0
    assert made.give_due()
    assert trainer.heads is None
