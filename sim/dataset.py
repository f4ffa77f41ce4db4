# SPDX-License-Identifier: Apache-2.0
"""Make the frames that the small CLIP of this project is trained on.

python -m sim.dataset --out DIR --episodes 40 --seed 0

Episodes of the Meta-World tasks outside MT10, by the scripted policies, by noisy and by partly
random versions of them, and by random actions; several cameras; light, colour and camera pose vary
from episode to episode. Each task becomes a folder with frames.npy (uint8 [N, H, W, 3]) and
facts.npz (the simulator's state behind each frame, see ``FIELDS``). The same seed gives the same
files, whatever the number of workers; finished tasks are left as they are, so that an interrupted
run can be started again.
"""

import argparse
import functools
import multiprocessing
import os
import shutil
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import mujoco
import numpy as np
from tqdm import tqdm

from sim.captions import Facts, caption
from sim.config import SimConfig
from sim.envs import SimEnv, Step, make
from sim.oracle import Policy, oracle
from sim.renderer import Renderer
from sim.tasks import MT10, TASKS

TRAINING_TASKS: tuple[str, ...] = tuple(name for name in TASKS if name not in MT10)
# The first one is seen at every kept step, one of the others at every second.
CAMERAS = ('corner2', 'corner', 'corner3', 'corner4', 'topview')
KINDS = ('scripted', 'noisy', 'partly random', 'random')
# Of every ten episodes.
_SHARES = (2, 3, 3, 2)
# Steps between kept frames; steps kept after the first success; longest episode.
_EVERY, _AFTER_SUCCESS, _LONGEST = 3, 20, 200
# Of the episodes that look as the simulator draws them by default.
_PLAIN = 0.4

# By name: shape and dtype of one frame's entry in facts.npz.
FIELDS: dict[str, tuple[tuple[int, ...], type]] = {
    'gripper': ((3,), np.float32),
    'opening': ((), np.float32),
    'object': ((3,), np.float32),
    'object_start': ((3,), np.float32),
    'goal': ((3,), np.float32),
    'success': ((), bool),
    'kind': ((), np.int8),
    'camera': ((), np.int8),
    'episode': ((), np.int16),
    'step': ((), np.int16),
}


def behaviour(kind: str, env: SimEnv, generator: np.random.Generator) -> Policy:
    """Return a policy of one of ``KINDS`` for the next episode of an environment."""
    script = oracle(env)
    size = env.action_space.shape
    if kind == 'scripted':
        return script
    if kind == 'noisy':
        scale = generator.uniform(0.1, 0.8)
        return lambda step: script(step) + scale * generator.standard_normal(size)
    return _Wandering(script if kind == 'partly random' else None, size, generator)


class _Wandering:
    """Holds random actions for a while, in turns with a script when there is one."""

    def __init__(
        self, script: Policy | None, size: tuple[int, ...], generator: np.random.Generator
    ) -> None:
        self.script, self.size, self.generator = script, size, generator
        self.left = 0
        self.action: np.ndarray | None = None
        self.scripted = False

    def __call__(self, step: Step) -> np.ndarray:
        if self.left == 0:
            self.scripted = self.script is not None and not self.scripted
            self.left = int(self.generator.integers(5, 60) if self.scripted else
                            self.generator.integers(1, 16))  # fmt: skip
            self.action = self.generator.uniform(-1, 1, self.size)
        self.left -= 1
        return self.script(step) if self.scripted else self.action


