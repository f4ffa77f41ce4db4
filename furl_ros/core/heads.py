# SPDX-License-Identifier: Apache-2.0
"""The two reward heads and the FuRL losses (arXiv 2406.00645, section 4.1)."""

import copy
import itertools
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from furl_ros.core.products import Products, mlp, products

NO_ANCHOR = np.zeros(0, np.float32)
# Of a parameter: no training comes near it, and products of such values stay finite.
MOST_VALUE = 1e4


def _mlp(sizes: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for wide, narrow in itertools.pairwise(sizes):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _project(kernels: Sequence[Products], head: nn.Sequential, embeddings: Tensor) -> Tensor:
    """The head's outputs, by these products."""
    linears = [module for module in head if isinstance(module, nn.Linear)]
    tensors = [t for one in linears for t in (one.weight[None], one.bias[None, None])]
    outputs = mlp(kernels, embeddings.reshape(1, -1, embeddings.shape[-1]), tensors)
    return outputs.reshape(*embeddings.shape[:-1], -1)


def _flat(module: nn.Module) -> np.ndarray:
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()]).numpy()


class RewardHeads(nn.Module):
    """f_I and f_L: one MLP for image embeddings, one for the text embedding.

    Without an anchor they are the paper's, and begin as random projections. With one they begin as
    what the model knows: the reward is the cosine of

        [x, f_I(x)]  and  [a, f_L(text)],   x = unit(unit(embedding) - center),  a = anchor,

    f_L(text) of unit length, and f_I begins at zero. So the first reward is the cosine of frame and
    anchor (times 1 / sqrt 2), and what is learned is added to it. The center, the mean of the
    frames seen so far, is what all frames have in common: it says nothing about progress.

    Args:
        layer_sizes: widths, input first; the paper has (1024, 256, 64).
        seed: seed of the initial parameters; the global generator is left alone.
        anchor: what frames are compared with from the beginning, of unit length, float32 [E]: the
            goal image's embedding less the center, else the prompt's.
        center: mean of the unit embeddings of frames, float32 [E]; None for zero.
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        seed: int = 0,
        anchor: np.ndarray | None = None,
        center: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self.layer_sizes = tuple(int(size) for size in layer_sizes)
        layers = itertools.pairwise(self.layer_sizes)
        self._kernels = [products(wide, narrow) for wide, narrow in layers]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.image = _mlp(self.layer_sizes)
            self.text = _mlp(self.layer_sizes)
        self.anchored = anchor is not None
        if self.anchored:
            nn.init.zeros_(self.image[-1].weight)
            nn.init.zeros_(self.image[-1].bias)
            anchor = np.array(anchor, np.float32)
            center = np.zeros_like(anchor) if center is None else np.array(center, np.float32)
            self.register_buffer('anchor', torch.from_numpy(anchor))
            self.register_buffer('center', torch.from_numpy(center))

    def forward(self, embeddings: Tensor, text: Tensor) -> Tensor:
        """Cosine of the projected embeddings.

        Args:
            embeddings: raw image embeddings, float32 [..., E].
            text: raw text embedding, float32 [E].

        Returns:
            Rewards in [-1, 1], float32 [...].
        """
        if not self.anchored:
            projected = _project(self._kernels, self.image, embeddings)
            return F.cosine_similarity(projected, self.text(text), dim=-1)
        # Components of about 1, which the layers' initial values are made for.
        scale = self.layer_sizes[0] ** 0.5
        frames = F.normalize(F.normalize(embeddings, dim=-1) - self.center, dim=-1)
        learned = _project(self._kernels, self.image, scale * frames)
        target = F.normalize(self.text(scale * F.normalize(text, dim=-1)), dim=-1)
        product = frames @ self.anchor + learned @ target
        return product / (2 * (1 + learned.square().sum(-1))).sqrt()

    def score(self, embeddings: np.ndarray, text: np.ndarray) -> np.ndarray:
        """Rewards of image embeddings [B, E] against a text embedding [E], as float32 [B]."""
        with torch.inference_mode():
            rewards = self(
                torch.from_numpy(np.array(embeddings, np.float32)),
                torch.from_numpy(np.array(text, np.float32)),
            )
        return rewards.numpy()

    def flat(self) -> tuple[np.ndarray, np.ndarray]:
        """Parameters of the image and the text head, float32, in the order of RewardHeads.msg."""
        return _flat(self.image), _flat(self.text)

    def frame_of_reference(self) -> tuple[np.ndarray, np.ndarray]:
        """Anchor and center, float32 [E] each; two empty ones without an anchor."""
        if not self.anchored:
            return NO_ANCHOR, NO_ANCHOR
        return self.anchor.numpy().copy(), self.center.numpy().copy()

    @classmethod
    def from_flat(
        cls,
        layer_sizes: Sequence[int],
        image_head: np.ndarray,
        text_head: np.ndarray,
        anchor: np.ndarray = NO_ANCHOR,
        center: np.ndarray = NO_ANCHOR,
    ) -> 'RewardHeads':
        """Rebuild heads from ``flat`` and ``frame_of_reference``.

        Raises:
            ValueError: the number of values does not fit the layers, or a value is not finite.
        """
        if len(layer_sizes) < 2 or min(layer_sizes) < 1:
            raise ValueError(f'layer_sizes is {list(layer_sizes)}; accepted: two or more widths')
        # Before anything is made: wrong sizes may ask for more memory than there is.
        size = sum((wide + 1) * narrow for wide, narrow in itertools.pairwise(layer_sizes))
        for name, values in (('image_head', image_head), ('text_head', text_head)):
            if np.size(values) != size:
                raise ValueError(
                    f'{name} has {np.size(values)} values; accepted: {size} for layers'
                    f' {list(layer_sizes)}'
                )
        for name, values in (('anchor', anchor), ('center', center)):
            if np.size(values) not in (0, layer_sizes[0]) or np.size(values) != np.size(anchor):
                raise ValueError(
                    f'{name} has {np.size(values)} values; accepted: {layer_sizes[0]}, or none in'
                    ' anchor and center'
                )
        for name, values in (
            ('image_head', image_head),
            ('text_head', text_head),
            ('anchor', anchor),
            ('center', center),
        ):
            if not (np.abs(values) <= MOST_VALUE).all():
                raise ValueError(
                    f'{name} has values that are not finite, or too large; accepted: up to'
                    f' {MOST_VALUE:g} in size'
                )
        heads = cls(layer_sizes, 0, anchor if np.size(anchor) else None, center)
        for module, values in ((heads.image, image_head), (heads.text, text_head)):
            vector = torch.from_numpy(np.array(values, np.float32))
            nn.utils.vector_to_parameters(vector, module.parameters())
        return heads.requires_grad_(False)

    def frozen_copy(self) -> 'RewardHeads':
        """A copy that later updates do not touch."""
        return copy.deepcopy(self).requires_grad_(False)


def hinge(better: Tensor, worse: Tensor, margin: float) -> Tensor:
    """l_d(p, n) = max(0, r(n) - r(p) + d), element by element (equation 5 of the paper)."""
    return F.relu(worse - better + margin)


def positive_negative_loss(positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Positive frames score above negative ones.

    Args:
        positive, negative: rewards, float32 [B] each; row i is compared with row i.
    """
    return hinge(positive, negative, margin).mean()


def positive_positive_loss(later: Tensor, earlier: Tensor, margin: float) -> Tensor:
    """Frame i of a successful episode scores above frame i - k of it, float32 [B] each."""
    return hinge(later, earlier, margin).mean()


def negative_negative_loss(
    rewards: Tensor, distances: Tensor, gap: float, margin: float
) -> Tensor | None:
    """Frames that are clearly nearer the goal image score above farther ones.

    Args:
        rewards: float32 [B].
        distances: distance of each frame's embedding to the goal image's, float32 [B].
        gap: pairs (i, j) count when distances[i] < distances[j] - gap.

    Returns:
        Mean hinge over the pairs, or None when there is no such pair.
    """
    pairs = distances[:, None] < distances[None, :] - gap
    count = int(pairs.sum())
    if not count:
        return None
    # Not by picking the pairs out: that costs several times as much.
    values = hinge(rewards[:, None], rewards[None, :], margin)
    return torch.where(pairs, values, 0.0).sum() / count
