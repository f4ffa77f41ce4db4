# SPDX-License-Identifier: Apache-2.0
"""Each formula of the VLM reward against one written by hand, and against what is known of it."""

import numpy as np
import pytest
import torch

from furl_ros.core.config import ScoringConfig
from furl_ros.core.reward import cosine, frame_scores, goal_baseline, potential_difference

GENERATOR = np.random.default_rng(0)
FRAMES = GENERATOR.normal(size=(40, 12)).astype(np.float32)
GOAL, BASELINE, TEXT = GENERATOR.normal(size=(3, 12)).astype(np.float32)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def by_hand(frames, goal, baseline, alpha):
    """1 - 1/2 |alpha proj_L(s) + (1 - alpha) s - g|^2, frame by frame, in double precision."""
    goal, baseline = unit(np.float64(goal)), unit(np.float64(baseline))
    rewards = []
    for state in unit(np.float64(frames)):
        along = np.dot(state - baseline, goal - baseline) / np.dot(goal - baseline, goal - baseline)
        projected = baseline + along * (goal - baseline)
        rewards.append(1 - np.sum((alpha * projected + (1 - alpha) * state - goal) ** 2) / 2)
    return np.array(rewards)


def tensors(*arrays):
    return [torch.from_numpy(np.array(array, np.float32)) for array in arrays]


def regularised(alpha, frames=FRAMES, goal=GOAL, baseline=BASELINE):
    return goal_baseline(*tensors(frames, goal, baseline), alpha).numpy()


class TestCosine:
    def test_by_hand(self):
        values = cosine(*tensors(FRAMES, TEXT))
        assert values.dtype == torch.float32
        np.testing.assert_allclose(values, unit(FRAMES) @ unit(TEXT), atol=1e-6)

    def test_it_is_the_distance_of_unit_vectors_in_a_fixed_range(self):
        distances = np.linalg.norm(unit(FRAMES) - unit(GOAL), axis=1)
        np.testing.assert_allclose(cosine(*tensors(FRAMES, GOAL)), 1 - distances**2 / 2, atol=1e-6)

    def test_a_vector_of_length_0(self):
        assert cosine(*tensors(np.zeros(12), GOAL)) == 0


class TestGoalBaseline:
    @pytest.mark.parametrize('alpha', [0.0, 0.25, 0.5, 0.9, 1.0])
    def test_by_hand(self, alpha):
        expected = by_hand(FRAMES, GOAL, BASELINE, alpha)
        np.testing.assert_allclose(regularised(alpha), expected, atol=1e-6)
        # Only directions count.
        scaled = regularised(alpha, 7 * FRAMES, 0.1 * GOAL, 3 * BASELINE)
        np.testing.assert_allclose(scaled, expected, atol=1e-6)

    def test_alpha_0_is_half_the_squared_distance_and_so_the_cosine(self):
        squared = np.sum((unit(FRAMES) - unit(GOAL)) ** 2, axis=1)
        np.testing.assert_allclose(regularised(0.0), 1 - squared / 2, atol=1e-6)
        np.testing.assert_allclose(regularised(0.0), cosine(*tensors(FRAMES, GOAL)), atol=1e-6)

    def test_alpha_1_looks_along_the_line_alone(self):
        direction = unit(unit(GOAL) - unit(BASELINE))
        across = GENERATOR.normal(size=FRAMES.shape)
        across -= (across @ direction)[:, None] * direction
        states = unit(FRAMES)
        # Unit vectors with the same part along the line, and any part across it.
        along = (states @ direction)[:, None] * direction
        others = along + unit(across) * np.linalg.norm(states - along, axis=1, keepdims=True)
        assert np.abs(others - states).max() > 0.5
        np.testing.assert_allclose(regularised(1.0, others), regularised(1.0), atol=1e-5)
        assert not np.allclose(regularised(0.5, others), regularised(0.5), atol=1e-2)

    def test_goal_and_baseline_themselves(self):
        for alpha in (0.0, 0.5, 1.0):
            values = regularised(alpha, np.stack([GOAL, BASELINE]))
            distance = np.sum((unit(GOAL) - unit(BASELINE)) ** 2)
            np.testing.assert_allclose(values, [1, 1 - distance / 2], atol=1e-6)

    def test_range_and_shapes(self):
        for alpha in np.linspace(0, 1, 5):
            values = regularised(alpha)
            assert values.dtype == np.float32
            assert (np.abs(values) <= 1 + 1e-6).all()
        single = regularised(0.5, FRAMES[3])
        assert single.shape == ()
        assert single == pytest.approx(regularised(0.5)[3], abs=1e-6)

    @pytest.mark.parametrize('alpha', [0.0, 0.5, 1.0])
    def test_where_the_line_is_a_point(self, alpha):
        squared = np.sum((unit(FRAMES) - unit(GOAL)) ** 2, axis=1)
        values = regularised(alpha, baseline=2 * GOAL)
        np.testing.assert_allclose(values, 1 - (1 - alpha) ** 2 * squared / 2, atol=1e-3)


class TestPotential:
    def test_by_hand(self):
        before, after = tensors([0.1, -0.5], [0.3, 0.2])
        np.testing.assert_allclose(
            potential_difference(before, after, 0.9), [0.9 * 0.3 - 0.1, 0.9 * 0.2 + 0.5], rtol=1e-6
        )
        assert potential_difference(0.1, 0.3, 0.9) == pytest.approx(0.17)

    def test_discounted_sums_telescope(self):
        gamma = 0.97
        phi = np.float64(cosine(*tensors(FRAMES, TEXT)))
        steps = potential_difference(phi[:-1], phi[1:], gamma)
        total = np.sum(gamma ** np.arange(len(steps)) * steps)
        assert total == pytest.approx(gamma ** len(steps) * phi[-1] - phi[0], abs=1e-12)

    def test_it_is_a_part_of_the_difference_of_vip_and_liv(self):
        gamma, (before, after) = 0.9, (0.2, 0.6)
        rest = (1 - gamma) * after
        assert potential_difference(before, after, gamma) + rest == pytest.approx(after - before)


class TestFrameScores:
    def scores(self, scoring, alpha=0.5, goal=GOAL, baseline=BASELINE):
        config = ScoringConfig(scoring, alpha)
        frames, text = tensors(FRAMES, TEXT)
        others = (None if v is None else torch.from_numpy(v) for v in (goal, baseline))
        return frame_scores(config, frames, text, *others).numpy()

    def test_which_formula_looks_at_what(self):
        plain = unit(FRAMES) @ unit(TEXT)
        np.testing.assert_allclose(
            self.scores('cosine', goal=None, baseline=None), plain, atol=1e-6
        )
        np.testing.assert_allclose(self.scores('potential', goal=None), plain, atol=1e-6)
        to_goal = unit(FRAMES) @ unit(GOAL)
        np.testing.assert_allclose(self.scores('goal_image', baseline=None), to_goal, atol=1e-6)
        for alpha in (0.0, 0.7):
            expected = by_hand(FRAMES, TEXT, BASELINE, alpha)
            values = self.scores('goal_baseline', alpha, goal=None)
            np.testing.assert_allclose(values, expected, atol=1e-6)

    @pytest.mark.parametrize(
        ('scoring', 'missing', 'text'),
        [
            ('goal_image', 'goal', 'scoring goal_image needs the embedding of a goal image'),
            ('goal_baseline', 'baseline', 'goal_baseline needs the embedding of a baseline prompt'),
        ],
    )
    def test_what_is_missing(self, scoring, missing, text):
        with pytest.raises(ValueError, match=text):
            self.scores(scoring, **{missing: None})
