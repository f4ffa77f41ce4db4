# SPDX-License-Identifier: Apache-2.0
"""What the rest of furl_ros knows about a vision-language model."""

from typing import Protocol

import numpy as np
import torch

from furl_ros.core import reward


class Vlm(Protocol):
    """A frozen model with one embedding space for pictures and text.

    Embeddings are raw: not normalised to unit length.
    """

    name: str
    # Where it runs: 'cpu' or 'cuda'.
    device: str
    embedding_dim: int
    # Side of the square that the image tower sees, in pixels; frames of that size are not resized.
    image_size: int

    def encode_images(self, frames: np.ndarray) -> np.ndarray:
        """Encode uint8 RGB frames [B, H, W, 3] to float32 [B, E], micro-batch by micro-batch.

        The same frames in the same calls give the same bits on one machine; another split into
        batches may differ in the last ones.

        Raises:
            ValueError: the array has another shape or dtype, or the frames are strips of pixels.
        """

    def encode_text(self, text: str) -> np.ndarray:
        """Encode a prompt to float32 [E]; each prompt is computed once."""


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of the angle between vectors [..., E], broadcast against each other, float32 [...].

    A vector of length 0 has no direction: its cosine is 0.
    """
    return reward.cosine(*(torch.from_numpy(np.array(v, np.float32)) for v in (a, b))).numpy()
