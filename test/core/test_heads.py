# SPDX-License-Identifier: Apache-2.0
"""The reward heads and the three losses, against values by hand and against naive loops."""

import numpy as np
import pytest
import torch
from torch import nn

from furl_ros.core.heads import (
    NO_ANCHOR,
    RewardHeads,
    hinge,
    negative_negative_loss,
    positive_negative_loss,
    positive_positive_loss,
)

SIZES = (12, 7, 5)


@pytest.mark.parametrize(
    ('better', 'worse', 'value'),
    [
        (0.5, 0.2, 0.0),  # ahead by more than the margin
        (0.25, 0.2, 0.05),  # ahead by less: the rest of the margin
        (0.2, 0.2, 0.1),  # equal: the whole margin
        (0.2, 0.5, 0.4),  # behind: the distance and the margin
        (-1.0, 1.0, 2.1),
    ],
)
def test_hinge_by_hand(better, worse, value):
    loss = hinge(torch.tensor(better), torch.tensor(worse), 0.1)
    assert loss.item() == pytest.approx(value, abs=1e-6)


def rewards(count, seed):
    return torch.rand(count, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize('loss', [positive_negative_loss, positive_positive_loss])
def test_pair_losses_against_a_loop(loss):
    better, worse = rewards(50, 0), rewards(50, 1)
    total = 0.0
    for p, n in zip(better.tolist(), worse.tolist(), strict=True):
        total += max(0.0, n - p + 0.1)
    assert loss(better, worse, 0.1).item() == pytest.approx(total / 50, rel=1e-5)


def test_goal_distance_loss_against_a_loop():
    scores, distances = rewards(40, 2), rewards(40, 3) + 1
    terms = []
    for i in range(40):
        for j in range(40):
            if distances[i] < distances[j] - 0.25:
                terms.append(max(0.0, (scores[j] - scores[i]).item() + 0.1))
    loss = negative_negative_loss(scores, distances, 0.25, 0.1)
    assert 0 < len(terms) < 40 * 39 / 2
    assert loss.item() == pytest.approx(np.mean(terms), rel=1e-5)


def test_goal_distance_loss_needs_a_difference_above_the_gap():
    scores = torch.tensor([0.0, 0.0])
    assert negative_negative_loss(scores, torch.tensor([1.0, 1.25]), 0.25, 0.1) is None
    loss = negative_negative_loss(scores, torch.tensor([1.0, 1.3]), 0.25, 0.1)
    assert loss.item() == pytest.approx(0.1)


@pytest.mark.parametrize('loss', [positive_negative_loss, positive_positive_loss])
def test_descent_raises_the_better_and_lowers_the_worse(loss):
    better, worse = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    loss(better, worse, 0.1).backward()
    assert (better.grad < 0).all()
    assert (worse.grad > 0).all()


def test_descent_raises_the_frame_nearer_the_goal():
    scores = torch.zeros(2, requires_grad=True)
    negative_negative_loss(scores, torch.tensor([0.0, 1.0]), 0.25, 0.1).backward()
    near, far = scores.grad
    assert near < 0 < far


def test_layers_and_order_of_the_flat_parameters():
    """RewardHeads.msg: layer by layer, weight (rows of outputs, row-major), then bias."""
    heads = RewardHeads(SIZES)
    kinds = [type(layer) for layer in heads.image]
    assert kinds == [nn.Linear, nn.ReLU, nn.Linear]
    image, text = heads.flat()
    assert image.dtype == text.dtype == np.float32
    generator = np.random.default_rng(0)
    frames = generator.standard_normal((6, 12)).astype(np.float32)
    prompt = generator.standard_normal(12).astype(np.float32)

    def project(flat, x):
        wide, hidden, out = SIZES
        w1, flat = flat[: hidden * wide].reshape(hidden, wide), flat[hidden * wide :]
        b1, flat = flat[:hidden], flat[hidden:]
        w2, b2 = flat[: out * hidden].reshape(out, hidden), flat[out * hidden :]
        assert len(b2) == out
        return np.maximum(x @ w1.T + b1, 0) @ w2.T + b2

    i, t = project(image, frames), project(text, prompt)
    cosines = i @ t / (np.linalg.norm(i, axis=1) * np.linalg.norm(t))
    np.testing.assert_allclose(heads.score(frames, prompt), cosines, atol=1e-6)


def test_the_papers_layers():
    heads = RewardHeads((1024, 256, 64))
    assert [p.shape for p in heads.text.parameters()] == [(256, 1024), (256,), (64, 256), (64,)]


def test_the_two_heads_are_independent_and_follow_the_seed():
    heads = RewardHeads(SIZES, seed=1)
    image, text = heads.flat()
    assert not np.array_equal(image, text)
    assert np.array_equal(RewardHeads(SIZES, seed=1).flat()[0], image)
    assert not np.array_equal(RewardHeads(SIZES, seed=2).flat()[0], image)


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    RewardHeads(SIZES, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_flat_round_trip():
    heads = RewardHeads(SIZES, seed=3)
    rebuilt = RewardHeads.from_flat(SIZES, *heads.flat())
    for old, new in zip(heads.parameters(), rebuilt.parameters(), strict=True):
        assert torch.equal(old, new)
    assert not any(p.requires_grad for p in rebuilt.parameters())


@pytest.mark.parametrize(
    ('spoil', 'text'),
    [
        (lambda sizes, image, prompt: ([12], image, prompt), 'accepted: two or more widths'),
        (lambda sizes, image, prompt: ([12, 0], image, prompt), 'accepted: two or more widths'),
        (lambda sizes, image, prompt: ([], image, prompt), 'accepted: two or more widths'),
        (lambda sizes, image, prompt: (sizes, image[1:], prompt), 'image_head has 130 values'),
        (lambda sizes, image, prompt: (sizes, image, prompt[1:]), 'text_head has 130 values'),
        (lambda sizes, image, prompt: (sizes, image, prompt * np.nan), 'text_head has values that'),
    ],
)
def test_parameters_that_do_not_fit(spoil, text):
    with pytest.raises(ValueError, match=text):
        RewardHeads.from_flat(*spoil(list(SIZES), *RewardHeads(SIZES).flat()))


class TestAnchored:
    """Heads that begin as what the model knows."""

    @pytest.fixture
    def given(self):
        generator = np.random.default_rng(0)
        frames, text, anchor, center = np.split(generator.standard_normal((8, 12)), [5, 6, 7])
        anchor = anchor[0] / np.linalg.norm(anchor)
        return frames, text[0], anchor, 0.1 * center[0]

    def unit(self, vectors):
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    def test_they_begin_as_the_cosine_with_the_anchor(self, given):
        frames, text, anchor, center = given
        heads = RewardHeads(SIZES, 1, anchor, center)
        expected = self.unit(self.unit(frames) - center) @ anchor / np.sqrt(2)
        np.testing.assert_allclose(heads.score(frames, text), expected, atol=1e-6)
        np.testing.assert_allclose(heads.score(9 * frames, 9 * text), expected, atol=1e-6)

    def test_the_reward_is_a_cosine_of_vectors_side_by_side(self, given):
        frames, text, anchor, center = given
        heads = RewardHeads(SIZES, 1, anchor, center)
        with torch.no_grad():
            heads.image[-1].weight.normal_()
            scale = np.sqrt(12)
            x = self.unit(self.unit(frames) - center)
            image = heads.image(torch.tensor(scale * x).float()).numpy()
            target = self.unit(heads.text(torch.tensor(scale * self.unit(text)).float()).numpy())
        left = self.unit(np.hstack([x, image]))
        right = self.unit(np.concatenate([anchor, target]))
        np.testing.assert_allclose(heads.score(frames, text), left @ right, atol=1e-6)

    def test_the_image_head_begins_at_zero_and_all_of_it_learns(self, given):
        frames, text = (torch.tensor(values).float() for values in given[:2])
        heads = RewardHeads(SIZES, 1, *given[2:])
        optimizer = torch.optim.SGD(heads.parameters(), lr=1.0)
        before = [parameter.detach().clone() for parameter in heads.image.parameters()]
        assert not before[-1].any()
        assert not before[-2].any()
        for _ in range(2):
            optimizer.zero_grad()
            positive_negative_loss(heads(frames[:2], text), heads(frames[2:4], text), 2).backward()
            optimizer.step()
        for old, new in zip(before, heads.image.parameters(), strict=True):
            assert not torch.equal(old, new)
        assert dict(heads.named_buffers()).keys() == {'anchor', 'center'}

    def test_a_round_trip(self, given):
        frames, text, anchor, center = given
        heads = RewardHeads(SIZES, 1, anchor, center)
        rebuilt = RewardHeads.from_flat(SIZES, *heads.flat(), *heads.frame_of_reference())
        assert np.array_equal(heads.score(frames, text), rebuilt.score(frames, text))
        assert RewardHeads(SIZES).frame_of_reference() == (NO_ANCHOR, NO_ANCHOR)

    @pytest.mark.parametrize(
        ('anchor', 'center', 'text'),
        [
            (np.ones(11), np.ones(11), 'anchor has 11 values; accepted: 12, or none'),
            (np.ones(12), np.ones(0), 'center has 0 values; accepted: 12, or none'),
            (np.ones(0), np.ones(12), 'center has 12 values; accepted: 12, or none'),
            (np.full(12, np.nan), np.ones(12), 'anchor has values that are not finite'),
        ],
    )
    def test_what_does_not_fit(self, anchor, center, text):
        with pytest.raises(ValueError, match=text):
            RewardHeads.from_flat(SIZES, *RewardHeads(SIZES).flat(), anchor, center)


def test_a_frozen_copy_keeps_its_values():
    heads = RewardHeads(SIZES)
    copy = heads.frozen_copy()
    before = copy.flat()[0]
    with torch.no_grad():
        heads.image[0].weight += 1
    assert np.array_equal(copy.flat()[0], before)
    assert not any(p.requires_grad for p in copy.parameters())
    assert all(p.requires_grad for p in heads.parameters())
