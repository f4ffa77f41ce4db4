# SPDX-License-Identifier: Apache-2.0
"""What is kept of a finished run: small files, of which ``run.yaml`` is written last."""

import contextlib
import csv
import datetime
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

import furl_ros
from furl_ros.core.run import CONFIG
from furl_ros.core.storage import write_whole
from furl_ros.report.traces import REWARDS

# A run is finished exactly when its results have this file.
RUN = 'run.yaml'
TABLES = ('episodes.csv', 'evaluations.csv', 'curves.csv', REWARDS)
LIBRARIES = ('torch', 'stable-baselines3', 'mujoco', 'metaworld')
# Results are kept in the repository, where each file names its licence.
LICENCE = '# SPDX-License-Identifier: Apache-2.0\n'


def is_finished(results: Path) -> bool:
    """Whether the results of a run are all there."""
    return (results / RUN).is_file()


def conclude(folder: Path, about: Mapping[str, Any]) -> None:
    """Turn a finished run into results: all that ``collect`` takes is in its folder then.

    Args:
        folder: the run folder, with its last checkpoint.
        about: what ``run.yaml`` says beside what is found out here.
    """
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds')
    content = dict(about) | {
        'finished_at': now,
        'machine': {'processor': processor(), 'cores': cores()},
        'versions': versions(),
    }
    write_whole(folder / RUN, LICENCE + yaml.safe_dump(content, sort_keys=False))


def collect(folder: Path) -> dict[str, bytes]:
    """The small files of a concluded run, by name."""
    files = {name: folder / name for name in (CONFIG, *TABLES, RUN)}
    content = {name: path.read_bytes() for name, path in files.items() if path.is_file()}
    content[CONFIG] = LICENCE.encode() + content[CONFIG]
    return content


def store(results: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of ``collect`` to the results of a run; ``run.yaml`` last.

    Raises:
        OSError: the folder cannot be written to.
    """
    results.mkdir(parents=True, exist_ok=True)
    for name in sorted(files, key=lambda name: name == RUN):
        write_whole(results / name, files[name])


def success(results: Path) -> float | None:
    """Success rate of the last 20 training episodes; None where no episode was finished."""
    with open(results / 'episodes.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    return float(rows[-1]['success_rate_20']) if rows else None


def code_version() -> tuple[str | None, bool | None]:
    """Git's commit of this code, and whether the code has changed since; None where unknown."""
    package = Path(furl_ros.__file__).resolve().parent

    def git(*arguments: str) -> str:
        return subprocess.check_output(
            ['git', '-C', str(package.parent), *arguments],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        ).strip()

    try:
        # A copy of the code in a folder that git does not follow may be of any commit.
        git('ls-files', '--error-unmatch', str(package / '__init__.py'))
        return git('rev-parse', 'HEAD'), bool(git('status', '--porcelain', '--', 'furl_ros', 'sim'))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def processor() -> str:
    """Name of the processor, or of its kind where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on."""
    return {'python': platform.python_version()} | {
        name: importlib.metadata.version(name) for name in LIBRARIES
    }
