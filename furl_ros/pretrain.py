# SPDX-License-Identifier: Apache-2.0
"""Train furl-tiny, the small CLIP that ships with the package, on simulated frames.

python -m sim.dataset --out DATA
python -m furl_ros.pretrain --data DATA --out RUN

Contrastive training with open_clip's own loss, and three cheap terms beside it:

- order: within a task, a solved frame scores above an unsolved one against a sentence that asks for
  the task, and within an episode that ends in success a later frame above an earlier one (what
  LIV, arXiv 2306.00958, gets from its value term; here as a hinge);
- state: a linear map of the embedding tells where gripper and object are (dropped afterwards);
- words: in some sentences the thing is called by another thing's name, so that a task is
  understood by its verb when its noun was never seen.

It may be interrupted at any point and goes on from its last checkpoint; the batches depend on the
seed and the step alone.
"""

import argparse
import json
import math
import os
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from furl_ros.core.settings import add_arguments, from_arguments, setting
from furl_ros.core.storage import usual_mode
from furl_ros.core.vlm.open_clip_library import open_clip
from furl_ros.core.vlm.preprocess import Preprocess
from sim import captions, dataset

# Columns of the state that the linear map tells: gripper, opening, object, its displacement.
_STATE_WIDTH = 10
_CHECKPOINT = 'checkpoint.pt'


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of the training."""

    model: str = setting('furl-tiny', 'Model configuration.')
    steps: int = setting(3_000, 'Optimizer steps.', low=1, high=10**7)
    pairs: int = setting(128, 'Pairs of frames (of one episode and camera) per batch.', low=2)
    learning_rate: float = setting(1e-3, 'Highest AdamW step size (cosine schedule).', low=1e-8)
    weight_decay: float = setting(0.05, 'Of AdamW, on matrices.', low=0)
    order: float = setting(1.0, 'Weight of the order term.', low=0)
    margin: float = setting(0.1, 'Margin of the order term (cosine).', low=0, high=2)
    state: float = setting(1.0, 'Weight of the state term.', low=0)
    other_things: float = setting(0.3, 'Share of sentences with another noun.', low=0, high=1)
    seed: int = setting(0, 'Of everything that is drawn.', low=0)


class Batch(NamedTuple):
    """Frames 2i and 2i + 1 belong to one episode and camera, the earlier one first."""

    frames: Tensor
    """uint8 [2P, H, W, 3]"""
    captions: list[str]
    """One sentence per frame."""
    goals: list[str]
    """One sentence per pair that asks for its task."""
    ordered: Tensor
    """bool [P]: the second frame is nearer to the goal."""
    state: Tensor
    """float32 [2P, 10], standardised."""
    success: Tensor
    """bool [2P]"""
    task: Tensor
    """int64 [2P]"""


class Batches:
    """Draws batches from the tasks' frames; batch n depends on the seed and n alone."""

    def __init__(self, tasks: list[dataset.TaskData], config: PretrainConfig) -> None:
        self.tasks, self.config = tasks, config
        self.runs = [_runs(task) for task in tasks]
        self.states = [_state(task) for task in tasks]
        everything = np.concatenate(self.states)
        self.mean, self.std = everything.mean(0), everything.std(0) + 1e-6

    def draw(self, number: int) -> Batch:
        """Return batch ``number``."""
        config = self.config
        generator = np.random.default_rng([config.seed, number])
        frames, states, success, sentences, goals, ordered, tasks = [], [], [], [], [], [], []
        for _ in range(config.pairs):
            which = int(generator.integers(len(self.tasks)))
            task = self.tasks[which]
            rows = self.runs[which][int(generator.integers(len(self.runs[which])))]
            columns = task.columns
            pair = rows[np.sort(generator.integers(len(rows), size=2))]
            solved_rows = rows[columns['success'][rows]]
            # One frame in ten is solved; here more of them, for they are what prompts mean.
            if len(solved_rows) and generator.random() < 0.5:
                pair = np.sort([pair[0], solved_rows[int(generator.integers(len(solved_rows)))]])
            solved = columns['success'][pair]
            kind = dataset.KINDS[columns['kind'][pair[0]]]
            apart = columns['step'][pair[1]] - columns['step'][pair[0]] >= 10
            leads = (
                kind in ('scripted', 'noisy') and apart and columns['success'][rows].any()
            ) or solved[1]
            ordered.append(bool(leads and not solved[0]))
            goals.append(captions.goals(task.task, generator, config.other_things))
            for row in pair:
                frames.append(task.frames[row])
                states.append((self.states[which][row] - self.mean) / self.std)
                sentences.append(captions.caption(task.facts(row), generator, config.other_things))
                tasks.append(which)
            success.extend(solved)
        return Batch(
            torch.from_numpy(np.stack(frames)),
            sentences,
            goals,
            torch.tensor(ordered),
            torch.from_numpy(np.stack(states).astype(np.float32)),
            torch.from_numpy(np.array(success)),
            torch.tensor(tasks),
        )

    def stream(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield batches ``start`` to ``stop``, drawn ahead in a thread of their own."""
        ahead: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=3)

        def fill() -> None:
            try:
                for number in range(start, stop):
                    ahead.put(self.draw(number))
            except BaseException as error:
                ahead.put(error)

        threading.Thread(target=fill, daemon=True).start()
        for _ in range(start, stop):
            batch = ahead.get()
            if isinstance(batch, BaseException):
                raise batch
            yield batch


def _runs(task: dataset.TaskData) -> list[np.ndarray]:
    """Rows of each episode and camera, in order of time; at least two."""
    columns = task.columns
    key = columns['episode'].astype(int) * len(dataset.CAMERAS) + columns['camera']
    runs = [np.flatnonzero(key == value) for value in np.unique(key)]
    return [run for run in runs if len(run) > 1]


def _state(task: dataset.TaskData) -> np.ndarray:
    columns = task.columns
    return np.concatenate(
        [
            columns['gripper'],
            columns['opening'][:, None],
            columns['object'],
            columns['object'] - columns['object_start'],
        ],
        axis=1,
    )


class Pretrainer:
    """Model, losses and optimizer."""

    def __init__(self, config: PretrainConfig) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.model = open_clip.create_model(config.model, load_weights=False)
        self.model = self.model.to(memory_format=torch.channels_last)
        self.tokenizer = open_clip.get_tokenizer(config.model)
        self.preprocess = Preprocess(
            open_clip.get_model_preprocess_cfg(self.model), torch.device('cpu')
        )
        self.contrast = open_clip.ClipLoss()
        width = open_clip.get_model_config(config.model)['embed_dim']
        self.state_head = nn.Linear(width, _STATE_WIDTH)
        modules = (self.model, self.state_head)
        parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            [
                {'params': [p for p in parameters if p.ndim > 1]},
                {'params': [p for p in parameters if p.ndim <= 1], 'weight_decay': 0.0},
            ],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.step = 0
        self._tokens: dict[str, Tensor] = {}

    def texts(self, sentences: list[str]) -> Tensor:
        """Raw embeddings float32 [B, E]; equal sentences are encoded once."""
        different = list(dict.fromkeys(sentences))
        for sentence in different:
            if sentence not in self._tokens:
                self._tokens[sentence] = self.tokenizer([sentence])[0]
        tokens = torch.stack([self._tokens[sentence] for sentence in different])
        place = {sentence: number for number, sentence in enumerate(different)}
        embeddings = self.model.encode_text(tokens).float()
        return embeddings[torch.tensor([place[sentence] for sentence in sentences])]

    def update(self, batch: Batch) -> dict[str, float]:
        """One optimizer step; returns the losses by name."""
        config = self.config
        rate = config.learning_rate * _schedule(self.step, config.steps)
        for group in self.optimizer.param_groups:
            group['lr'] = rate
        self.model.train()
        pictures = self.preprocess(batch.frames)
        # Light and contrast of each picture, in units of the normalised colours.
        draw = torch.Generator().manual_seed(config.seed * 1_000_003 + self.step)
        pictures = pictures * (0.8 + 0.4 * torch.rand(len(pictures), 1, 1, 1, generator=draw))
        pictures = pictures + 0.3 * torch.randn(len(pictures), 1, 1, 1, generator=draw)
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        # For small heads torch's fused attention is slower on the CPU than plain products.
        with torch.autocast('cpu', torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            raw = self.model.encode_image(pictures).float()
            texts = self.texts(batch.captions + batch.goals)
        images, texts = F.normalize(raw, dim=-1), F.normalize(texts, dim=-1)
        count = len(batch.frames)
        losses = {'contrast': self.contrast(images, texts[:count], self.model.logit_scale.exp())}
        if config.order:
            goals = texts[count:].repeat_interleave(2, 0)
            scores = (images * goals).sum(-1)
            worse, better = scores[0::2], scores[1::2]
            within = F.relu(worse - better + config.margin)[batch.ordered]
            # Against the same sentence: frames of the task that are solved and that are not.
            same = (batch.task[::2, None] == batch.task[None]) & ~batch.success[None]
            against = texts[count:] @ images.T
            solved = batch.success[1::2, None]
            across = F.relu(against - better[:, None] + config.margin)[same & solved]
            parts = [part.mean() for part in (within, across) if len(part)]
            losses['order'] = sum(parts) if parts else scores.sum() * 0
        if config.state:
            losses['state'] = F.mse_loss(self.state_head(raw), batch.state)
        weights = {'contrast': 1.0, 'order': config.order, 'state': config.state}
        self.optimizer.zero_grad()
        sum(weights[name] * loss for name, loss in losses.items()).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(100))
        self.step += 1
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def save(self, path: Path) -> None:
        """Write everything, whole or not at all."""
        partial = path.with_suffix('.partial')
        torch.save(
            {
                'config': asdict(self.config),
                'step': self.step,
                'model': self.model.state_dict(),
                'state_head': self.state_head.state_dict(),
                'optimizer': self.optimizer.state_dict(),
            },
            partial,
        )
        os.replace(partial, path)

    def load(self, path: Path) -> None:
        """Go on from ``save``.

        Raises:
            ValueError: it was made with other settings.
        """
        saved = torch.load(path, weights_only=True)
        if saved['config'] != asdict(self.config):
            raise ValueError(f'{path} was made with {saved["config"]}')
        self.step = saved['step']
        self.model.load_state_dict(saved['model'])
        self.state_head.load_state_dict(saved['state_head'])
        self.optimizer.load_state_dict(saved['optimizer'])

    def export(self, path: Path) -> None:
        """Write the model's weights as safetensors; float16, which is as exact as their use."""
        state = {
            name: value.half().contiguous() if value.is_floating_point() else value.contiguous()
            for name, value in self.model.state_dict().items()
        }
        with usual_mode(path):
            save_file(state, path, metadata={'licence': 'Apache-2.0', 'steps': str(self.step)})


def _schedule(step: int, steps: int) -> float:
    """Linear rise over the first twentieth, then half a cosine down to a hundredth."""
    rise = max(1, steps // 20)
    if step < rise:
        return (step + 1) / rise
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def main() -> None:
    """Entry point of ``python -m furl_ros.pretrain``."""
    parser = argparse.ArgumentParser('furl_ros.pretrain', description=__doc__.split('\n\n')[0])
    parser.add_argument('--data', type=Path, required=True, help='folder of python -m sim.dataset')
    parser.add_argument('--out', type=Path, required=True, help='folder of this training')
    parser.add_argument('--hold-out', nargs='*', default=[], help='tasks to leave out')
    parser.add_argument('--threads', type=int, default=len(os.sched_getaffinity(0)))
    add_arguments(parser, PretrainConfig)
    options = parser.parse_args()
    config = from_arguments(PretrainConfig, options)
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    tasks = [task for task in dataset.load(options.data) if task.task not in options.hold_out]
    batches = Batches(tasks, config)
    trainer = Pretrainer(config)
    checkpoint = options.out / _CHECKPOINT
    if checkpoint.exists():
        trainer.load(checkpoint)
    saved = time.monotonic()
    with (
        tqdm(total=config.steps, initial=trainer.step, unit='step') as bar,
        open(options.out / 'losses.jsonl', 'a') as log,
    ):
        for batch in batches.stream(trainer.step, config.steps):
            losses = trainer.update(batch)
            bar.update()
            if trainer.step % 50 == 0:
                log.write(json.dumps({'step': trainer.step} | losses) + '\n')
                log.flush()
                bar.set_postfix({name: f'{value:.3f}' for name, value in losses.items()})
            if time.monotonic() - saved > 120:
                trainer.save(checkpoint)
                saved = time.monotonic()
    trainer.save(checkpoint)
    trainer.export(options.out / f'{config.model}.safetensors')


if __name__ == '__main__':
    main()
