# SPDX-License-Identifier: Apache-2.0
"""The process of one run: ``python -m furl_ros.sweep.child``, started by ``processes``.

It reads what to do from one line of its standard input, and ends when that is closed: whatever
happens to the sweep, no run goes on without it. Where a run stands is in ``progress.json`` of its
folder, what it says in ``run.log``.
"""

import json
import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from furl_ros.core.locks import Lock
from furl_ros.core.methods import METHODS
from furl_ros.core.run import ALIGNMENT_FILE, CHECKPOINTS, CONFIG, TRAINER_FILE, load_config
from furl_ros.core.settings import SettingError, explained
from furl_ros.core.storage import check_zip, load_tree
from furl_ros.report.traces import REWARDS
from furl_ros.sweep import results
from furl_ros.sweep.plan import check_unchanged
from furl_ros.sweep.progress import Progress

# Exit code of a run that would fail again in the same way.
REFUSED = 2
LOCK = 'run.lock'
# The process before this one in the same folder ends within this time, seconds.
PATIENCE = 60.0


def check_whole(checkpoint: Path, method: str) -> None:
    """Read all files of a checkpoint.

    Raises:
        SettingError: one is missing or damaged.
    """
    load_config(checkpoint.parent.parent)
    _, meta = load_tree(checkpoint / TRAINER_FILE)
    if METHODS[method].vlm:
        load_tree(checkpoint / ALIGNMENT_FILE)
    for name in meta.get('agents', ()):
        path = checkpoint / f'{name}_agent.zip'
        with explained(f'{path} is not a readable checkpoint file'):
            check_zip(path)


def newest_checkpoint(folder: Path, method: str, progress: Progress) -> Path | None:
    """Newest checkpoint that is whole; says so where a run cannot go on from one.

    None: the run starts anew, and nothing of an earlier start is left to mix with.
    """
    found = sorted((folder / CHECKPOINTS).glob('step_*'), reverse=True)
    for checkpoint in found:
        try:
            check_whole(checkpoint, method)
            return checkpoint
        except SettingError as error:
            reason = error
            print(f'{checkpoint.name} is not usable: {error}', flush=True)
    if found:
        progress.note(f'no checkpoint is usable, starting anew ({reason})')
        shutil.rmtree(folder / CHECKPOINTS)
        for name in (CONFIG, REWARDS):
            (folder / name).unlink(missing_ok=True)
    return None


def work(job: dict[str, Any]) -> None:
    """Go on with a run, from wherever it stands, until its results are in its folder.

    Args:
        job: see ``processes.description``.

    Raises:
        SettingError: a setting is not accepted, or differs from those that the run began with.
    """
    folder, values = Path(job['run']), job['values']
    check_unchanged(folder, values)
    if results.is_finished(folder):
        return
    total = values['total_steps']
    progress = Progress(folder, total)
    version = list(results.code_version())
    if version not in progress.content['commits']:
        progress.content['commits'].append(version)
    checkpoint = newest_checkpoint(folder, values['method'], progress)
    if checkpoint is None or int(checkpoint.name.split('_')[1]) < total:
        # Torch takes seconds to import, and is not needed where run.yaml alone is missing.
        from furl_ros.sweep.watched import train_watched

        train_watched(values | {'resume': str(checkpoint or '')}, job['log_every'], progress)
    if METHODS[values['method']].vlm and not (folder / REWARDS).exists():
        from furl_ros.sweep.watched import write_rewards

        try:
            write_rewards(folder)
        except SettingError as error:
            progress.note(f'no {REWARDS}: {error}')
    progress.write()
    commit, dirty = version
    others = [list(other) for other in progress.content['commits'] if list(other) != version]
    about = job['about'] | {
        'total_steps': total,
        'action_repeat': values['action_repeat'],
        'wall_seconds': round(progress.content['wall_seconds'], 1),
        'starts': progress.content['starts'],
        'commit': commit,
        'dirty': dirty,
        'earlier_commits': [{'commit': other[0], 'dirty': other[1]} for other in others],
    }
    results.conclude(folder, about)


def _follow(descriptor: int) -> None:
    """End this process as soon as nobody holds the other end of a pipe any more."""
    while os.read(descriptor, 1):
        pass
    os._exit(128 + signal.SIGTERM)


def main() -> None:
    """Read a job from standard input, and do it."""
    job = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_follow, args=(sys.stdin.fileno(),), daemon=True).start()
    os.nice(job['niceness'])
    lock = Lock(Path(job['run']) / LOCK)
    try:
        if not lock.acquire(PATIENCE):
            raise SettingError(f'another process writes to {job["run"]}')
        work(job)
    except SettingError as error:
        print(f'error: {error}', flush=True)
        sys.exit(REFUSED)


if __name__ == '__main__':
    main()
