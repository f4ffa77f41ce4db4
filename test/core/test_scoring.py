# SPDX-License-Identifier: Apache-2.0
"""Scores of frames: with and without heads, every scoring, and heads that do not fit."""

import numpy as np
import pytest
import torch

from furl_ros.core.config import ScoringConfig
from furl_ros.core.heads import RewardHeads
from furl_ros.core.reward import goal_baseline
from furl_ros.core.vlm import Scorer, cosine


class MeanColour:
    """A model whose embedding is the mean colour and a constant."""

    name = 'mean-colour'
    embedding_dim = 4
    image_size = 2

    def __init__(self):
        self.batches = []

    def encode_images(self, frames):
        self.batches.append(len(frames))
        means = frames.mean(axis=(1, 2)) / 255
        return np.concatenate([means, np.ones((len(frames), 1))], axis=1).astype(np.float32)

    def encode_text(self, text):
        return np.array(['red' in text, 'green' in text, 'blue' in text, 0.5], np.float32)


FRAMES = np.random.default_rng(0).integers(0, 256, (5, 2, 2, 3), np.uint8)


@pytest.fixture
def scorer():
    return Scorer(MeanColour(), 'something red')


def test_without_heads_the_reward_is_the_plain_cosine(scorer):
    scores = scorer.score(FRAMES)
    expected = cosine(scorer.vlm.encode_images(FRAMES), scorer.vlm.encode_text('red'))
    assert np.array_equal(scores.cosines, expected)
    assert np.array_equal(scores.rewards, expected)
    assert scores.heads_version == scorer.heads_version == 0
    other = scorer.score(FRAMES, prompt='something blue')
    assert np.array_equal(other.embeddings, scores.embeddings)
    assert not np.allclose(other.cosines, scores.cosines)


def stacked(*views):
    """Frames of several views, one below the other."""
    return np.concatenate(views, axis=1)


@pytest.mark.parametrize('one_by_one', [False, True])
def test_several_views_score_as_the_mean_of_their_cosines(one_by_one):
    one = Scorer(MeanColour(), 'something red')
    three = Scorer(MeanColour(), 'something red', one_by_one=one_by_one, views=3)
    views = FRAMES, FRAMES[::-1], FRAMES // 2
    scores = three.score(stacked(*views))
    assert scores.embeddings.dtype == np.float32
    embeddings = np.stack([one.encode(view) for view in views])
    directions = embeddings / np.linalg.norm(embeddings, axis=2, keepdims=True)
    agreement = np.linalg.norm(directions.mean(axis=0), axis=1)
    for prompt in ('red', 'blue', 'green'):
        cosines = [one.score(view, prompt).cosines for view in views]
        expected = np.mean(cosines, axis=0) / agreement
        np.testing.assert_allclose(
            three.score(stacked(*views), prompt).cosines, expected, atol=1e-6
        )


def test_a_view_without_a_direction_counts_for_nothing():
    class Blank(MeanColour):
        def encode_images(self, frames):
            return np.zeros((len(frames), 4), np.float32)

    scores = Scorer(Blank(), 'red', views=2).score(FRAMES)
    assert not scores.embeddings.any()
    assert not scores.cosines.any()


def test_frames_that_do_not_hold_the_views_are_refused():
    scorer = Scorer(MeanColour(), 'red', views=3)
    with pytest.raises(ValueError, match='frames are 2 high; accepted with 3 views: multiples of'):
        scorer.score(FRAMES)


def test_with_heads(scorer):
    plain = scorer.score(FRAMES)
    heads = RewardHeads((4, 6, 3), seed=3)
    scorer.use_heads(7, heads.layer_sizes, *heads.flat())
    scores = scorer.score(FRAMES)
    assert scores.heads_version == scorer.heads_version == 7
    assert np.array_equal(scores.cosines, plain.cosines)
    expected = heads.score(scores.embeddings, scorer.vlm.encode_text('red'))
    np.testing.assert_allclose(scores.rewards, expected, atol=1e-6)


