# SPDX-License-Identifier: Apache-2.0
"""What a policy is given of a step: the state, or what a robot senses of itself and what it sees.

A real scene tells no poses of objects. There the policy gets proprioception and the embedding of
the newest frame by the frozen model; both lie in the replay already.
"""

from collections.abc import Sequence

import gymnasium
import numpy as np
import torch
from torch import Tensor

from furl_ros.core.observe import EMBEDDING, STATE
from furl_ros.core.settings import SettingError

_LEAST_NORM = 1e-12


class PolicyInput:
    """Puts together what the nets of a policy take.

    The layout: the values of the state that are kept, in their order; then, where the policy sees,
    the embedding's direction times the root of its width, so that its components are about 1.

    Args:
        observe: one of ``furl_ros.core.observe.OBSERVE``.
        state_size: S.
        proprioception: indices of the values of the state that a robot senses of itself; none:
            all of them.
        embedding_width: E.

    Attributes:
        state_size: S.
        sees: whether there is an embedding in it.
        kept: indices of the values of the state in it.
        width: O, values of the whole.

    Raises:
        SettingError: an index lies beyond the state.
    """

    def __init__(
        self,
        observe: str,
        state_size: int,
        proprioception: Sequence[int] = (),
        embedding_width: int = 0,
    ) -> None:
        self.state_size, self.sees = state_size, observe != STATE
        every = range(state_size)
        self.kept = np.array(proprioception or every if observe == EMBEDDING else every, np.int64)
        if not set(self.kept.tolist()) <= set(every):
            raise SettingError(
                f'proprioception is {sorted(self.kept.tolist())}; accepted: 0 to {state_size - 1}'
            )
        self._embedding_width = embedding_width if self.sees else 0
        self.width = len(self.kept) + self._embedding_width

    @property
    def space(self) -> gymnasium.spaces.Box:
        """Box, float32 [O]."""
        return gymnasium.spaces.Box(-np.inf, np.inf, (self.width,), np.float32)

    def part(self, state: np.ndarray) -> np.ndarray:
        """The values of a state [S] that are kept, float32."""
        return np.asarray(state, np.float32)[self.kept]

    def one(self, state: np.ndarray, embedding: np.ndarray) -> np.ndarray:
        """The input for a state [S] and the raw embedding [E] of its frame: float32 [O]."""
        if not self.sees:
            return self.part(state)
        # As the replay keeps it, so that acting and learning see the same.
        kept = torch.from_numpy(np.asarray(embedding, np.float16)).float()
        return np.concatenate([self.part(state), _direction(kept).numpy()])

    def many(self, kept_states: Tensor, embeddings: Tensor) -> Tensor:
        """Inputs float32 [B, O] for what is kept of states, and raw embeddings [B, E]."""
        if not self.sees:
            return kept_states
        return torch.cat([kept_states, _direction(embeddings)], dim=-1)


def _direction(embeddings: Tensor) -> Tensor:
    norms = torch.linalg.vector_norm(embeddings, dim=-1, keepdim=True).clamp_min(_LEAST_NORM)
    return embeddings * (embeddings.shape[-1] ** 0.5 / norms)
