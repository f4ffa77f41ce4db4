# SPDX-License-Identifier: Apache-2.0
"""Rings, stages and training of the reward heads."""

import dataclasses

import numpy as np
import pytest
import torch

from furl_ros.core.alignment import Aligner, Ring, count_positives
from furl_ros.core.config import AlignConfig
from furl_ros.core.settings import SettingError
from furl_ros.core.storage import load_tree

WIDTH = 6
CONFIG = AlignConfig(
    heads='paper', head_hidden_units=16, output_units=8, head_batch_size=32, ring_size=200, lag=2
)
TEXT = np.linspace(-1, 1, WIDTH).astype(np.float32)
GOAL = np.ones(WIDTH, np.float32)


def aligner(method='furl', goal=GOAL, warmup=0, seed=0, **changes):
    config = dataclasses.replace(CONFIG, **changes)
    return Aligner(config, method, TEXT, goal, seed, warmup)


def feed(aligner, frames, success=()):
    """One whole episode of frames [T, E]; ``success`` are the indices of success frames."""
    for index, frame in enumerate(frames):
        aligner.add(frame, index in success, last=index == len(frames) - 1)


def noise(count, seed=0, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 1, (count, WIDTH)).astype(np.float32)


def parameters(aligner):
    return np.concatenate(aligner.heads.flat())


class TestCountPositives:
    @pytest.mark.parametrize(
        ('success', 'count'),
        [
            ('', 0),
            ('...', 0),
            ('S', 1),
            ('..S', 3),  # every frame up to the first success
            ('..SSS', 5),  # and the run of success frames after it
            ('..SS..', 4),  # but nothing after the run is broken,
            ('..SS.S.', 4),  # not even a later success
            ('SS.', 2),
        ],
    )
    def test_by_hand(self, success, count):
        assert count_positives([mark == 'S' for mark in success]) == count


def marked(ring_width, episode, length, first=0):
    """Frames whose values tell their episode and their index; exact in float16."""
    frames = np.zeros((length, ring_width), np.float16)
    frames[:, 0], frames[:, 1] = episode, np.arange(first, first + length)
    return frames


class TestRing:
    def test_keeps_the_newest_frames(self):
        ring = Ring(5, 2)
        ring.extend(marked(2, 1, 3))
        assert len(ring) == 3
        ring.extend(marked(2, 2, 4))
        assert len(ring) == 5
        held = {tuple(row) for row in ring.draw(np.random.default_rng(0), 500).tolist()}
        assert held == {(1, 2), (2, 0), (2, 1), (2, 2), (2, 3)}

    def test_an_episode_longer_than_the_ring(self):
        ring = Ring(5, 2)
        ring.extend(marked(2, 1, 12))
        held = {tuple(row) for row in ring.draw(np.random.default_rng(0), 500).tolist()}
        assert held == {(1, index) for index in range(7, 12)}

    def test_lagged_pairs_are_lag_frames_apart_in_one_episode(self):
        """Whatever the sizes, and after any number of wraps: exactly the pairs that there are."""
        generator = np.random.default_rng(0)
        for _ in range(150):
            capacity, lag = int(generator.integers(1, 40)), int(generator.integers(1, 12))
            ring = Ring(capacity, 2)
            written = []
            for episode in range(int(generator.integers(1, 12))):
                length = int(generator.integers(1, 60))
                ring.extend(marked(2, episode, length))
                written += [(episode, index) for index in range(length)]
                held = set(written[-capacity:])
                possible = {(e, i) for e, i in held if (e, i - lag) in held}
                pairs = ring.draw_lagged(generator, 300, lag)
                assert (pairs is None) == (not possible)
                if pairs is None:
                    continue
                later, earlier = (np.asarray(part).astype(int) for part in pairs)
                assert np.array_equal(later[:, 0], earlier[:, 0])
                assert (later[:, 1] - earlier[:, 1] == lag).all()
                assert {tuple(row) for row in later.tolist()} <= possible

    def test_every_pair_can_be_drawn(self):
        ring = Ring(8, 2)
        for episode in range(3):
            ring.extend(marked(2, episode, 5))
        later, _ = ring.draw_lagged(np.random.default_rng(0), 500, 2)
        # Episode 1 has lost its first two frames to the ring, so frames 4 of it and 2.. of 2.
        assert {tuple(row) for row in later.tolist()} == {(1, 4), (2, 2), (2, 3), (2, 4)}

    def test_frames_of_the_end_of_an_episode(self):
        """Whatever the sizes, and after any number of wraps; of each episode its last frame."""
        generator = np.random.default_rng(0)
        for _ in range(150):
            ring, share = Ring(int(generator.integers(1, 40)), 2), generator.uniform(0.01, 1)
            written = []
            for episode in range(int(generator.integers(1, 12))):
                length = int(generator.integers(1, 60))
                ring.extend(marked(2, episode, length))
                late = np.arange(length) >= min(length * (1 - share), length - 1)
                written += [(episode, index, late[index]) for index in range(length)]
                possible = {(e, i) for e, i, late in written[-len(ring.indices) :] if late}
                held = ring.draw(generator, 2_000, share)
                assert {tuple(row) for row in held.astype(int).tolist()} == possible

    def test_no_pair(self):
        ring = Ring(8, 2)
        assert ring.draw_lagged(np.random.default_rng(0), 4, 1) is None
        ring.extend(marked(2, 0, 3))
        assert ring.draw_lagged(np.random.default_rng(0), 4, 3) is None

    def test_state_after_a_wrap(self):
        ring, other = Ring(7, 2), Ring(7, 2)
        ring.extend(marked(2, 0, 10))
        other.restore(ring.state())
        for one in (ring, other):
            one.extend(marked(2, 1, 4))
        assert np.array_equal(ring.embeddings, other.embeddings)
        assert np.array_equal(ring.indices, other.indices)
        assert ring.written == other.written

    @pytest.mark.parametrize('other', [Ring(9, 2), Ring(5, 2), Ring(7, 3)])
    def test_state_of_another_shape(self, other):
        ring = Ring(7, 2)
        ring.extend(marked(2, 0, 10))
        with pytest.raises(SettingError, match='the checkpoint has rings of 7 frames of width 2'):
            other.restore(ring.state())

    def test_embeddings_are_float16(self):
        ring = Ring(20_000, 1024)
        assert ring.embeddings.nbytes == 20_000 * 1024 * 2


