# SPDX-License-Identifier: Apache-2.0
"""Online alignment of the reward heads: rings of frames, the stages, one update per transition."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from furl_ros.core.config import AlignConfig
from furl_ros.core.demonstrations import Demonstrations
from furl_ros.core.heads import (
    RewardHeads,
    negative_negative_loss,
    positive_negative_loss,
    positive_positive_loss,
)
from furl_ros.core.kinds import ANCHORED, HEADS, PAPER
from furl_ros.core.methods import METHODS
from furl_ros.core.settings import SettingError
from furl_ros.core.storage import generator_from_json, generator_to_json, load_tree, save_tree

_LEAST_NORM = 1e-12


def _tensor(embeddings: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(embeddings).float()


def count_positives(success: Sequence[bool]) -> int:
    """Number of leading frames of an episode that are positive (FuRL's rule).

    Every frame up to the first success, and the unbroken run of success frames after it; none
    in an episode without success.

    Args:
        success: one flag per frame of the episode, in order, the reset frame left out.
    """
    flags = np.asarray(success, bool)
    if not flags.any():
        return 0
    first = int(flags.argmax())
    broken = np.flatnonzero(~flags[first:])
    return first + int(broken[0]) if len(broken) else len(flags)


class Ring:
    """Newest ``capacity`` embeddings with their place in their episode.

    ``lagged`` finds, for a frame, the one ``lag`` frames before it in the same episode: episodes
    are written as unbroken runs, so it is the slot ``lag`` before, as long as the run reaches
    back that far and the slot has not been overwritten.
    """

    def __init__(self, capacity: int, width: int) -> None:
        self.embeddings = np.zeros((capacity, width), np.float16)
        self.indices = np.zeros(capacity, np.int32)
        self.written = 0

    def __len__(self) -> int:
        return min(self.written, len(self.indices))

    def extend(self, embeddings: np.ndarray) -> None:
        """Append one episode's frames, float16 [T, E], in order."""
        capacity = len(self.indices)
        order = np.arange(len(embeddings), dtype=np.int32)
        kept = slice(max(0, len(order) - capacity), None)
        slots = (self.written + order[kept]) % capacity
        self.embeddings[slots] = embeddings[kept]
        self.indices[slots] = order[kept]
        self.written += len(order)

    def draw(self, generator: np.random.Generator, count: int, share: float = 1.0) -> np.ndarray:
        """Draw frames with replacement, float16 [count, E], from the last share of each episode."""
        if share == 1:
            return self.embeddings[generator.integers(len(self), size=count)]
        slots = self._of_the_end(share)
        return self.embeddings[slots[generator.integers(len(slots), size=count)]]

    def _of_the_end(self, share: float) -> np.ndarray:
        """Slots of the last share of each episode; of each at least its last frame."""
        slots = (self.written - len(self) + np.arange(len(self))) % len(self.indices)
        order = self.indices[slots]
        ends = np.flatnonzero(np.append(order[1:] <= order[:-1], True))
        lengths = np.repeat(order[ends] + 1, np.diff(ends, prepend=-1))
        return slots[order >= np.minimum(lengths * (1 - share), lengths - 1)]

    def draw_lagged(
        self, generator: np.random.Generator, count: int, lag: int
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Draw pairs (later, earlier) ``lag`` frames apart; None when the ring holds no pair."""
        capacity = len(self.indices)
        slots = np.flatnonzero(self.indices[: len(self)] >= lag)
        age = (self.written - 1 - slots) % capacity
        slots = slots[age + lag < len(self)]
        if not len(slots):
            return None
        later = slots[generator.integers(len(slots), size=count)]
        return self.embeddings[later], self.embeddings[(later - lag) % capacity]

    def state(self) -> dict[str, np.ndarray]:
        """What has been written, for a checkpoint."""
        used = len(self)
        return {
            'embeddings': self.embeddings[:used],
            'indices': self.indices[:used],
            'written': np.array([self.written], np.int64),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take over ``state``.

        Raises:
            SettingError: the ring had another size or width.
        """
        used, width = state['embeddings'].shape
        written = int(state['written'][0])
        if width != self.embeddings.shape[1] or used != min(written, len(self.indices)):
            raise SettingError(
                f'the checkpoint has rings of {used} frames of width {width}; accepted: width'
                f' {self.embeddings.shape[1]} and the same ring_size ({len(self.indices)})'
            )
        self.embeddings[:used] = state['embeddings']
        self.indices[:used] = state['indices']
        self.written = written


class Alignment(NamedTuple):
    """One published version of the heads."""

    version: int
    transitions: int
    stage: int
    positives: int
    negatives: int
    heads: RewardHeads


def _sum_of_directions(episode: list[tuple[np.ndarray, bool]], width: int) -> np.ndarray:
    """Sum of the unit embeddings of an episode's frames, float64 [E]."""
    total = np.zeros(width)
    for frame, _ in episode:
        total += frame / max(np.linalg.norm(frame.astype(np.float64)), _LEAST_NORM)
    return total


class Aligner:
    """Keeps the rings and trains the heads (sections 4.1 and 4.2 of the paper).

    Deterministic given the order of ``add`` and ``update`` calls.

    Args:
        config: hyper-parameters.
        method: name of the method; heads of methods without training never change.
        text_embedding: raw phi_L(prompt), float32 [E].
        goal_embedding: raw embedding of the goal image, float32 [E], or None.
        seed: of the heads' initial parameters and of the draws.
        warmup_steps: transitions before the first update.
    """

    def __init__(
        self,
        config: AlignConfig,
        method: str,
        text_embedding: np.ndarray,
        goal_embedding: np.ndarray | None,
        seed: int,
        warmup_steps: int,
    ) -> None:
        width = len(text_embedding)
        self.config = config
        self.method = METHODS[method]
        self.warmup_steps = warmup_steps
        self.text = torch.from_numpy(np.array(text_embedding, np.float32))
        self.goal: torch.Tensor | None = None
        anchor = F.normalize(self.text, dim=-1).numpy() if self.anchored else None
        layers = (width, config.head_hidden_units, config.output_units)
        self.heads = RewardHeads(layers, seed, anchor)
        # Of the unit embeddings of the warm-up's frames, in episodes that are over; None once the
        # heads have their mean.
        self._sum: np.ndarray | None = np.zeros(width) if self.anchored else None
        if goal_embedding is not None:
            self.set_goal(goal_embedding)
        self.optimizer = torch.optim.Adam(
            self.heads.parameters(), lr=config.head_learning_rate, fused=True
        )
        self.generator = np.random.default_rng([seed, 1])
        self.positives = Ring(config.ring_size, width)
        self.negatives = Ring(config.ring_size, width)
        self.episodes: dict[str, list[tuple[np.ndarray, bool]]] = {}
        self.transitions = 0
        self.version = 0
        self.stage = 0

    @property
    def anchored(self) -> bool:
        """Whether the heads begin as what the model knows."""
        return self.config.heads == ANCHORED and self.method.heads == 'trained'

    def set_text(self, embedding: np.ndarray) -> bool:
        """Use this prompt (raw embedding, float32 [E]); rings and what was learned are kept.

        Returns:
            Whether the heads are others by it: they began as the cosine with the prompt.
        """
        self.text = torch.from_numpy(np.array(embedding, np.float32))
        if not self.anchored or self.goal is not None:
            return False
        self.heads.anchor.copy_(F.normalize(self.text, dim=-1))
        self.version += 1
        return True

    def set_goal(self, embedding: np.ndarray) -> None:
        """Use this goal image (raw embedding, float32 [E]), where the method uses one."""
        if not self.method.goal_image:
            return
        self.goal = torch.from_numpy(np.array(embedding, np.float32))
        if self.anchored:
            center = self.heads.center
            self.heads.anchor.copy_(F.normalize(F.normalize(self.goal, dim=-1) - center, dim=-1))

    def _set_center(self) -> None:
        """Give the heads the mean of the frames seen so far, once."""
        running = [_sum_of_directions(e, len(self._sum)) for e in self.episodes.values()]
        center = (self._sum + sum(running)) / max(1, self.transitions)
        self._sum = None
        self.heads.center.copy_(torch.from_numpy(center))
        if self.goal is not None:
            self.set_goal(self.goal.numpy())
        self.version += 1
        self.stage = 1

    def add(self, embedding: np.ndarray, success: bool, last: bool, source: str = '') -> None:
        """Take in the frame of one transition.

        Args:
            embedding: raw embedding of the frame after the action, [E].
            success: the task is solved in it.
            last: it ends its episode.
            source: which of several robots it comes from.
        """
        self.transitions += 1
        frame = np.asarray(embedding, np.float16)
        episode = self.episodes.setdefault(source, [])
        episode.append((frame, bool(success)))
        if last:
            self.end_episode(source)

    def show(self, shown: Demonstrations) -> None:
        """Sort the frames of demonstrations into the rings; they count as no transitions.

        Raises:
            SettingError: they are of another model.
        """
        width = self.positives.embeddings.shape[1]
        for episode in shown.episodes:
            frames = np.stack([np.asarray(t.embedding, np.float16) for t in episode])
            if frames.shape[1] != width:
                raise SettingError(
                    f'demonstrations have embeddings of {frames.shape[1]} values; accepted: {width}'
                )
            self._sort_in(frames, [t.success for t in episode])

    def end_episode(self, source: str = '') -> None:
        """Sort the frames of the running episode of ``source`` into the rings."""
        episode = self._take_episode(source)
        if not episode:
            return
        frames = np.stack([embedding for embedding, _ in episode])
        self._sort_in(frames, [success for _, success in episode])

    def _sort_in(self, frames: np.ndarray, successes: Sequence[bool]) -> None:
        positives = count_positives(successes)
        if positives:
            self.positives.extend(frames[:positives])
        else:
            self.negatives.extend(frames)

    def drop_episode(self, source: str = '') -> None:
        """Forget the running episode: it was broken off, so it is neither success nor failure."""
        self._take_episode(source)

    def forget_episode(self, source: str = '') -> int:
        """Forget the running episode, as if it had never been; heads stay as they are.

        Returns:
            How many transitions it had.
        """
        count = len(self.episodes.pop(source, ()))
        self.transitions -= count
        return count

    def _take_episode(self, source: str) -> list[tuple[np.ndarray, bool]]:
        """The running episode, which ends; its frames count for the mean of all."""
        episode = self.episodes.pop(source, [])
        if self._sum is not None:
            self._sum += _sum_of_directions(episode, len(self._sum))
        return episode

    def update(self) -> dict[str, float]:
        """One head update, if the stage has something to learn from.

        Returns:
            The losses by name; empty when nothing was updated (heads that are not trained,
            warm-up, stage 1 without a goal image, no frames yet).
        """
        if self.method.heads != 'trained' or self.transitions <= self.warmup_steps:
            return {}
        if self._sum is not None:
            self._set_center()
        stage = 2 if len(self.positives) else 1
        losses = self._order_by_success() if stage == 2 else self._order_by_goal()
        if not losses:
            return {}
        self.optimizer.zero_grad()
        sum(losses.values()).backward()
        self.optimizer.step()
        self.version += 1
        self.stage = stage
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _order_by_success(self) -> dict[str, torch.Tensor]:
        """Losses of stage 2."""
        config = self.config
        pairs = {}
        if len(self.negatives):
            pairs['pos_neg'] = (
                self.positives.draw(self.generator, config.head_batch_size, config.positive_share),
                self.negatives.draw(self.generator, config.head_batch_size),
            )
        lagged = self.positives.draw_lagged(self.generator, config.head_batch_size, config.lag)
        if lagged:
            pairs['pos_pos'] = lagged
        if not pairs:
            return {}
        frames = np.concatenate([frames for pair in pairs.values() for frames in pair])
        rewards = iter(self.heads(_tensor(frames), self.text).split(config.head_batch_size))
        losses = {'pos_neg': positive_negative_loss, 'pos_pos': positive_positive_loss}
        return {name: losses[name](next(rewards), next(rewards), config.margin) for name in pairs}

    def _order_by_goal(self) -> dict[str, torch.Tensor]:
        """Losses of stage 1."""
        config = self.config
        # Anchored heads are in the order of the goal from the beginning.
        if self.anchored or self.goal is None or not len(self.negatives):
            return {}
        frames = _tensor(self.negatives.draw(self.generator, config.head_batch_size))
        loss = negative_negative_loss(
            self.heads(frames, self.text),
            torch.linalg.vector_norm(frames - self.goal, dim=-1),
            config.goal_gap,
            config.margin,
        )
        return {} if loss is None else {'neg_neg': loss}

    def snapshot(self) -> Alignment:
        """The heads as they are now, safe from later updates."""
        return Alignment(
            self.version,
            self.transitions,
            self.stage,
            len(self.positives),
            len(self.negatives),
            self.heads.frozen_copy(),
        )

    def save(
        self,
        path: Path,
        newest: Mapping[str, int] | None = None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        """Write everything to one safetensors file.

        Args:
            path: of the file.
            newest: stamps in nanoseconds of what was taken in last, by source, for ``load``.
            about: what ``read_heads`` is to tell of them.
        """
        image, text = self.heads.flat()
        optimizer = {
            f'{index}.{name}': value.numpy()
            for index, state in self.optimizer.state_dict()['state'].items()
            for name, value in state.items()
        }
        save_tree(
            path,
            {
                'image_head': image,
                'text_head': text,
                **self._frame_of_reference(),
                'optimizer': optimizer,
                'positives': self.positives.state(),
                'negatives': self.negatives.state(),
                'running': {
                    str(index): {
                        'embeddings': np.stack([embedding for embedding, _ in episode]),
                        'successes': np.array([success for _, success in episode]),
                    }
                    for index, episode in enumerate(self.episodes.values())
                },
            },
            {
                'layer_sizes': self.heads.layer_sizes,
                'transitions': self.transitions,
                'version': self.version,
                'stage': self.stage,
                'generator': generator_to_json(self.generator),
                'running': list(self.episodes),
                'newest': dict(newest or {}),
                'about': dict(about or {}),
            },
        )

    def start_from(self, path: Path) -> None:
        """Begin a run with the heads and the frames of a file that ``save`` wrote.

        Raises:
            SettingError: as for ``load``.
        """
        generator = self.generator
        self.load(path)
        # The run is a new one: it has its own draws, its own warm-up and its own episodes.
        self.generator, self.transitions = generator, 0
        self.episodes.clear()

    def _frame_of_reference(self) -> dict[str, np.ndarray]:
        """What anchored heads have beside their parameters, for a checkpoint."""
        if not self.anchored:
            return {}
        anchor, center = self.heads.frame_of_reference()
        arrays = {'anchor': anchor, 'center': center}
        return arrays if self._sum is None else {**arrays, 'sum': self._sum}

    def load(self, path: Path) -> dict[str, int]:
        """Go on from ``save``.

        Returns:
            The stamps that were given to it.

        Raises:
            SettingError: the file is missing, unreadable, or of another shape.
        """
        arrays, meta = load_tree(path)
        if tuple(meta['layer_sizes']) != self.heads.layer_sizes:
            raise SettingError(
                f'the checkpoint {path} has heads of layers {meta["layer_sizes"]}; accepted:'
                f' {list(self.heads.layer_sizes)} for this model and these settings'
            )
        if ('anchor' in arrays) != self.anchored:
            raise SettingError(
                f'heads is {self.config.heads!r}, but the checkpoint {path} has others; accepted:'
                f' {next(kind for kind in HEADS if kind != self.config.heads)!r}'
            )
        frame = (arrays['anchor'], arrays['center']) if self.anchored else ()
        saved = RewardHeads.from_flat(
            meta['layer_sizes'], arrays['image_head'], arrays['text_head'], *frame
        )
        self.heads.load_state_dict(saved.state_dict())
        self._sum = arrays['sum'].copy() if 'sum' in arrays else None
        state = self.optimizer.state_dict()
        state['state'] = {}
        for key, value in arrays.get('optimizer', {}).items():
            index, name = key.split('.')
            state['state'].setdefault(int(index), {})[name] = torch.from_numpy(value.copy())
        self.optimizer.load_state_dict(state)
        self.positives.restore(arrays['positives'])
        self.negatives.restore(arrays['negatives'])
        self.transitions, self.version = meta['transitions'], meta['version']
        self.stage = meta['stage']
        self.generator = generator_from_json(meta['generator'])
        # Checkpoints of earlier versions have neither running episodes nor stamps.
        self.episodes.clear()
        for index, source in enumerate(meta.get('running', [])):
            episode = arrays['running'][str(index)]
            frames = zip(episode['embeddings'].copy(), episode['successes'].tolist(), strict=True)
            self.episodes[source] = list(frames)
        return meta.get('newest', {})


class SavedHeads(NamedTuple):
    """The heads of a file that ``Aligner.save`` wrote."""

    kind: str
    """'anchored' or 'paper'."""
    version: int
    values: dict[str, Any]
    """What ``RewardHeads.from_flat`` takes, by name."""
    about: dict[str, str]
    """What was told of them: prompt and vlm in a file of align_bag."""


def read_heads(path: Path) -> SavedHeads:
    """Read the heads of a checkpoint's alignment file, or of one that align_bag wrote.

    Raises:
        SettingError: the file is missing or is not such a file.
    """
    arrays, meta = load_tree(path)
    names = ('image_head', 'text_head', 'anchor', 'center')
    values = {name: arrays[name] for name in names if name in arrays}
    if not {'image_head', 'text_head'} <= set(values) or 'layer_sizes' not in meta:
        raise SettingError(f'{path} holds no reward heads')
    kind = ANCHORED if 'anchor' in values else PAPER
    values['layer_sizes'] = meta['layer_sizes']
    return SavedHeads(kind, meta['version'], values, dict(meta.get('about', {})))
