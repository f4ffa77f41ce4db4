# SPDX-License-Identifier: Apache-2.0
"""The folder that a run leaves: config, curves, checkpoints, the final agent."""

import contextlib
import csv
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from furl_ros.core.locks import Lock
from furl_ros.core.settings import SettingError
from furl_ros.core.storage import to_disk, whole_folder, write_whole

CONFIG = 'config.yaml'
CHECKPOINTS = 'checkpoints'
LOCK = '.lock'
CHANGES, CHANGE_COLUMNS = 'changes.csv', ('total_steps', 'name', 'value')
TRAINER_FILE, ALIGNMENT_FILE = 'trainer.safetensors', 'alignment.safetensors'
# Settings of one start, not of the run: not written to config.yaml.
UNSTORED = ('run_folder', 'run_config', 'resume', 'run_id', 'launch_pid', 'progress_lines')
# Settings that a checkpoint is bound to: what was learned means nothing under others.
BOUND = (
    'task',
    'goal',
    'camera',
    'quality',
    'method',
    'seed',
    'vlm',
    'prompt',
    'scoring',
    'observe',
    'baseline_prompt',
    'baseline_alpha',
    'image_size',
    'deterministic',
    'num_sims',
)


def find_checkpoint(resume: str | Path, argument: str = 'resume') -> Path:
    """Newest checkpoint of a run folder, or the checkpoint folder itself.

    Args:
        resume: either.
        argument: what people call it.

    Raises:
        SettingError: there is none.
    """
    path = Path(resume).expanduser()
    if (path / TRAINER_FILE).is_file():
        return path.resolve()
    found = sorted((path / CHECKPOINTS).glob(f'step_*/{TRAINER_FILE}'))
    if not found:
        raise SettingError(
            f"{argument} is '{resume}'; accepted: a run folder with a checkpoint in it, or one of"
            f' its {CHECKPOINTS}/step_* folders'
        )
    return found[-1].parent.resolve()


def run_of(checkpoint: Path) -> Path:
    """The run folder that a checkpoint lies in."""
    return Path(checkpoint).parent.parent


