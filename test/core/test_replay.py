# SPDX-License-Identifier: Apache-2.0
"""The shared replay: what it keeps, what it gives back, what it costs."""

import numpy as np
import pytest
import torch

from furl_ros.core.replay import NO_ACTION, Replay, Transition
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
        'returns': (7, 1),
        'previous_embeddings': (0, 0),
        'discounts': (7, 1),
        'succeeded': (7, 1),
    }
    kinds = {name: value.dtype for name, value in batch._asdict().items()}
    assert kinds.pop('succeeded') == torch.bool
    assert set(kinds.values()) == {torch.float32}


def test_a_batch_is_safe_from_later_transitions():
    replay = filled(10)
    batch = replay.sample(np.random.default_rng(0), 50)
    before = batch.states.clone()
    replay.add(transition(77))
    assert torch.equal(batch.states, before)


def test_every_other_row_has_the_action_that_was_asked_for():
    replay = Replay(10, 2, 1, 4)
    for number in range(10):
        # Of the even ones the limits cut nothing, and nothing else is told.
        asked = np.array([-number], np.float32) if number % 2 else NO_ACTION
        replay.add(transition(number)._replace(asked_action=asked))
    restored = Replay(10, 2, 1, 4)
    restored.restore(replay.state())
    for one in (replay, restored):
        batch = one.sample(np.random.default_rng(0), 501)
        number, action = batch.states[:, 0], batch.actions[:, 0]
        torch.testing.assert_close(action[::2], number[::2] / 100)
        expected = torch.where(number % 2 == 1, -number, number / 100)[1::2]
        torch.testing.assert_close(action[1::2], expected)


def test_in_checkpoints_of_earlier_versions_no_action_was_cut():
    state = filled(10).state()
    del state['asked_action']
    replay = Replay(10, 2, 1, 4)
    replay.restore(state)
    assert np.array_equal(replay.arrays['asked_action'], replay.arrays['action'])


class TestSuccessShare:
    """Transition n belongs to source n % 3 and episode n // 10."""

    def succeeded(self, replay, share, count=1_000):
        numbers = replay.sample(np.random.default_rng(0), count, share).states[:, 0].int().numpy()
        return numbers, np.isin(numbers, [n for n in range(10, 20) if n % 3 == 1])

    def test_a_share_comes_from_marked_episodes_and_the_rest_from_all(self):
        replay = filled(40, capacity=40)
        replay.end_episode(1, 1, 0.9)
        numbers, marked = self.succeeded(replay, 0.5)
        assert marked[:500].all()
        assert 0 < marked[500:].mean() < 0.3
        assert set(numbers[500:].tolist()) == set(range(40))

    def test_rows_tell_whether_their_episode_succeeded(self):
        replay = filled(40, capacity=40)
        replay.end_episode(1, 1, 0.9)
        batch = replay.sample(np.random.default_rng(0), 1_000)
        marked = np.isin(batch.states[:, 0].int(), [n for n in range(10, 20) if n % 3 == 1])
        assert np.array_equal(batch.succeeded[:, 0].numpy(), marked)

    def test_without_a_success_all_are_drawn_alike(self):
        same = [filled(40, capacity=40).sample(np.random.default_rng(0), 9, s) for s in (0.0, 0.5)]
        assert torch.equal(same[0].states, same[1].states)

    def test_a_row_that_gives_way_is_no_longer_preferred(self):
        replay = filled(40, capacity=40)
        replay.end_episode(1, 1, 0.9)
        replay.sample(np.random.default_rng(0), 1, 0.5)
        for number in range(100, 113):
            replay.add(transition(number))
        numbers, marked = self.succeeded(replay, 1.0)
        assert marked.all()
        assert set(numbers.tolist()) == {13, 16, 19}

    def test_a_checkpoint_keeps_the_marks(self):
        replay, other = filled(40, capacity=40), filled(3, capacity=40)
        replay.end_episode(1, 1, 0.9)
        other.restore(replay.state())
        assert self.succeeded(other, 1.0)[1].all()
        old = replay.state()
        del old['succeeded'], old['return']
        other.restore(old)
        assert not self.succeeded(other, 1.0)[1].all()


class TestReturns:
    def replay(self, rewards, terminated):
        replay = Replay(20, 2, 1, 4)
        for step, reward in enumerate(rewards, 1):
            last = step == len(rewards)
            replay.add(
                transition(step)._replace(
                    task_reward=reward,
                    terminated=terminated and last,
                    source=0,
                    episode=0,
                    step=step,
                )
            )
        return replay

    def returns(self, replay):
        batch = replay.sample(np.random.default_rng(0), 200)
        found = dict(
            zip(batch.states[:, 0].int().tolist(), batch.returns[:, 0].tolist(), strict=True)
        )
        return [found[step] for step in sorted(found)]

    def test_a_terminated_episode(self):
        replay = self.replay([0, 0, 1], terminated=True)
        assert self.returns(replay) == [-np.inf] * 3
        replay.end_episode(0, 0, 0.5)
        assert self.returns(replay) == [0.25, 0.5, 1.0]

    def test_beyond_a_time_limit_the_worst_is_assumed(self):
        replay = self.replay([-1, 0], terminated=False)
        replay.end_episode(0, 0, 0.5)
        # -1 for ever from the third step on is worth -1 / (1 - 0.5) = -2.
        assert self.returns(replay) == [-1.5, -1.0]
        replay = self.replay([0, 1], terminated=False)
        replay.end_episode(0, 0, 0.5)
        assert self.returns(replay) == [0.5, 1.0]

    def test_a_new_row_has_none_and_checkpoints_keep_them(self):
        replay = self.replay([0, 1], terminated=True)
        replay.end_episode(0, 0, 0.5)
        other = Replay(20, 2, 1, 4)
        other.restore(replay.state())
        assert self.returns(other) == [0.5, 1.0]
        for step in range(3, 22):
            other.add(transition(step))
        assert self.returns(other) == [1.0] + [-np.inf] * 19


