# SPDX-License-Identifier: Apache-2.0
"""One replay for both agents: embeddings instead of VLM rewards, relabelled when sampled."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from furl_ros.core.settings import SettingError


class Transition(NamedTuple):
    """One step of the robot.

    ``embedding`` belongs to the frame after the action. ``stamp`` (nanoseconds) is that frame's.
    """

    state: np.ndarray
    """float32 [S], before the action."""
    action: np.ndarray
    """float32 [A], as carried out, scaled to [-1, 1]."""
    next_state: np.ndarray
    """float32 [S]."""
    task_reward: float
    success: bool
    terminated: bool
    """No value beyond next_state. A time limit is no termination: there the value bootstraps."""
    embedding: np.ndarray
    """Raw image embedding [E], kept as float16; [0] for methods without a VLM."""
    stamp: int
    source: int
    episode: int
    step: int


class Batch(NamedTuple):
    """What both agents learn from, torch tensors on the CPU."""

    states: Tensor
    """float32 [B, S]"""
    actions: Tensor
    """float32 [B, A]"""
    next_states: Tensor
    """float32 [B, S]"""
    terminated: Tensor
    """float32 [B, 1], 0 or 1"""
    task_rewards: Tensor
    """float32 [B, 1]"""
    embeddings: Tensor
    """float32 [B, E]"""


class Replay:
    """Ring of transitions in flat arrays; memory is taken as it fills.

    Args:
        capacity: transitions kept.
        state_width, action_width, embedding_width: S, A and E.
    """

    def __init__(
        self, capacity: int, state_width: int, action_width: int, embedding_width: int
    ) -> None:
        self.capacity = capacity
        self.written = 0
        self.arrays: dict[str, np.ndarray] = {
            'state': np.zeros((capacity, state_width), np.float32),
            'action': np.zeros((capacity, action_width), np.float32),
            'next_state': np.zeros((capacity, state_width), np.float32),
            'task_reward': np.zeros(capacity, np.float32),
            'success': np.zeros(capacity, bool),
            'terminated': np.zeros(capacity, bool),
            'embedding': np.zeros((capacity, embedding_width), np.float16),
            'stamp': np.zeros(capacity, np.int64),
            'source': np.zeros(capacity, np.int32),
            'episode': np.zeros(capacity, np.int32),
            'step': np.zeros(capacity, np.int32),
        }

    def __len__(self) -> int:
        return min(self.written, self.capacity)

    def add(self, transition: Transition) -> None:
        """Append a transition; the oldest one gives way when the ring is full."""
        slot = self.written % self.capacity
        for name, value in transition._asdict().items():
            self.arrays[name][slot] = value
        self.written += 1

    def sample(self, generator: np.random.Generator, count: int) -> Batch:
        """Draw transitions uniformly, with replacement."""
        rows = generator.integers(len(self), size=count)

        def column(name: str) -> Tensor:
            return torch.from_numpy(self.arrays[name][rows]).float()

        return Batch(
            column('state'),
            column('action'),
            column('next_state'),
            column('terminated')[:, None],
            column('task_reward')[:, None],
            column('embedding'),
        )

    def state(self) -> dict[str, np.ndarray]:
        """What has been written, for a checkpoint."""
        state = {name: array[: len(self)] for name, array in self.arrays.items()}
        return {**state, 'written': np.array([self.written], np.int64)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take over ``state``.

        Raises:
            SettingError: the replay had another size or other widths.
        """
        written = int(state['written'][0])
        used = min(written, self.capacity)
        for name, array in self.arrays.items():
            if state[name].shape != (used, *array.shape[1:]):
                raise SettingError(
                    f"the checkpoint's replay has {name} of shape {list(state[name].shape)};"
                    f' accepted: {[used, *array.shape[1:]]} (the same buffer_size, task and model)'
                )
        for name, array in self.arrays.items():
            array[:used] = state[name]
        self.written = written