@pytest.mark.parametrize(
    ('sizes', 'change', 'text'),
    [
        ((5, 6, 3), None, r'layer_sizes is \[5, 6, 3\]; accepted: 4 first, the width of mean-'),
        ((), None, r'layer_sizes is \[\]'),
        ((4,), None, 'accepted: 0 for layers'),
        ((4, 7, 3), None, r'heads have 51 and 51 values; accepted: 59 for layers \[4, 7, 3\]'),
        ((4, 2**31, 2**31), None, 'accepted: 4611686'),
        ((4, 6, 3), lambda values: values[:-1], 'heads have 51 and 50 values'),
        ((4, 6, 3), lambda values: values * np.nan, 'not finite'),
    ],
)
def test_heads_that_do_not_fit_are_refused(scorer, sizes, change, text):
    good = RewardHeads((4, 6, 3), seed=3)
    scorer.use_heads(7, good.layer_sizes, *good.flat())
    before = scorer.score(FRAMES)
    image, head = good.flat()
    with pytest.raises(ValueError, match=text):
        scorer.use_heads(8, sizes, image, change(head) if change else head)
    after = scorer.score(FRAMES)
    assert after.heads_version == 7
    assert np.array_equal(after.rewards, before.rewards)


def test_one_by_one():
    scorer = Scorer(MeanColour(), 'red', one_by_one=True)
    scores = scorer.score(FRAMES)
    assert scorer.vlm.batches == [1] * 5
    assert np.array_equal(scores.embeddings, MeanColour().encode_images(FRAMES))


def made(scoring, **changes):
    config = ScoringConfig(scoring, **changes)
    return Scorer(MeanColour(), 'something red', scoring=config, baseline_prompt='nothing')


def tensors(*arrays):
    return [torch.from_numpy(array) for array in arrays]


class TestScorings:
    @pytest.mark.parametrize('scoring', ['cosine', 'potential'])
    def test_a_frame_by_itself_is_worth_its_cosine(self, scorer, scoring):
        scores = made(scoring).score(FRAMES)
        assert np.array_equal(scores.rewards, scorer.score(FRAMES).cosines)
        assert np.array_equal(scores.rewards, scores.cosines)

    @pytest.mark.parametrize('prompt', ['', 'something blue'])
    def test_goal_baseline(self, prompt):
        scorer = made('goal_baseline', baseline_alpha=0.75)
        scores = scorer.score(FRAMES, prompt)
        text = scorer.vlm.encode_text(prompt or scorer.prompt)
        assert np.array_equal(scorer.baseline, scorer.vlm.encode_text('nothing'))
        expected = goal_baseline(*tensors(scores.embeddings, text, scorer.baseline), 0.75)
        assert np.array_equal(scores.rewards, expected)
        assert np.array_equal(scores.cosines, cosine(scores.embeddings, text))
        assert not np.allclose(scores.rewards, scores.cosines, atol=1e-3)

    def test_goal_image(self):
        scorer = made('goal_image')
        assert scorer.waits_for_goal
        assert not made('cosine').waits_for_goal
        with pytest.raises(ValueError, match='needs the embedding of a goal image'):
            scorer.score(FRAMES)
        for goal in scorer.encode(FRAMES[1:3]):
            scorer.use_goal(goal)
            assert not scorer.waits_for_goal
            scores = scorer.score(FRAMES, 'any prompt')
            assert np.array_equal(scores.rewards, cosine(scores.embeddings, goal))
        assert scores.rewards.argmax() == 2
        assert scores.rewards[2] == pytest.approx(1)

    def test_heads_come_first(self):
        scorer = made('potential')
        heads = RewardHeads((4, 6, 3), seed=3)
        scorer.use_heads(7, heads.layer_sizes, *heads.flat())
        scores = scorer.score(FRAMES)
        expected = heads.score(scores.embeddings, scorer.vlm.encode_text('red'))
        np.testing.assert_allclose(scores.rewards, expected, atol=1e-6)