class TestStepsAhead:
    """Three steps ahead, of two robots in turns; rewards 1, 10, 100, ... tell which were added."""

    def replay(self, lengths, terminated=False, capacity=40):
        replay = Replay(capacity, 2, 1, 4, n_step=3, gamma=0.5)
        for step in range(1, max(lengths) + 1):
            for source, length in enumerate(lengths):
                if step <= length:
                    replay.add(
                        transition(100 * source + step)._replace(
                            task_reward=10.0**step,
                            terminated=terminated and step == length,
                            source=source,
                            episode=0,
                            step=step,
                        )
                    )
        return replay

    def drawn(self, replay):
        """For each state's number: (next state's, reward, discount, terminated, embedding)."""
        b = replay.sample(np.random.default_rng(0), 400)
        columns = (b.next_states[:, 0], b.task_rewards[:, 0], b.discounts[:, 0], b.terminated[:, 0])
        rows = zip(*(c.tolist() for c in (*columns, b.embeddings[:, 0] * 8)), strict=True)
        return dict(zip(b.states[:, 0].int().tolist(), rows, strict=True))

    @pytest.mark.parametrize('terminated', [False, True])
    def test_rewards_add_up_within_the_episode(self, terminated):
        found = self.drawn(self.replay((4, 3), terminated))
        end = float(terminated)
        assert found == {
            1: (4, 10 + 50 + 250, 0.125, 0, 3),
            2: (5, 100 + 500 + 2500, 0.125, end, 4),
            3: (5, 1000 + 5000, 0.25, end, 4),
            4: (5, 10000, 0.5, end, 4),
            101: (104, 10 + 50 + 250, 0.125, end, 103),
            102: (104, 100 + 500, 0.25, end, 103),
            103: (104, 1000, 0.5, end, 103),
        }

    def test_of_another_episode_nothing_is_added(self):
        replay = self.replay((2,))
        replay.add(transition(50)._replace(source=0, episode=1, step=1))
        assert self.drawn(replay)[2][:3] == (3, 100, 0.5)

    def test_where_the_ring_has_wrapped(self):
        replay = self.replay((12,), capacity=10)
        found = self.drawn(replay)
        assert sorted(found) == list(range(3, 13))
        assert found[10][0] == found[11][0] == found[12][0] == 13
        assert found[9][0] == 12

    def test_after_a_checkpoint(self):
        replay = self.replay((4, 3))
        other = Replay(40, 2, 1, 4, n_step=3, gamma=0.5)
        other.restore(replay.state())
        assert self.drawn(other) == self.drawn(replay)


def test_draws_are_uniform():
    batch = filled(10).sample(np.random.default_rng(0), 20_000)
    counts = np.bincount(batch.states[:, 0].int(), minlength=10)
    assert np.abs(counts - 2_000).max() < 5 * np.sqrt(2_000)


def test_termination_is_kept():
    assert filled(5, terminated=True).sample(np.random.default_rng(0), 9).terminated.all()
    assert not filled(5, terminated=False).sample(np.random.default_rng(0), 9).terminated.any()


def test_every_field_is_stored():
    replay = filled(12)
    added = transition(12)._replace(asked_action=np.array([0.7], np.float32))
    replay.add(added)
    stored = {name: array[2] for name, array in replay.arrays.items()}
    for name, value in added._asdict().items():
        if name == 'previous_embedding':
            continue
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


class Robots:
    """Interleaved episodes of some robots; every frame has an embedding of its own.

    Attributes:
        truth: embedding of the frame before, by the number of the transition.
    """

    def __init__(self, replay, sources, seed=0, left_out=0.0):
        self.replay, self.left_out = replay, left_out
        self.generator = np.random.default_rng(seed)
        self.now = [None] * sources
        self.episodes = [0] * sources
        self.frames = 0
        self.truth = []

    def frame(self):
        self.frames += 1
        return np.full(4, self.frames, np.float32)

    def step(self, source=None, last=None):
        """One step of a robot, with a reset before it where its episode has ended."""
        if source is None:
            source = int(self.generator.integers(len(self.now)))
        if self.now[source] is None:
            self.episodes[source] += 1
            self.now[source] = (self.frame(), 0)
        previous, index = self.now[source]
        embedding = self.frame()
        if self.generator.random() >= self.left_out:
            self.replay.add(
                Transition(
                    np.full(2, len(self.truth), np.float32),
                    np.zeros(1, np.float32),
                    np.zeros(2, np.float32),
                    0.0,
                    False,
                    False,
                    embedding,
                    self.frames,
                    source,
                    self.episodes[source],
                    index + 1,
                    previous,
                )
            )
            self.truth.append(previous)
        if last is None:
            last = self.generator.random() < 0.15
        self.now[source] = None if last else (embedding, index + 1)