class TestSorting:
    def test_frames_of_a_success_are_positive_and_the_rest_is_dropped(self):
        one = aligner()
        feed(one, noise(10), success=(4, 5, 8))
        assert (len(one.positives), len(one.negatives)) == (6, 0)

    def test_frames_of_a_failure_are_negative(self):
        one = aligner()
        feed(one, noise(10))
        assert (len(one.positives), len(one.negatives)) == (0, 10)

    def test_a_running_episode_is_in_no_ring(self):
        one = aligner()
        for frame in noise(3):
            one.add(frame, False, last=False)
        assert (len(one.positives), len(one.negatives)) == (0, 0)
        one.drop_episode()
        one.add(noise(1)[0], False, last=True)
        assert len(one.negatives) == 1
        assert one.transitions == 4

    def test_robots_are_kept_apart(self):
        one = aligner()
        for step in range(4):
            one.add(noise(1)[0], step == 3, last=step == 3, source='a')
            one.add(noise(1)[0], False, last=step == 3, source='b')
        assert (len(one.positives), len(one.negatives)) == (4, 4)


class TestStages:
    def test_warm_up_only_collects(self):
        one = aligner(warmup=20)
        feed(one, noise(10))
        feed(one, noise(10), success=(9,))
        before = parameters(one)
        assert one.update() == {}
        assert np.array_equal(parameters(one), before)
        assert (one.stage, one.version) == (0, 0)
        # The first transition after it: the success of the warm-up counts.
        one.add(noise(1)[0], False, last=False)
        assert set(one.update()) == {'pos_neg', 'pos_pos'}
        assert (one.stage, one.version) == (2, 1)

    def test_stage_1_compares_distances_to_the_goal_image(self):
        one = aligner()
        feed(one, noise(20))
        assert set(one.update()) == {'neg_neg'}
        assert (one.stage, one.version) == (1, 1)

    @pytest.mark.parametrize(('method', 'goal'), [('furl', None), ('furl-nogoal', GOAL)])
    def test_stage_1_without_a_goal_image_leaves_the_heads_alone(self, method, goal):
        one = aligner(method, goal)
        feed(one, noise(20))
        before = parameters(one)
        assert one.update() == {}
        assert np.array_equal(parameters(one), before)
        feed(one, noise(20), success=(19,))
        assert set(one.update()) == {'pos_neg', 'pos_pos'}

    def test_stage_1_without_frames_or_without_clear_differences(self):
        one = aligner()
        one.add(noise(1)[0], False, last=False)
        assert one.update() == {}
        feed(one, np.tile(noise(1), (20, 1)))
        assert one.update() == {}
        assert one.version == 0

    def test_stage_2_is_for_good(self):
        one = aligner()
        feed(one, noise(20), success=(19,))
        for _ in range(30):
            feed(one, noise(20))
            assert 'neg_neg' not in one.update()
            assert one.stage == 2

    def test_stage_2_without_negatives(self):
        one = aligner()
        feed(one, noise(20), success=(19,))
        assert set(one.update()) == {'pos_pos'}

    def test_stage_2_without_lagged_pairs(self):
        one = aligner(lag=10)
        feed(one, noise(20))
        feed(one, noise(5), success=(4,))
        assert set(one.update()) == {'pos_neg'}

    def test_stage_2_without_either(self):
        one = aligner(lag=10)
        feed(one, noise(5), success=(4,))
        assert one.update() == {}
        assert one.version == 0

    @pytest.mark.parametrize('method', ['vlm-proj', 'relay', 'vlm'])
    def test_other_methods_never_train(self, method):
        one = aligner(method)
        feed(one, noise(20))
        feed(one, noise(20), success=(19,))
        before = parameters(one)
        assert one.update() == {}
        assert np.array_equal(parameters(one), before)


