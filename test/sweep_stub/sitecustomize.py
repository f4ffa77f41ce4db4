# SPDX-License-Identifier: Apache-2.0
"""Takes the learner's place in the processes of a sweep, where this folder is on their PYTHONPATH.

Its runs take no time, write the same files, and do what files in the folder $SWEEP_STUB say:
``<run>.hold`` stops a run at the step that is written in it, while it is there; ``<run>.crash``
lets it fail at that step, as often as the file's second word says.
"""

import os
import sys
import time
from pathlib import Path
from types import ModuleType

EPISODE = 10  # steps
# What orders for the time after the training name as the step.
REWARDS_STEP = -1


def follow_orders(name: str, step: int) -> None:
    """Wait, or fail, where the files say so."""
    orders = Path(os.environ['SWEEP_STUB'])
    hold, crash = orders / f'{name}.hold', orders / f'{name}.crash'
    while hold.exists() and int(hold.read_text()) == step:
        time.sleep(0.01)
    if crash.exists():
        at, left = map(int, crash.read_text().split())
        if at == step and left:
            crash.write_text(f'{at} {left - 1}')
            raise RuntimeError(f'told to fail at step {step}')


def train_watched(values: dict, log_every: int, progress) -> None:
    """As ``furl_ros.sweep.watched.train_watched``."""
    import numpy as np

    from furl_ros.core.run import ALIGNMENT_FILE, TRAINER_FILE, UNSTORED, RunFolder, Table
    from furl_ros.core.storage import load_tree, save_tree

    path = Path(values['run_folder'])
    name = f'{values["task"]}-{path.parent.name}-s{values["seed"]}'
    step, state = 0, values['seed'] + 1
    if values['resume']:
        _, meta = load_tree(Path(values['resume']) / TRAINER_FILE)
        step, state = meta['steps'], meta['state']
        print(f'going on from step {step}', flush=True)
    folder = RunFolder(path, {k: v for k, v in values.items() if k not in UNSTORED})
    columns = ('total_steps', 'task_return', 'success_rate_20')
    episodes = Table(path / 'episodes.csv', columns, step)
    curves = Table(path / 'curves.csv', ('total_steps', 'wall_seconds'), step)
    evaluations = Table(path / 'evaluations.csv', ('total_steps', 'success_any_step'), step)
    total, every = values['total_steps'], values['checkpoint_every']
    while step < total:
        step += 1
        state = state * 48271 % (2**31 - 1)
        progress.step(step, state % 21 / 20, now=True)
        follow_orders(name, step)
        if step % log_every == 0:
            curves.add({'total_steps': step, 'wall_seconds': time.monotonic()})
        if step % EPISODE == 0:
            row = {'task_return': float(state), 'success_rate_20': state % 21 / 20}
            episodes.add({'total_steps': step} | row)
        if step == total or step % every == 0:
            evaluations.add({'total_steps': step, 'success_any_step': 1.0})
            with folder.checkpoint(step, values['keep_checkpoints']) as made:
                empty = {'nothing': np.zeros(1)}
                save_tree(made / ALIGNMENT_FILE, empty, {})
                meta = {'steps': step, 'state': state, 'agents': {}}
                save_tree(made / TRAINER_FILE, empty, meta)


def write_rewards(folder: Path) -> None:
    """As ``furl_ros.sweep.watched.write_rewards``."""
    follow_orders(f'{folder.parent.parent.name}-{folder.parent.name}-{folder.name}', REWARDS_STEP)
    (folder / 'rewards.csv').write_text('step,reward\n1,0.5\n')


if 'SWEEP_STUB' in os.environ:
    module = ModuleType('furl_ros.sweep.watched')
    module.train_watched, module.write_rewards = train_watched, write_rewards
    sys.modules['furl_ros.sweep.watched'] = module