def load_config(folder: Path) -> dict[str, Any]:
    """Settings that a run was started with.

    Raises:
        SettingError: the file is missing or unreadable.
    """
    try:
        config = yaml.safe_load((Path(folder) / CONFIG).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise SettingError(f'{folder} is not a run folder: {error}') from None
    if not isinstance(config, dict):
        raise SettingError(f'{Path(folder) / CONFIG} is not a mapping of settings')
    return config


def config_at(checkpoint: Path) -> dict[str, Any]:
    """Settings of a run at a checkpoint: those of its start, and what was changed on the way.

    Raises:
        SettingError: a file is missing or unreadable.
    """
    config, table = load_config(run_of(checkpoint)), run_of(checkpoint) / CHANGES
    number = re.fullmatch(r'step_(\d+)', Path(checkpoint).name)
    try:
        rows = _rows_until(table, CHANGE_COLUMNS, int(number[1])) if number else []
        return config | {row['name']: json.loads(row['value']) for row in rows}
    except (OSError, ValueError, csv.Error) as error:
        raise SettingError(f'{table} cannot be read: {error}') from None


def check_fit(checkpoint: Path, config: dict[str, Any]) -> None:
    """Check that a run may go on from a checkpoint under these settings.

    Raises:
        SettingError: names the first setting that differs.
    """
    stored = config_at(checkpoint)
    for name in BOUND:
        if name in stored and name in config and stored[name] != config[name]:
            raise SettingError(
                f'{name} is {config[name]!r}, but the checkpoint {checkpoint.name} does not fit it;'
                f' accepted: {stored[name]!r}'
            )


def check_unlocked(folder: str | Path) -> None:
    """Check that no process writes to a run folder.

    Raises:
        SettingError: names the process, or says why the folder cannot be written to.
    """
    lock = Lock(Path(folder).expanduser() / LOCK)
    if not lock.path.exists():
        return
    try:
        if not lock.acquire():
            raise SettingError(_locked(folder, lock))
    except OSError as error:
        raise SettingError(_unwritable(folder, error)) from None
    lock.release()


def _locked(folder: str | Path, lock: Lock) -> str:
    return (
        f"run_folder is '{folder}'; accepted: a folder that nobody writes to; {lock.holder} writes"
        ' to this one'
    )


def _unwritable(folder: str | Path, error: OSError) -> str:
    return (
        f'run_folder is {str(folder)!r}; accepted: a folder that can be made and written to'
        f' ({error.strerror})'
    )


class RunFolder:
    """A folder that one process writes to: it is locked until ``close``, or the process' end.

    Layout: config.yaml, changes.csv, episodes.csv, curves.csv, evaluations.csv, tensorboard/,
    checkpoints/step_<n>/, vlm_agent.zip and .onnx (and those of sac_agent with a relay).

    Args:
        path: the folder; made when missing.
        config: written to config.yaml in a new folder.

    Raises:
        SettingError: the folder cannot be made or written to, or another process writes to it.
    """

    def __init__(self, path: str | Path, config: dict[str, Any]) -> None:
        self.path = Path(path).expanduser().resolve()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock = Lock(self.path / LOCK)
            if not self.lock.acquire():
                raise SettingError(_locked(path, self.lock))
            if not (self.path / CONFIG).exists():
                write_whole(self.path / CONFIG, yaml.safe_dump(config, sort_keys=False))
        except OSError as error:
            raise SettingError(_unwritable(path, error)) from None

    def close(self) -> None:
        """Let others write to the folder."""
        self.lock.release()

    def has_checkpoint(self, step: int) -> bool:
        """Whether there is a checkpoint of this step."""
        return (self.path / CHECKPOINTS / f'step_{step:09d}' / TRAINER_FILE).is_file()

    @contextlib.contextmanager
    def checkpoint(self, step: int, keep: int) -> Iterator[Path]:
        """Give the folder to write a checkpoint to; it appears only when it is whole.

        Args:
            step: environment steps of the run.
            keep: how many checkpoints are kept, this one included.
        """
        new = self.path / CHECKPOINTS / f'step_{step:09d}'
        with whole_folder(new) as temporary:
            yield temporary
            # Who goes on from here finds the rows until here, even when the machine dies.
            for table in self.path.glob('*.csv'):
                to_disk(table)
        found = sorted(new.parent.glob('step_*'))
        # Later ones belong to lost work: the run went on from an earlier checkpoint.
        kept = [folder for folder in found if folder <= new][-keep:]
        for folder in found:
            if folder not in kept:
                shutil.rmtree(folder)

    def publish_agents(self, step: int) -> None:
        """Copy the agents of the checkpoint of this step to the top of the folder."""
        for ending in ('zip', 'onnx'):
            for file in (self.path / CHECKPOINTS / f'step_{step:09d}').glob(f'*_agent.{ending}'):
                shutil.copy2(file, self.path / file.name)


def _until(step: int, row: dict[str | None, Any], columns: tuple[str, ...]) -> bool:
    """Whether a row is whole (a dying machine may tear the last one) and not after ``step``."""
    first = row.get(columns[0]) or ''
    return None not in row.values() and first.isdecimal() and int(first) <= step


def _rows_until(path: Path, columns: tuple[str, ...], step: int) -> list[dict[str, str]]:
    """The rows of a table that are whole and not after ``step``; none where it is missing."""
    if not path.exists():
        return []
    with open(path, newline='') as file:
        return [row for row in csv.DictReader(file) if _until(step, row, columns)]


class Table:
    """A CSV file with fixed columns, written row by row, that a resumed run goes on with.

    Args:
        path: the file.
        columns: names; the first is the environment step.
        step: rows after this step belong to lost work and are dropped.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], step: int) -> None:
        rows = _rows_until(path, columns, step)
        temporary = path.with_suffix('.tmp')
        with open(temporary, 'w', newline='') as file:
            writer = csv.DictWriter(file, columns, extrasaction='ignore')
            writer.writeheader()
            writer.writerows(rows)
        to_disk(temporary)
        os.replace(temporary, path)
        self._file = open(path, 'a', newline='')  # noqa: SIM115 (closed by close)
        self._writer = csv.DictWriter(self._file, columns, extrasaction='raise')

    def add(self, row: dict[str, Any]) -> None:
        """Write one row at once; columns that it lacks stay empty."""
        self._writer.writerow(
            {k: f'{v:.6g}' if isinstance(v, float) else v for k, v in row.items()}
        )
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Changes:
    """changes.csv: settings of a run that were changed on the way; a resumed run has them again.

    Args:
        folder: the run's.
        step: changes after this step belong to lost work and are dropped.
    """

    def __init__(self, folder: 'RunFolder', step: int) -> None:
        self._path, self._step = folder.path / CHANGES, step
        self._table = self._open() if self._path.exists() else None

    def add(self, step: int, name: str, value: Any) -> None:
        """From this step on a setting has this value."""
        self._table = self._table or self._open()
        row = (step, name, json.dumps(value))
        self._table.add(dict(zip(CHANGE_COLUMNS, row, strict=True)))

    def _open(self) -> Table:
        return Table(self._path, CHANGE_COLUMNS, self._step)