def test_losses_have_equal_weights():
    """The step goes along the gradient of the plain sum of both losses."""
    one, other = aligner(seed=4), aligner(seed=4)
    for each in (one, other):
        feed(each, noise(30, 1))
        feed(each, noise(30, 2), success=(29,))
    generator = np.random.default_rng([4, 1])
    draw = [
        other.positives.draw(generator, CONFIG.head_batch_size),
        other.negatives.draw(generator, CONFIG.head_batch_size),
        *other.positives.draw_lagged(generator, CONFIG.head_batch_size, CONFIG.lag),
    ]
    positive, negative, later, earlier = (
        other.heads(torch.from_numpy(frames.astype(np.float32)), other.text) for frames in draw
    )
    pos_neg = torch.clamp(negative - positive + 0.1, min=0).mean()
    pos_pos = torch.clamp(earlier - later + 0.1, min=0).mean()
    expected = torch.autograd.grad(pos_neg + pos_pos, list(other.heads.parameters()))
    losses = one.update()
    assert losses == pytest.approx({'pos_neg': pos_neg.item(), 'pos_pos': pos_pos.item()})
    for parameter, gradient in zip(one.heads.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_the_beginnings_of_successes_need_not_be_above_failures():
    """They look like failures, which says nothing of what lies between beginning and end."""
    one = aligner(head_learning_rate=3e-3, lag=3, positive_share=0.25, ring_size=2_000)
    generator = np.random.default_rng(0)

    def success():
        frames = generator.normal(0, 0.05, (20, WIDTH)).astype(np.float32)
        frames[:, 0] += np.linspace(-1, 1, 20)
        return frames

    failure = np.concatenate([success()[:10] for _ in range(4)])
    feed(one, failure)
    feed(one, success(), success=(19,))
    for _ in range(250):
        one.update()
    seen, failed = (one.heads.score(frames, TEXT) for frames in (success(), failure))
    assert seen[15:].min() > failed.max()
    assert np.corrcoef(seen, np.arange(20))[0, 1] > 0.9


def test_stage_1_is_the_loss_on_raw_embedding_distances():
    one, other = aligner(seed=4), aligner(seed=4)
    for each in (one, other):
        feed(each, noise(30, 1))
    frames = other.negatives.draw(np.random.default_rng([4, 1]), CONFIG.head_batch_size)
    frames = frames.astype(np.float32)
    scores = other.heads.score(frames, TEXT)
    distances = np.sqrt(((frames - GOAL) ** 2).sum(axis=1))
    terms = [
        max(0.0, scores[j] - scores[i] + 0.1)
        for i in range(len(frames))
        for j in range(len(frames))
        if distances[i] < distances[j] - 0.25
    ]
    assert one.update() == pytest.approx({'neg_neg': np.mean(terms)}, rel=1e-4)


def test_training_puts_positives_above_negatives_and_later_above_earlier():
    one = aligner(head_learning_rate=3e-3, lag=10, ring_size=2_000)
    generator = np.random.default_rng(0)

    def progress(success):
        """Embeddings that move along one axis with time, and along another with success."""
        frames = generator.normal(0, 0.1, (40, WIDTH)).astype(np.float32)
        frames[:, 0] += 1 if success else -1
        frames[:, 1] += np.linspace(-1, 1, 40) if success else 0
        return frames

    for _ in range(10):
        feed(one, progress(False))
        feed(one, progress(True), success=(39,))
    for _ in range(250):
        one.update()
    good, bad = (one.heads.score(progress(success), TEXT) for success in (True, False))
    assert good[10:].min() > bad.max()
    assert np.mean(good[10:] > good[:-10]) > 0.95


def test_training_puts_frames_near_the_goal_image_above_far_ones():
    one = aligner(head_learning_rate=3e-3)
    distance = np.linspace(0, 3, 100)[:, None]
    feed(one, (GOAL + distance * noise(1) + 0.01 * noise(100, 1)).astype(np.float32))
    for _ in range(200):
        one.update()
    scores = one.heads.score((GOAL + distance * noise(1)).astype(np.float32), TEXT)
    assert np.corrcoef(scores, distance[:, 0])[0, 1] < -0.9


def rehearse(one, rounds, start=0):
    """A fixed order of episodes and updates; every third episode succeeds."""
    for number in range(start, start + rounds):
        frames = noise(15, number)
        for index, frame in enumerate(frames):
            one.add(frame, number % 3 == 2 and index == 14, last=index == 14)
            one.update()


def test_deterministic_given_the_order():
    torch.manual_seed(1)
    one, other = aligner(seed=5), aligner(seed=5)
    rehearse(one, 6)
    torch.manual_seed(2)
    np.random.seed(2)
    rehearse(other, 6)
    assert np.array_equal(parameters(one), parameters(other))
    assert one.version == other.version > 0
    different = aligner(seed=6)
    rehearse(different, 6)
    assert not np.array_equal(parameters(one), parameters(different))


def contents(path):
    arrays, meta = load_tree(path)

    def leaves(tree, prefix=''):
        for name, value in tree.items():
            if isinstance(value, dict):
                yield from leaves(value, f'{prefix}{name}/')
            else:
                yield prefix + name, value

    return dict(leaves(arrays)), meta


@pytest.mark.parametrize('rounds', [0, 1, 5, 14])
def test_save_and_load_continue_bit_for_bit(tmp_path, rounds):
    """Before the first update, in stage 1, in stage 2, and after the rings have wrapped."""
    one, other = aligner(seed=7), aligner(seed=7)
    rehearse(one, rounds)
    one.save(tmp_path / 'first')
    other.load(tmp_path / 'first')
    for each, name in ((one, 'one'), (other, 'other')):
        rehearse(each, 2, start=rounds)
        each.save(tmp_path / name)
    (arrays, meta), (other_arrays, other_meta) = map(
        contents, (tmp_path / 'one', tmp_path / 'other')
    )
    assert meta == other_meta
    assert arrays.keys() == other_arrays.keys()
    for name, array in arrays.items():
        assert array.dtype == other_arrays[name].dtype
        assert np.array_equal(array, other_arrays[name]), name
        assert array.shape == other_arrays[name].shape, name
    # All parameters with both Adam moments and the step count are there.
    assert sum(name.startswith('optimizer/') for name in arrays) == 3 * 8


def test_load_restores_everything_that_a_snapshot_tells(tmp_path):
    one, other = aligner(), aligner(seed=9)
    rehearse(one, 5)
    one.save(tmp_path / 'a')
    other.add(noise(1)[0], True, last=False)
    other.load(tmp_path / 'a')
    assert one.snapshot()[:-1] == other.snapshot()[:-1]
    assert not other.episodes
    assert all(p.requires_grad for p in other.heads.parameters())


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'output_units': 9}, r'heads of layers \[6, 16, 8\]; accepted: \[6, 16, 9\]'),
        ({'ring_size': 30}, 'accepted: width 6 and the same ring_size'),
        ({'heads': 'anchored'}, "heads is 'anchored', but .* accepted: 'paper'"),
    ],
)
def test_a_checkpoint_that_does_not_fit(tmp_path, changes, text):
    one = aligner()
    rehearse(one, 6)
    one.save(tmp_path / 'a')
    with pytest.raises(SettingError, match=text) as caught:
        aligner(**changes).load(tmp_path / 'a')
    assert '\n' not in str(caught.value)


