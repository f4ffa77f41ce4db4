# SPDX-License-Identifier: Apache-2.0
"""Sentences say what the simulator's state says."""

import numpy as np
import pytest

from sim import captions
from sim.captions import Facts, caption, goals, thing
from sim.dataset import TRAINING_TASKS
from sim.tasks import MT10, TASKS

HERE = np.array([0.0, 0.6, 0.2])


def facts(**changes):
    usual = {
        'task': 'door-close-v3',
        'gripper': HERE,
        'opening': 1.0,
        'object': HERE + np.array([0.2, 0, 0]),
        'object_start': HERE + np.array([0.2, 0, 0]),
        'goal': HERE + np.array([0.4, 0, 0]),
        'success': False,
    }
    return Facts(**usual | changes)


def said(count=400, **changes):
    generator = np.random.default_rng(0)
    return {caption(facts(**changes), generator) for _ in range(count)}


def test_every_training_task_has_words_and_no_held_out_one():
    assert set(captions._WORDS) == set(TRAINING_TASKS)
    assert len(TRAINING_TASKS) == 40
    assert not set(captions._WORDS) & set(MT10)
    generator = np.random.default_rng(0)
    for task in TRAINING_TASKS:
        asked = {goals(task, generator) for _ in range(200)}
        assert TASKS[task].prompt in asked
        assert len(asked) >= 2
        assert all('{' not in sentence for sentence in asked)


def test_the_prompt_describes_a_solved_frame_and_no_other():
    prompt = TASKS['door-close-v3'].prompt
    assert prompt in said(success=True)
    assert not any(prompt in sentence for sentence in said())


@pytest.mark.parametrize(
    ('offset', 'words'),
    [
        ([-0.1, 0, 0], 'the gripper is left of the door'),
        ([0.1, 0, 0], 'the gripper is right of the door'),
        ([0, -0.1, 0], 'the gripper is in front of the door'),
        ([0, 0.1, 0], 'the gripper is behind the door'),
        ([0, 0, 0.1], 'the gripper is above the door'),
        ([0, 0, 0.01], 'the gripper touches the door'),
        ([0, 0, 0.4], 'the gripper is far from the door'),
    ],
)
def test_where_the_gripper_is(offset, words):
    place = np.array([0.3, 0.6, 0.1])
    assert words in said(gripper=place + offset, object=place, object_start=place)


def test_how_far_the_thing_has_come():
    start, goal = np.zeros(3), np.array([0.3, 0, 0])
    at = {share: said(object=goal * share, object_start=start, goal=goal) for share in (0, 0.3, 1)}
    assert 'the door has not moved yet' in at[0]
    assert 'the door is on the way' in at[0.3]
    assert 'the door is almost there' in at[1]
    assert not any('has not moved' in sentence for sentence in at[0.3] | at[1])
    away = said(object=-goal, object_start=start, goal=goal)
    assert 'the door went the wrong way' in away


def test_a_closed_gripper_at_the_thing_holds_it():
    held = said(opening=0.3, object=HERE, object_start=HERE)
    assert 'the gripper holds the door' in held
    assert 'the gripper is closed' in held
    assert not any('holds' in sentence for sentence in said(object=HERE, object_start=HERE))


def test_other_things_take_the_place_of_the_noun():
    generator = np.random.default_rng(0)
    asked = [goals('door-close-v3', generator, other_things=1.0) for _ in range(200)]
    assert sum(thing('door-close-v3') in sentence for sentence in asked) < 40
    assert any('drawer' in sentence for sentence in asked)


def test_the_same_generator_says_the_same():
    sentences = [
        [caption(facts(success=number % 2 == 0), generator, 0.5) for number in range(50)]
        for generator in (np.random.default_rng(3), np.random.default_rng(3))
    ]
    assert sentences[0] == sentences[1]