def assert_previous(replay, truth, count=400):
    batch = replay.sample(np.random.default_rng(1), count)
    numbers = batch.states[:, 0].int().tolist()
    assert len(set(numbers)) == len(replay)
    expected = torch.from_numpy(np.stack([truth[number] for number in numbers]))
    assert torch.equal(batch.previous_embeddings, expected)
    assert batch.previous_embeddings.dtype == torch.float32
    assert not torch.equal(batch.previous_embeddings, batch.embeddings)


class TestPreviousEmbeddings:
    @pytest.mark.parametrize('sources', [1, 2, 5])
    @pytest.mark.parametrize('left_out', [0.0, 0.2])
    def test_of_the_same_episode_and_robot_whatever_has_been_written(self, sources, left_out):
        """Interleaved robots, resets, steps left out, before and long after the ring wraps."""
        replay = Replay(30, 2, 1, 4, keeps_previous=True)
        robots = Robots(replay, sources, seed=sources, left_out=left_out)
        for number in range(400):
            robots.step()
            if len(replay) and number % 7 == 0:
                assert_previous(replay, robots.truth)
        assert replay.written > 5 * replay.capacity

    def test_the_first_step_of_an_episode_has_the_frame_of_the_reset(self):
        replay = Replay(30, 2, 1, 4, keeps_previous=True)
        robots = Robots(replay, 1)
        for _ in range(6):
            robots.step(last=True)
        assert [int(frame[0]) for frame in robots.truth] == [1, 3, 5, 7, 9, 11]
        assert_previous(replay, robots.truth)

    def test_a_robot_that_stands_still_for_a_whole_ring(self):
        replay = Replay(10, 2, 1, 4, keeps_previous=True)
        robots = Robots(replay, 2)
        robots.step(0, last=False)
        for _ in range(25):
            robots.step(1)
        robots.step(0, last=False)
        assert_previous(replay, robots.truth)
        # Alone, its newest transition is the very one that gives way.
        for _ in range(9):
            robots.step(1)
        robots.step(0, last=False)
        assert_previous(replay, robots.truth)

    def test_it_costs_one_frame_for_each_episode_and_robot(self):
        replay = Replay(1_000, 2, 1, 4, keeps_previous=True)
        robots = Robots(replay, 3)
        for _ in range(5_000):
            robots.step()
        first_steps = int((replay.arrays['step'] == 1).sum())
        assert len(replay._apart) <= first_steps + 3
        assert replay.arrays['embedding'].shape == (1_000, 4)
        large = Replay(500_000, 39, 4, 1024, keeps_previous=True)
        assert large._previous.nbytes + large._next.nbytes <= 4.1e6

    def test_none_are_kept_where_they_are_not_asked_for(self):
        replay = filled(25)
        assert not replay._apart
        assert len(replay._previous) == len(replay._next) == 0
        assert set(replay.state()) == {*replay.arrays, 'return', 'succeeded', 'written'}

    def test_one_that_is_missing_or_of_another_width_is_an_error(self):
        replay = Replay(10, 2, 1, 4, keeps_previous=True)
        for wrong in (np.zeros(0), np.zeros(3)):
            with pytest.raises(ValueError, match=r'previous_embedding has shape \(\d,\); accepted'):
                replay.add(transition(0)._replace(previous_embedding=wrong))
        assert len(replay) == 0

    @pytest.mark.parametrize('count', [0, 4, 30, 100])
    def test_state_continues_bit_for_bit(self, count):
        """In the middle of episodes, too."""
        replays = [Replay(30, 2, 1, 4, keeps_previous=True) for _ in range(2)]
        robots = Robots(replays[0], 2)
        for _ in range(count):
            robots.step()
        for _ in range(7):
            replays[1].add(transition(3)._replace(previous_embedding=np.ones(4)))
        saved = {name: array.copy() for name, array in replays[0].state().items()}
        replays[1].restore(saved)

        class Both:
            def add(self, transition):
                for replay in replays:
                    replay.add(transition)

        robots.replay = Both()
        for _ in range(50):
            robots.step()
        one, other = (replay.state() for replay in replays)
        assert one.keys() == other.keys()
        for name, array in one.items():
            assert np.array_equal(array, other[name]), name
        assert_previous(replays[1], robots.truth)

    def test_a_state_without_them(self):
        replay = Replay(10, 2, 1, 4, keeps_previous=True)
        with pytest.raises(SettingError, match='no embeddings of previous frames') as caught:
            replay.restore(filled(5).state())
        assert '\n' not in str(caught.value)
        assert replay.written == 0
