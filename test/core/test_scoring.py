# SPDX-License-Identifier: Apache-2.0
"""Rewards from embeddings: with and without heads, and heads that do not fit."""

import numpy as np
import pytest

from furl_ros.core.heads import RewardHeads
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