class Looks:
    """Changes how a simulation looks, and back."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._parts = (
            model.geom_rgba, model.mat_rgba, model.light_diffuse, model.light_pos,
            model.vis.headlight.diffuse, model.vis.headlight.ambient,
            model.cam_pos, model.cam_quat, model.cam_fovy,
        )  # fmt: skip
        self._plain = [np.array(part) for part in self._parts]

    def plain(self) -> None:
        """As the model says."""
        for part, value in zip(self._parts, self._plain, strict=True):
            part[:] = value

    def vary(self, generator: np.random.Generator) -> None:
        """Draw light, colours (a tint of each part) and camera poses anew."""
        self.plain()
        model = self._model
        for colours in (model.geom_rgba, model.mat_rgba):
            colours[:, :3] *= generator.uniform(0.6, 1.2, (len(colours), 3))
            np.clip(colours, 0, 1, out=colours)
        model.light_diffuse[:] *= generator.uniform(0.5, 1.3)
        model.light_pos[:] += generator.normal(0, 0.3, model.light_pos.shape)
        model.vis.headlight.diffuse[:] *= generator.uniform(0.5, 1.4)
        model.vis.headlight.ambient[:] *= generator.uniform(0.6, 1.6)
        model.cam_pos[:] += generator.normal(0, 0.02, model.cam_pos.shape)
        model.cam_quat[:] += generator.normal(0, 0.01, model.cam_quat.shape)
        model.cam_quat[:] /= np.linalg.norm(model.cam_quat, axis=1, keepdims=True)
        model.cam_fovy[:] *= generator.uniform(0.95, 1.05)


def episodes(
    task: str, count: int, size: int, seed: int, cameras: tuple[str, ...] = CAMERAS
) -> Iterator[tuple[list[np.ndarray], list[tuple]]]:
    """Play episodes of a task.

    Args:
        task: one of Meta-World's.
        count: number of episodes; the kinds take turns.
        size: side of the frames in pixels.
        seed: with the task's name it determines everything.

    Yields:
        The frames of an episode, uint8 [size, size, 3] each, and the entries of ``FIELDS`` for
        each of them.
    """
    generator = np.random.default_rng([seed, *task.encode()])
    order = [kind for kind, share in zip(KINDS, _SHARES, strict=True) for _ in range(share)]
    env = make(SimConfig(task=task, goal='random', width=size, height=size, render=False))
    model, data = env.model_and_data()
    looks = Looks(model)
    env.reset(0)
    renderers = [Renderer(model, data, camera, size, size, 'fast') for camera in cameras]
    try:
        for episode in range(count):
            if episode % len(order) == 0:
                generator.shuffle(order)
            kind = order[episode % len(order)]
            if generator.random() < _PLAIN:
                looks.plain()
            else:
                looks.vary(generator)
            step = env.reset(int(generator.integers(2**31)))
            policy = behaviour(kind, env, generator)
            yield _play(env, step, policy, renderers, KINDS.index(kind), episode, generator)
    finally:
        for renderer in renderers:
            renderer.close()
        env.close()


def _play(
    env: SimEnv,
    step: Step,
    policy: Policy,
    renderers: list[Renderer],
    kind: int,
    episode: int,
    generator: np.random.Generator,
) -> tuple[list[np.ndarray], list[tuple]]:
    start, goal = step.state[4:7], env.goal_position()
    frames: list[np.ndarray] = []
    facts: list[tuple] = []
    solved: int | None = None
    for number in range(_LONGEST):
        step = env.step(np.asarray(policy(step), np.float32))
        if step.success and solved is None:
            solved = number
        if number % _EVERY == 0 or number == solved:
            state = step.state
            chosen = [0]
            if len(renderers) > 1 and number % (2 * _EVERY) == 0:
                chosen.append(int(generator.integers(1, len(renderers))))
            for camera in chosen:
                frames.append(renderers[camera].frame())
                place = (state[:3], state[3], state[4:7], start, goal)
                facts.append((*place, step.success, kind, camera, episode, number))
        if solved is not None and number >= solved + _AFTER_SUCCESS:
            break
    return frames, facts


def write_task(task: str, out: Path, count: int, size: int, seed: int) -> int:
    """Write the folder of a task, unless it is there; returns its number of frames."""
    folder = out / task
    if folder.exists():
        return len(np.load(folder / 'frames.npy', mmap_mode='r'))
    frames: list[np.ndarray] = []
    facts: list[tuple] = []
    for new_frames, new_facts in episodes(task, count, size, seed):
        frames += new_frames
        facts += new_facts
    partial = out / f'.{task}.partial'
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    np.save(partial / 'frames.npy', np.stack(frames))
    np.savez(
        partial / 'facts.npz',
        **{
            name: np.array([entry[column] for entry in facts], dtype).reshape(-1, *shape)
            for column, (name, (shape, dtype)) in enumerate(FIELDS.items())
        },
    )
    partial.rename(folder)
    return len(frames)


class TaskData:
    """The frames of one task and what is known of them.

    Attributes:
        frames: uint8 [N, H, W, 3], read from disk when used.
        columns: arrays [N, ...] by name, see ``FIELDS``.
    """

    def __init__(self, folder: Path) -> None:
        self.task = folder.name
        self.frames = np.load(folder / 'frames.npy', mmap_mode='r')
        with np.load(folder / 'facts.npz') as arrays:
            self.columns = {name: arrays[name] for name in FIELDS}

    def __len__(self) -> int:
        return len(self.frames)

    def facts(self, row: int) -> Facts:
        """What ``captions.caption`` wants to know of a frame."""
        columns = self.columns
        return Facts(
            self.task,
            columns['gripper'][row],
            float(columns['opening'][row]),
            columns['object'][row],
            columns['object_start'][row],
            columns['goal'][row],
            bool(columns['success'][row]),
        )


def load(folder: Path) -> list[TaskData]:
    """Open the folders that ``python -m sim.dataset`` wrote.

    Raises:
        FileNotFoundError: a training task is missing.
    """
    return [TaskData(folder / task) for task in TRAINING_TASKS]


def sheet(tasks: list[TaskData], path: Path, seed: int, rows: int = 6, columns: int = 5) -> None:
    """Draw some frames with a caption each (PNG)."""
    # Imported here: neither the workers nor the training draw.
    import matplotlib as mpl

    mpl.use('Agg')
    import matplotlib.pyplot as plt

    generator = np.random.default_rng(seed)
    figure, axes = plt.subplots(rows, columns, figsize=(2.2 * columns, 2.5 * rows))
    for axis in axes.flat:
        task = tasks[int(generator.integers(len(tasks)))]
        row = int(generator.integers(len(task)))
        axis.imshow(task.frames[row])
        axis.set_title('\n'.join(textwrap.wrap(caption(task.facts(row), generator), 30)), size=7)
        axis.axis('off')
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={'Copyright': 'SPDX-License-Identifier: Apache-2.0'})
    plt.close(figure)


def main() -> None:
    """Entry point of ``python -m sim.dataset``."""
    parser = argparse.ArgumentParser('sim.dataset', description=__doc__.split('\n\n')[0])
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    parser.add_argument('--episodes', type=int, default=40, help='of each task')
    parser.add_argument('--size', type=int, default=112, help='side of the frames, pixels')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--sheet', type=Path, help='PNG file to draw some frames and captions in')
    parser.add_argument('--workers', type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    write: Callable[[str], int] = functools.partial(
        write_task,
        out=options.out,
        count=options.episodes,
        size=options.size,
        seed=options.seed,
    )
    # Fresh processes: OpenGL contexts do not survive a fork.
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
        progress = tqdm(pool.map(write, TRAINING_TASKS), total=len(TRAINING_TASKS), unit='task')
        total = sum(progress)
    if options.sheet:
        sheet(load(options.out), options.sheet, options.seed)
    print(f'{total} frames of {len(TRAINING_TASKS)} tasks in {options.out}')


if __name__ == '__main__':
    main()
