# SPDX-License-Identifier: Apache-2.0
"""The shared replay: what it keeps, what it gives back, what it costs."""

import numpy as np
import pytest
import torch

from furl_ros.core.replay import Replay, Transition
from furl_ros.core.settings import SettingError


def transition(number, terminated=False, width=4):
    """Every value tells the transition's number."""
    return Transition(
        state=np.array([number, 0.5], np.float32),
        action=np.array([number / 100], np.float32),
        next_state=np.array([number + 1, 0.5], np.float32),
        task_reward=-number,
        success=number % 2 == 1,
        terminated=terminated,
        embedding=np.full(width, number / 8, np.float32),
        stamp=10**18 + number,
        source=number % 3,
        episode=number // 10,
        step=number % 10,
    )


def filled(count, capacity=10, width=4, **changes):
    replay = Replay(capacity, 2, 1, width)
    for number in range(count):
        replay.add(transition(number, width=width, **changes))
    return replay


@pytest.mark.parametrize('count', [1, 9, 10, 11, 35])
def test_the_newest_transitions_are_drawn_and_each_as_a_whole(count):
    replay = filled(count)
    assert len(replay) == min(count, 10)
    batch = replay.sample(np.random.default_rng(0), 500)
    numbers = batch.states[:, 0]
    assert set(numbers.tolist()) == set(range(max(0, count - 10), count))
    torch.testing.assert_close(batch.actions, numbers[:, None] / 100)
    assert torch.equal(batch.next_states[:, 0], numbers + 1)
    assert torch.equal(batch.task_rewards, -numbers[:, None])
    assert torch.equal(batch.embeddings, (numbers / 8)[:, None].expand(-1, 4))


def test_shapes_and_types_of_a_batch():
    batch = filled(5).sample(np.random.default_rng(0), 7)
    shapes = {name: tuple(value.shape) for name, value in batch._asdict().items()}
    assert shapes == {
        'states': (7, 2),
        'actions': (7, 1),
        'next_states': (7, 2),
        'terminated': (7, 1),
        'task_rewards': (7, 1),
        'embeddings': (7, 4),
    }
    assert {value.dtype for value in batch} == {torch.float32}


def test_a_batch_is_safe_from_later_transitions():
    replay = filled(10)
    batch = replay.sample(np.random.default_rng(0), 50)
    before = batch.states.clone()
    replay.add(transition(77))
    assert torch.equal(batch.states, before)


def test_draws_are_uniform():
    batch = filled(10).sample(np.random.default_rng(0), 20_000)
    counts = np.bincount(batch.states[:, 0].int(), minlength=10)
    assert np.abs(counts - 2_000).max() < 5 * np.sqrt(2_000)


def test_termination_is_kept():
    assert filled(5, terminated=True).sample(np.random.default_rng(0), 9).terminated.all()
    assert not filled(5, terminated=False).sample(np.random.default_rng(0), 9).terminated.any()


def test_every_field_is_stored():
    replay = filled(13)
    stored = {name: array[2] for name, array in replay.arrays.items()}
    for name, value in transition(12)._asdict().items():
        assert np.array_equal(stored[name], np.asarray(value, stored[name].dtype)), name
    # Stamps are nanoseconds since the epoch: no float would hold them.
    assert stored['stamp'] == 10**18 + 12


def test_memory_of_the_papers_replay():
    """Nothing is touched here: the pages are taken as the replay fills."""
    replay = Replay(500_000, 39, 4, 1024)
    assert replay.arrays['embedding'].dtype == np.float16
    assert replay.arrays['embedding'].nbytes <= 1.1e9
    assert sum(array.nbytes for array in replay.arrays.values()) <= 1.25e9


def test_without_embeddings():
    replay = filled(5, width=0)
    assert replay.sample(np.random.default_rng(0), 3).embeddings.shape == (3, 0)


@pytest.mark.parametrize('count', [0, 4, 10, 27])
def test_state_continues_bit_for_bit(count):
    one, other = filled(count), Replay(10, 2, 1, 4)
    other.restore({name: array.copy() for name, array in one.state().items()})
    for number in range(count, count + 5):
        one.add(transition(number))
        other.add(transition(number))
    assert one.written == other.written
    for name, array in one.arrays.items():
        assert np.array_equal(array, other.arrays[name]), name


@pytest.mark.parametrize(
    ('other', 'text'),
    [
        (Replay(9, 2, 1, 4), r'state of shape \[10, 2\]; accepted: \[9, 2\]'),
        (Replay(20, 2, 1, 4), r'state of shape \[10, 2\]; accepted: \[15, 2\]'),
        (Replay(10, 3, 1, 4), r'accepted: \[10, 3\]'),
        (Replay(10, 2, 1, 5), r'embedding of shape \[10, 4\]; accepted: \[10, 5\]'),
    ],
)
def test_state_of_another_shape(other, text):
    with pytest.raises(SettingError, match=text):
        other.restore(filled(15).state())
    assert other.written == 0
    assert not other.arrays['state'].any()
