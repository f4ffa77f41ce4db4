# SPDX-License-Identifier: Apache-2.0
"""Measures of rewards and embeddings, against counts, known values and made-up linear worlds."""

import math

import numpy as np
import pytest

from furl_ros.core.vlm.quality import (
    r2,
    rank_correlation,
    ridge,
    roc_auc,
    value_order_correlation,
)


def test_roc_auc_is_the_share_of_pairs_in_order():
    generator = np.random.default_rng(0)
    positive = generator.integers(0, 8, 60) / 4
    negative = generator.integers(-2, 6, 90) / 4
    above = (positive[:, None] > negative).mean() + (positive[:, None] == negative).mean() / 2
    assert roc_auc(positive, negative) == pytest.approx(above, abs=1e-12)


@pytest.mark.parametrize(
    ('positive', 'negative', 'text'),
    [
        ([], [1.0], 'positive has shape'),
        ([1.0], [], 'negative has shape'),
        ([1.0], [math.nan], 'negative has'),
        ([[1.0]], [1.0], r'\[1, 1\]; accepted: one or more finite'),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(positive, negative, text):
    with pytest.raises(ValueError, match=text):
        roc_auc(np.array(positive), np.array(negative))


def test_rank_correlation_sees_the_order_alone():
    a = np.array([0.3, -1.0, 2.0, 0.5])
    assert rank_correlation(a, np.exp(a)) == 1.0
    assert rank_correlation(a, -(a**3)) == -1.0
    # Two neighbours swapped among four: 1 - 6 * 2 / (4 * 15).
    assert rank_correlation(np.arange(4), np.array([0, 2, 1, 3])) == pytest.approx(0.8)


def test_rank_correlation_with_ties():
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5).
    assert rank_correlation(np.array([1, 2, 2, 3]), np.arange(4)) == pytest.approx(
        4.5 / math.sqrt(4.5 * 5)
    )
    assert rank_correlation(np.full(5, 0.1), np.arange(5)) == 0.0


def test_series_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match='a has 3 values, b 2'):
        rank_correlation(np.arange(3), np.arange(2))


def test_value_order_correlation():
    assert value_order_correlation(np.array([0.1, 0.2, 0.7, 0.9])) == 1.0
    assert value_order_correlation(np.array([3, 2, 1])) == -1.0
    assert value_order_correlation(np.zeros(4)) == 0.0


def linear_world(count=400):
    """Features of very different scales (one constant), targets linear in them, a generator."""
    generator = np.random.default_rng(1)
    features = generator.standard_normal((count, 5)) * [1e-3, 1, 50, 1, 1] + [0, 3, 0, 0, 0]
    features[:, 3] = 0.1
    weights = np.array([[1000, 0], [1, -1], [0, 0.02], [0, 0], [0, 0]])
    return features.astype(np.float32), features @ weights + [5, -5], generator


def test_ridge_finds_a_linear_map():
    features, targets, _ = linear_world()
    weights, offset = ridge(features[:300], targets[:300], strength=1e-6)
    assert weights.shape == (5, 2)
    assert offset.shape == (2,)
    assert r2(targets[300:], features[300:] @ weights + offset) > 0.9999
    assert not weights[3].any()


def test_a_stronger_ridge_has_smaller_weights_and_keeps_the_mean():
    features, targets, _ = linear_world()
    loose, _ = ridge(features, targets, strength=1e-6)
    tight, offset = ridge(features, targets, strength=1e6)
    assert np.abs(tight).sum() < 1e-3 * np.abs(loose).sum()
    np.testing.assert_allclose((features @ tight + offset).mean(0), targets.mean(0), rtol=1e-5)


def test_features_without_information_explain_nothing():
    features, targets, generator = linear_world()
    noise = generator.standard_normal(features.shape)
    weights, offset = ridge(noise[:300], targets[:300])
    assert abs(r2(targets[300:], noise[300:] @ weights + offset)) < 0.1


def test_ridge_wants_as_many_targets_as_features():
    with pytest.raises(ValueError, match=r'features are \[3, 2\], targets \[2, 1\]'):
        ridge(np.zeros((3, 2)), np.zeros((2, 1)))
    with pytest.raises(ValueError, match='one N above 0'):
        ridge(np.zeros((0, 2)), np.zeros((0, 1)))


def test_r2():
    targets = np.array([[0.0, 1.0], [2.0, 1.0]])
    assert r2(targets, targets) == 1.0
    assert r2(targets, np.ones((2, 2))) == 0.0
    assert r2(targets, targets[::-1]) == -3.0
    # The targets lie at a root mean square distance of 1 from their mean.
    assert r2(targets, targets, least_spread=0.9) == 1.0
    assert math.isnan(r2(targets, targets, least_spread=1.0))
    assert math.isnan(r2(np.ones((4, 2)), np.zeros((4, 2))))
    with pytest.raises(ValueError, match='one shape'):
        r2(targets, targets[:1])
