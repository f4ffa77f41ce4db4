# SPDX-License-Identifier: Apache-2.0
"""Runs as processes of this machine: started, watched, ended."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import furl_ros
from furl_ros.sweep.child import REFUSED
from furl_ros.sweep.plan import Job
from furl_ros.sweep.progress import read_progress
from furl_ros.sweep.results import collect

LOG = 'run.log'
LAST_LINES = 8
# A process that was asked to end is ended by force after this time, seconds.
FAREWELL = 5.0


class Outcome(NamedTuple):
    """How one start of a run ended."""

    files: dict[str, bytes]
    """Its results; empty where it failed."""
    error: str = ''
    """Why it failed, with the last lines of its log."""
    again: bool = False
    """Whether another start may do better."""


def description(job: Job, niceness: int) -> dict[str, Any]:
    """A job as its process needs to know it, JSON-able, so that it can go to another machine."""
    return {
        'name': job.name,
        'values': job.values,
        'run': str(job.run),
        'log_every': job.log_every,
        'niceness': niceness,
        'about': {
            'task': job.task,
            'variant': job.variant,
            'seed': job.seed,
            'settings': job.chosen(),
        },
    }


class RunProcess:
    """One start of a run, in a process of its own that ends with this one.

    Args:
        job: from ``description``.

    Raises:
        OSError: the run folder cannot be made or written to.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self.folder = Path(job['run']).expanduser().absolute()
        job = job | {'run': str(self.folder)}
        job['values'] = job['values'] | {'run_folder': str(self.folder)}
        self.folder.mkdir(parents=True, exist_ok=True)
        place = str(Path(furl_ros.__file__).parents[1])
        path = os.pathsep.join(filter(None, [place, os.environ.get('PYTHONPATH')]))
        threads = dict.fromkeys(('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS'), '1')
        # Mesa draws in the thread that asks: a tenth faster than waiting for another one.
        threads['LP_NUM_THREADS'] = '0'
        with open(self.folder / LOG, 'ab') as log:
            log.write(f'--- {time.strftime("%Y-%m-%d %H:%M:%S")}: {job["name"]}\n'.encode())
            log.flush()
            self._log_start = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, '-m', 'furl_ros.sweep.child'],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the sweep, which ends its runs.
                start_new_session=True,
                env=os.environ | threads | {'TQDM_DISABLE': '1', 'PYTHONPATH': path},
            )
        try:
            self.process.stdin.write(json.dumps(job).encode() + b'\n')
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended already, and its log says why

    def poll(self) -> Outcome | None:
        """How it ended; None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        self.process.stdin.close()
        if code == 0:
            try:
                return Outcome(collect(self.folder))
            except OSError as error:
                return Outcome({}, f'its results are not readable ({error})')
        if code == REFUSED:
            return Outcome({}, self.last_lines(1).removeprefix('error: '))
        how = f'ended with exit code {code}'
        if code < 0:
            how = f'was ended by {signal.Signals(-code).name}'
        return Outcome({}, f'{how}; the end of {self.folder / LOG}:\n{self.last_lines()}', True)

    def progress(self) -> dict[str, Any]:
        """Where it stands, from ``Progress``; empty before it says so."""
        content = read_progress(self.folder)
        return content if content.get('pid') == self.process.pid else {}

    def last_lines(self, count: int = LAST_LINES) -> str:
        """The last lines that it has written to its log."""
        with open(self.folder / LOG, 'rb') as log:
            log.seek(max(self._log_start, os.fstat(log.fileno()).st_size - 16_384))
            lines = log.read().decode(errors='replace').splitlines()
        return '\n'.join([line for line in lines if line.strip()][-count:])

    def stop(self) -> None:
        """Ask it to end. Whatever it has learned since its last checkpoint is lost."""
        if self.process.poll() is None:
            self.process.terminate()

    def wait(self) -> None:
        """Return when it has ended, after ``stop``."""
        try:
            self.process.wait(FAREWELL)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()


class Here:
    """Runs jobs on this machine.

    Args:
        workers: how many at once.
        niceness: how far they stand back behind others.
    """

    def __init__(self, workers: int, niceness: int) -> None:
        self.workers, self.niceness = workers, niceness

    def capacity(self) -> int:
        """How many jobs may run at once."""
        return self.workers

    def start(self, job: Job, attempt: int) -> RunProcess:
        """Start, or go on with, a job.

        Raises:
            OSError: its run folder cannot be made or written to.
        """
        return RunProcess(description(job, self.niceness))

    def close(self) -> None:
        """Nothing is left to do."""
