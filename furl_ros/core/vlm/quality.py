# SPDX-License-Identifier: Apache-2.0
"""How good a reward or an embedding is: numbers from arrays, without a model or a simulator."""

import numpy as np


def roc_auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Chance that a positive scores above a negative, both drawn at random; ties count half.

    Args:
        positive: scores [P], floats.
        negative: scores [N], floats.

    Returns:
        Area under the ROC curve, 0 to 1; 0.5 for scores that tell nothing.

    Raises:
        ValueError: there are no positives or no negatives, or a score is not finite.
    """
    positive, negative = _vector('positive', positive), _vector('negative', negative)
    ranks = _ranks(np.concatenate([positive, negative]))
    count = len(positive)
    # The rank sum less its least possible value is the number of pairs in the right order.
    ordered = ranks[:count].sum() - count * (count + 1) / 2
    return float(ordered / (count * len(negative)))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two series, floats [T] each; ties share their mean rank.

    Returns:
        -1 to 1. A series whose values are all equal puts nothing in order: 0.

    Raises:
        ValueError: the lengths differ or are 0, or a value is not finite.
    """
    a, b = _vector('a', a), _vector('b', b)
    if len(a) != len(b):
        raise ValueError(f'a has {len(a)} values, b {len(b)}; accepted: equally many')
    # The mean of ranks is known, which keeps equal values exactly at a deviation of 0.
    middle = (len(a) + 1) / 2
    a, b = _ranks(a) - middle, _ranks(b) - middle
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else 0.0


def value_order_correlation(values: np.ndarray) -> float:
    """How well the values of an expert's frames tell the order of the frames in time.

    The value-order correlation (VOC) of GVL (Ma et al., ICLR 2025, arXiv 2411.04549): Spearman's
    rank correlation of the values with time over an episode in which each step is progress. Hand
    in the frames up to and including the first success only: what follows is no progress.

    Args:
        values: floats [T], in the order of time.

    Returns:
        1: the values grow from frame to frame; 0: no order; -1: they fall.

    Raises:
        ValueError: as ``rank_correlation``.
    """
    return rank_correlation(values, np.arange(len(values)))


def ridge(
    features: np.ndarray, targets: np.ndarray, strength: float = 1e-2
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a linear map by ridge regression in closed form.

    Features are standardised first, so that one strength suits embeddings of any scale; a feature
    that never changes gets no weight.

    Args:
        features: floats [N, E].
        targets: floats [N, K].
        strength: penalty on the weights of standardised features, per sample.

    Returns:
        Weights float64 [E, K] and offset float64 [K]: ``features @ weights + offset``.

    Raises:
        ValueError: no samples, or not equally many of both.
    """
    if features.ndim != 2 or targets.ndim != 2 or not 0 < len(features) == len(targets):
        raise ValueError(
            f'features are {list(features.shape)}, targets {list(targets.shape)}; accepted:'
            ' [N, E] and [N, K] with one N above 0'
        )
    features, targets = features.astype(np.float64), targets.astype(np.float64)
    mean, spread, middle = features.mean(0), features.std(0), targets.mean(0)
    # Equal numbers have a spread of rounding errors, which must not be blown up.
    used = spread > 1e-6 * (np.abs(mean) + 1e-12)
    scale = np.divide(1, spread, out=np.zeros_like(spread), where=used)
    standard = (features - mean) * scale
    gram = standard.T @ standard + strength * len(features) * np.eye(len(mean))
    weights = scale[:, None] * np.linalg.solve(gram, standard.T @ (targets - middle))
    return weights, middle - mean @ weights


def r2(targets: np.ndarray, predictions: np.ndarray, least_spread: float = 0.0) -> float:
    """Share of the targets' variance that predictions explain, over all columns together.

    Args:
        targets: floats [N, K].
        predictions: floats [N, K].
        least_spread: root of the mean squared distance of the targets to their mean, in their
            unit, up to which they count as constant.

    Returns:
        At most 1; 0 for what the mean of the targets alone would reach, below 0 for worse; NaN
        when the targets are constant: there is nothing to tell.

    Raises:
        ValueError: there are no targets, or the shapes differ.
    """
    if targets.shape != predictions.shape or not len(targets):
        raise ValueError(
            f'targets are {list(targets.shape)}, predictions {list(predictions.shape)}; accepted:'
            ' one shape, at least one row'
        )
    targets = targets.astype(np.float64)
    total = np.sum((targets - targets.mean(0)) ** 2)
    if total <= len(targets) * least_spread**2:
        return float('nan')
    return float(1 - np.sum((targets - predictions) ** 2) / total)


def _vector(name: str, values: np.ndarray) -> np.ndarray:
    vector = np.asarray(values, np.float64)
    if vector.ndim != 1 or not len(vector) or not np.isfinite(vector).all():
        raise ValueError(
            f'{name} has shape {list(vector.shape)}; accepted: one or more finite numbers'
        )
    return vector


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 of values [T]; equal values share the mean of their places."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]
