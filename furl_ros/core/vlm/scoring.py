# SPDX-License-Identifier: Apache-2.0
"""Frames to scores: the frozen model, the prompt, the scoring and the newest heads."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from furl_ros.core.config import PLAIN_COSINE, ScoringConfig
from furl_ros.core.heads import NO_ANCHOR, RewardHeads
from furl_ros.core.reward import frame_scores
from furl_ros.core.scorings import GOAL_BASELINE, GOAL_IMAGE
from furl_ros.core.vlm.interface import Vlm, cosine


class Scores(NamedTuple):
    """What a batch of frames is worth."""

    embeddings: np.ndarray
    """Raw image embeddings, float32 [B, E]."""
    cosines: np.ndarray
    """Cosine of image and prompt embedding (the plain CLIP or LIV reward), float32 [B]."""
    rewards: np.ndarray
    """What each frame is worth by itself, float32 [B]: the cosine after the heads (FuRL's reward);
    without heads what the scoring says (for 'potential' and 'progress' Phi, the cosine)."""
    heads_version: int


class _Heads(NamedTuple):
    version: int
    heads: RewardHeads


class Scorer:
    """Scores frames against a prompt. One thread may score while another one changes the heads.

    Args:
        vlm: the frozen model.
        prompt: the task in words.
        one_by_one: encode each frame alone, so that its embedding does not depend, in the last
            bits, on which frames it was encoded with.
        scoring: how frames are scored as long as there are no heads.
        baseline_prompt: the scene in words, for scoring 'goal_baseline'.
        views: pictures of one moment that each frame holds, of one size and one below the other. A
            frame's embedding has the direction of the mean of their directions, and the mean of
            their lengths: its cosine with a text is, but for a factor that is the same for all
            texts, the mean of the cosines of the views.

    Attributes:
        baseline: raw embedding of the baseline prompt, float32 [E]; None where it is not looked at.
        goal: that of the goal image, once ``use_goal`` has told it.
    """

    def __init__(
        self,
        vlm: Vlm,
        prompt: str,
        one_by_one: bool = False,
        scoring: ScoringConfig = PLAIN_COSINE,
        baseline_prompt: str = '',
        views: int = 1,
    ) -> None:
        self.vlm = vlm
        self.prompt = prompt
        self.scoring = scoring
        self.baseline: np.ndarray | None = None
        if scoring.scoring == GOAL_BASELINE:
            self.baseline = vlm.encode_text(baseline_prompt)
        self.goal: np.ndarray | None = None
        self._one_by_one = one_by_one
        self._views = views
        # Never changed, only replaced: who has read the reference has heads that fit together.
        self._heads: _Heads | None = None

    @property
    def heads_version(self) -> int:
        """Version of the heads in use; 0 without heads."""
        heads = self._heads
        return heads.version if heads else 0

    @property
    def waits_for_goal(self) -> bool:
        """Whether no frame can be scored before ``use_goal`` was called."""
        return self.scoring.scoring == GOAL_IMAGE and self.goal is None

    def use_goal(self, embedding: np.ndarray) -> None:
        """Compare with this goal image (raw embedding, float32 [E]) from now on."""
        self.goal = embedding

    def use_prompt(self, prompt: str) -> None:
        """Score by this prompt from now on."""
        self.prompt = prompt

    def use_heads(
        self,
        version: int,
        layer_sizes: Sequence[int],
        image_head: np.ndarray,
        text_head: np.ndarray,
        anchor: np.ndarray = NO_ANCHOR,
        center: np.ndarray = NO_ANCHOR,
    ) -> None:
        """Score with these heads from now on (parameters as in RewardHeads.msg).

        Raises:
            ValueError: they do not fit the model or each other, or a value is not finite. The
                heads in use stay.
        """
        if list(layer_sizes[:1]) != [self.vlm.embedding_dim]:
            raise ValueError(
                f'layer_sizes is {list(layer_sizes)}; accepted: {self.vlm.embedding_dim} first,'
                f' the width of {self.vlm.name}'
            )
        # Counted before anything of that size is made: the sizes came from outside.
        count = sum((wide + 1) * narrow for wide, narrow in itertools.pairwise(layer_sizes))
        if not len(image_head) == len(text_head) == count:
            raise ValueError(
                f'heads have {len(image_head)} and {len(text_head)} values; accepted: {count}'
                f' for layers {list(layer_sizes)}'
            )
        heads = RewardHeads.from_flat(layer_sizes, image_head, text_head, anchor, center)
        self._heads = _Heads(version, heads)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Raw embeddings float32 [B, E] of uint8 RGB frames [B, H, W, 3].

        Raises:
            ValueError: the model cannot take these frames, or they do not hold that many views.
        """
        if self._views == 1:
            return self._encode(frames)
        count, height, *rest = frames.shape
        if height % self._views:
            raise ValueError(
                f'frames are {height} high; accepted with {self._views} views: multiples of'
                f' {self._views}'
            )
        parts = self._encode(frames.reshape(count * self._views, height // self._views, *rest))
        lengths = np.linalg.norm(parts, axis=1, keepdims=True)
        # A vector of length 0 has no direction: it stays as it is.
        directions = parts / np.where(lengths > 0, lengths, 1)
        direction, length = (
            each.reshape(count, self._views, -1).mean(axis=1) for each in (directions, lengths)
        )
        return direction * length

    def _encode(self, frames: np.ndarray) -> np.ndarray:
        if not self._one_by_one or len(frames) < 2:
            return self.vlm.encode_images(frames)
        return np.concatenate([self.vlm.encode_images(frame[None]) for frame in frames])

    def score(self, frames: np.ndarray, prompt: str = '') -> Scores:
        """Score uint8 RGB frames [B, H, W, 3].

        Args:
            frames: pictures of one size.
            prompt: another prompt than the scorer's own; '' for its own.

        Raises:
            ValueError: as of ``encode``, or a goal image is needed and was not given.
        """
        heads = self._heads
        embeddings = self.encode(frames)
        text = self.vlm.encode_text(prompt or self.prompt)
        cosines = cosine(embeddings, text)
        if heads is None:
            targets = (embeddings, text, self.goal, self.baseline)
            tensors = (None if v is None else torch.from_numpy(np.array(v)) for v in targets)
            return Scores(embeddings, cosines, frame_scores(self.scoring, *tensors).numpy(), 0)
        rewards = heads.heads.score(embeddings, text)
        return Scores(embeddings, cosines, rewards, heads.version)