def test_a_snapshot_is_safe_from_later_updates():
    one = aligner()
    rehearse(one, 2)
    taken = one.snapshot()
    before = taken.heads.flat()[0].copy()
    rehearse(one, 2, start=2)
    assert np.array_equal(taken.heads.flat()[0], before)
    assert taken.version < one.version
    assert taken.transitions == 30


class TestAnchored:
    """Heads that begin as the cosine with the goal image, or the prompt, less the common part."""

    def unit(self, vectors):
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    def started(self, frames, **changes):
        """An aligner after the first transition beyond a warm-up with these frames."""
        one = aligner(warmup=len(frames) - 1, heads='anchored', **changes)
        feed(one, frames)
        assert one.update() == {}
        return one

    @pytest.mark.parametrize(
        ('method', 'goal', 'image'),
        [('furl', GOAL, True), ('furl', None, False), ('furl-nogoal', GOAL, False)],
    )
    def test_before_a_success_the_reward_is_the_cosine(self, method, goal, image):
        frames, seen = noise(12), noise(12).astype(np.float16).astype(np.float64)
        one = self.started(frames, method=method, goal=goal)
        center = self.unit(seen).mean(0)
        anchor = self.unit(self.unit(GOAL) - center) if image else self.unit(TEXT)
        expected = self.unit(self.unit(frames) - center) @ anchor / np.sqrt(2)
        np.testing.assert_allclose(one.heads.score(frames, TEXT), expected, atol=1e-5)
        assert (one.stage, one.version) == (1, 1)
        feed(one, noise(10))
        assert one.update() == {}
        np.testing.assert_allclose(one.heads.score(frames, TEXT), expected, atol=1e-5)

    def test_in_the_warm_up_nothing_is_taken_away(self):
        one = aligner(warmup=20, heads='anchored')
        feed(one, noise(10))
        assert one.update() == {}
        assert one.version == 0
        expected = self.unit(noise(10)) @ self.unit(GOAL) / np.sqrt(2)
        np.testing.assert_allclose(one.heads.score(noise(10), TEXT), expected, atol=1e-5)

    def test_a_goal_image_may_come_later(self):
        late, early = self.started(noise(12), goal=None), self.started(noise(12))
        late.set_goal(GOAL)
        assert np.array_equal(late.heads.anchor, early.heads.anchor)

    def test_from_the_first_success_on_they_learn(self):
        one = self.started(noise(12))
        feed(one, noise(10), success=(9,))
        assert set(one.update()) == {'pos_neg', 'pos_pos'}
        assert (one.stage, one.version) == (2, 2)

    def test_random_heads_have_no_anchor(self):
        assert not aligner(method='vlm-proj', heads='anchored').heads.anchored

    @pytest.mark.parametrize('rounds', [0, 1, 5])
    def test_save_and_load_continue_bit_for_bit(self, tmp_path, rounds):
        """Within the warm-up, in stage 1 and in stage 2."""
        one, other = (aligner(seed=7, warmup=13, heads='anchored') for _ in range(2))
        rehearse(one, rounds)
        one.save(tmp_path / 'first')
        other.load(tmp_path / 'first')
        for each, name in ((one, 'one'), (other, 'other')):
            rehearse(each, 3, start=rounds)
            each.save(tmp_path / name)
        (arrays, meta), (other_arrays, other_meta) = map(
            contents, (tmp_path / 'one', tmp_path / 'other')
        )
        assert meta == other_meta
        assert arrays.keys() == other_arrays.keys()
        assert all(np.array_equal(arrays[name], other_arrays[name]) for name in arrays)


@pytest.mark.parametrize('goal', [None, GOAL])
@pytest.mark.parametrize('heads', ['paper', 'anchored'])
def test_another_prompt_keeps_rings_and_what_was_learned(heads, goal):
    other = TEXT[::-1].copy()
    one = aligner(goal=goal, heads=heads)
    feed(one, noise(20), success={19})
    feed(one, noise(20, seed=1))
    one.update()
    learned, version = parameters(one), one.version
    frames = noise(5, seed=2)
    before = one.heads.score(frames, TEXT)
    begins_with_it = heads == 'anchored' and goal is None
    assert one.set_text(other) is begins_with_it
    assert one.version == version + begins_with_it
    np.testing.assert_array_equal(parameters(one), learned)
    assert (len(one.positives), len(one.negatives)) == (20, 20)
    after = one.heads.score(frames, one.text.numpy())
    assert np.abs(after - before).max() > 1e-4
    assert one.update()
