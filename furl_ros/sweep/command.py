# SPDX-License-Identifier: Apache-2.0
"""``ros2 run furl_ros sweep``: begins what is missing, watches it, keeps what is finished.

Nothing about the sweep is kept but the runs' own files: a job is finished when its results are
there, begun when it has a checkpoint, and someone's when its lock is held. So it does not matter
how a sweep ends; the next one goes on.
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol

from rich.console import Console

from furl_ros.core.locks import Lock
from furl_ros.core.settings import SettingError
from furl_ros.sweep import results
from furl_ros.sweep.display import Display, State, markdown
from furl_ros.sweep.plan import Job, Plan, check_unchanged, read
from furl_ros.sweep.processes import Here, Outcome

ATTEMPTS = 2  # of a job, in one sweep
POLL = 0.2  # seconds between looks at the processes
SHOW_EVERY = 1.0  # seconds between looks at where they stand, and at other sweeps' jobs
STOPPED = 130  # exit code


class Handle(Protocol):
    """A job that was started."""

    def poll(self) -> Outcome | None:
        """How it ended; None while it runs."""

    def progress(self) -> dict[str, Any]:
        """Where it stands (see ``Progress``); may be empty."""

    def stop(self) -> None:
        """Ask it to end."""

    def wait(self) -> None:
        """Return when it has ended, after ``stop``."""


class Workers(Protocol):
    """Those who do the jobs, on this machine or on others."""

    def capacity(self) -> int:
        """How many jobs may run at once, now."""

    def start(self, job: Job, attempt: int) -> Handle:
        """Start, or go on with, a job; ``attempt`` counts from 1."""

    def close(self) -> None:
        """Let the workers go."""


class Running(NamedTuple):
    """A job under way."""

    job: Job
    handle: Handle
    lock: Lock
    attempt: int
    notes: list[str]


class Sweep:
    """One sweep over the jobs of a plan.

    Args:
        plan: the jobs.
        workers: who do them.
        display: shows what happens.
    """

    def __init__(self, plan: Plan, workers: Workers, display: Display) -> None:
        self.plan, self.workers, self.display = plan, workers, display
        self.finished: list[Job] = []
        self.waiting: list[Job] = []
        for job in plan.jobs:
            (self.finished if results.is_finished(job.results) else self.waiting).append(job)
        self.running: list[Running] = []
        self.failed: dict[str, str] = {}
        self.elsewhere = 0
        self.stopping = False
        self._try_at = self._show_at = 0.0

    def run(self) -> int:
        """Do all jobs; returns the exit code: 1 if any failed, 130 if it was stopped."""
        try:
            while (self.waiting or self.running) and not self.stopping:
                self._start_some()
                for one in list(self.running):
                    outcome = one.handle.poll()
                    if outcome is not None:
                        self._end(one, outcome)
                self._show()
                if self.waiting or self.running:
                    time.sleep(POLL)
        finally:
            self._stop_all()
        if self.stopping:
            return STOPPED
        return 1 if self.failed else 0

    def state(self) -> State:
        """Where the sweep stands."""
        running = [(one.job, one.handle.progress()) for one in self.running]
        counts = (self.elsewhere, len(self.finished), len(self.failed), self.workers.capacity())
        return State(running, tuple(self.waiting), *counts)

    def _start_some(self) -> None:
        """Start the first jobs that nobody else is at, as many as there are workers for."""
        free = self.workers.capacity() - len(self.running)
        if free < 1 or not self.waiting or time.monotonic() < self._try_at:
            return
        self.elsewhere = 0
        for job, lock in self._available():
            self.waiting.remove(job)
            self._start(job, lock, 1)
            free -= 1
            if free < 1:
                return
        # Whatever still waits is another sweep's, until that one ends.
        self.elsewhere = len(self.waiting)
        self._try_at = time.monotonic() + SHOW_EVERY

    def _available(self) -> Iterator[tuple[Job, Lock]]:
        """Jobs to be done, each with its lock held."""
        for job in list(self.waiting):
            lock = Lock(job.run.with_name(f'{job.run.name}.lock'))
            try:
                ours = lock.acquire()
            except OSError as error:
                self.waiting.remove(job)
                self._fail(job, str(error))
                continue
            if ours and results.is_finished(job.results):
                lock.release()
                self.waiting.remove(job)
                self.finished.append(job)
                self.display.say(f'{job.name}: finished by another sweep')
            elif ours:
                yield job, lock

    def _start(self, job: Job, lock: Lock, attempt: int) -> None:
        try:
            handle = self.workers.start(job, attempt)
        except OSError as error:
            lock.release()
            self._fail(job, str(error))
        else:
            self.running.append(Running(job, handle, lock, attempt, []))

    def _end(self, one: Running, outcome: Outcome) -> None:
        """Keep what a run has made, or start it again, or give it up."""
        self._say_note(one)
        self.running.remove(one)
        job, error = one.job, outcome.error
        if not error:
            try:
                results.store(job.results, outcome.files)
            except OSError as full:
                error = f'its results cannot be written: {full}'
        if not error:
            one.lock.release()
            self._finish(job, one.handle.progress())
        elif outcome.again and one.attempt < ATTEMPTS:
            self.display.say(f'{job.name}: {error}\n{job.name}: starting it once more')
            self._start(job, one.lock, one.attempt + 1)
        else:
            one.lock.release()
            self._fail(job, error)

    def _finish(self, job: Job, progress: dict[str, Any]) -> None:
        self.finished.append(job)
        if progress.get('steps_per_second'):
            self.display.rates.add(job.variant, progress['steps_per_second'])
        success = results.success(job.results)
        text = 'no episode' if success is None else f'success of the last 20 episodes {success:.2f}'
        self.display.say(f'{job.name}: finished, {text}')

    def _fail(self, job: Job, error: str) -> None:
        self.failed[job.name] = error
        self.display.say(f'{job.name}: failed: {error}')

    def _show(self) -> None:
        if time.monotonic() < self._show_at:
            return
        self._show_at = time.monotonic() + SHOW_EVERY
        for one in self.running:
            self._say_note(one)
        self.display.show(self.state())

    def _say_note(self, one: Running) -> None:
        note = one.handle.progress().get('note')
        if note and note not in one.notes:
            one.notes.append(note)
            self.display.say(f'{one.job.name}: {note}')

    def _stop_all(self) -> None:
        for one in self.running:
            one.handle.stop()
        for one in self.running:
            one.handle.wait()
            one.lock.release()
        self.running.clear()


def sweep(plan: Plan, workers: Workers, console: Console) -> int:
    """Do the jobs of a plan that are not finished, and print the table; returns the exit code.

    Raises:
        SettingError: a job has begun, or is finished, with other settings.
    """
    for job in plan.jobs:
        for folder in (job.results, job.run):
            check_unchanged(folder, job.values)
    display = Display(console)
    work = Sweep(plan, workers, display)

    def stop(number: int, frame: FrameType | None) -> None:
        work.stopping = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Whoever starts a sweep under nohup wants no end with the terminal.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)
    parts = (plan.tasks, plan.variants, plan.seeds)
    counts = ' x '.join(
        f'{len(names)} {what if len(names) > 1 else what[:-1]}'
        for names, what in zip(parts, ('tasks', 'variants', 'seeds'), strict=True)
    )
    display.say(
        f'{len(plan.jobs)} runs ({counts}), {len(work.finished)} finished; run folders in'
        f' {plan.runs}, results in {plan.results}'
    )
    try:
        code = work.run()
    finally:
        display.close()
        workers.close()
    if work.stopping:
        display.say('stopped; the same command goes on')
    if work.failed:
        display.say(f'{len(work.failed)} failed: {", ".join(work.failed)}')
    display.say(f'\n{markdown(plan)}')
    return code


def _workers(options: argparse.Namespace) -> Workers:
    if not options.scheduler:
        return Here(options.workers, options.nice)
    try:
        from furl_ros.sweep.cluster import Cluster
    except ImportError as error:
        raise SettingError(
            f'--scheduler needs dask.distributed ({error}): pip install distributed'
        ) from None
    return Cluster(options.scheduler, options.nice)


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and the sweep file, and run it."""
    parser = argparse.ArgumentParser(
        'sweep',
        description='Train variants x tasks x seeds with the local runner, as a file says; go on'
        ' with what was broken off, leave what is finished. See docs/sweeps.md.',
    )
    parser.add_argument('file', type=Path, help='sweep file (YAML)')
    parser.add_argument(
        '--workers',
        type=int,
        default=results.cores(),
        help='runs at once, each with one thread (default: one for each core, %(default)s here)',
    )
    parser.add_argument(
        '--nice',
        type=int,
        default=0,
        help='how far the runs stand back behind other processes, 0 to 19 (default: %(default)s)',
    )
    parser.add_argument(
        '--scheduler',
        default='',
        metavar='ADDRESS',
        help='let the workers of a dask scheduler do the jobs, on any number of machines'
        ' (tcp://host:8786)',
    )
    options = parser.parse_args(arguments)
    if options.workers < 1:
        sys.exit(f'error: --workers is {options.workers}; accepted: 1 or more')
    if not 0 <= options.nice <= 19:
        sys.exit(f'error: --nice is {options.nice}; accepted: 0 to 19')
    try:
        plan = read(options.file)
        workers = _workers(options)
        code = sweep(plan, workers, Console())
    except SettingError as error:
        sys.exit(f'error: {error}')
    sys.exit(code)
