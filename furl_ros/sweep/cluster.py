# SPDX-License-Identifier: Apache-2.0
"""Runs on other machines: the jobs of a sweep as tasks of a dask scheduler.

dask.distributed is Python from end to end and comes with pip; nothing has to be installed as a
service, a worker is one command on a machine that has furl_ros; it gives the tasks of a worker that
died to another one, and can keep tasks to some workers. A sweep needs no more of a scheduler.

Workers share nothing but the network. The settings of a job go out, the small files of its results
come back; checkpoints stay with the worker, in its ``runs`` folder. Each thread of a worker takes
one job, which is a process of its own, as on one machine.
"""

import logging
import re
import threading
import time
import uuid
from typing import Any

from distributed import Client, Future, get_worker

from furl_ros.core.settings import SettingError
from furl_ros.sweep.plan import Job
from furl_ros.sweep.processes import Outcome, RunProcess, description

ADDRESS = re.compile(r'(tcp|tls|ws|wss)://[^\s/]+:\d+')
CONNECT_WITHIN = 15  # seconds
COUNT_EVERY = 2.0  # seconds
POLL = 0.5  # seconds, of a worker
TELL_EVERY = 2.0  # seconds


def do_job(job: dict[str, Any], topic: str) -> dict[str, Any]:
    """A task: go on with a job in a process of its own; give its ``Outcome`` as a mapping.

    The process ends when the sweep has lost interest: it was stopped, or it died.

    Args:
        job: from ``description``.
        topic: of the events that tell where the job stands.
    """
    worker = get_worker()
    key = worker.get_current_task()
    try:
        run = RunProcess(job)
    except OSError as error:
        return Outcome({}, f'{worker.address}: {error}')._asdict()
    tell_at = 0.0
    while (outcome := run.poll()) is None:
        task = worker.state.tasks.get(key)
        if task is None or task.state not in ('executing', 'long-running'):
            run.stop()
            run.wait()
            return Outcome({}, 'stopped')._asdict()
        if time.monotonic() >= tell_at:
            tell_at = time.monotonic() + TELL_EVERY
            event = {'key': key, 'worker': worker.address, 'progress': run.progress()}
            worker.log_event(topic, event)
        time.sleep(POLL)
    worker.log_event(topic, {'key': key, 'worker': worker.address, 'progress': run.progress()})
    if outcome.error:
        outcome = outcome._replace(error=f'on {worker.address}: {outcome.error}')
    return outcome._asdict()


class Task:
    """A job that was handed to the scheduler."""

    def __init__(self, cluster: 'Cluster', future: Future) -> None:
        self._cluster, self._future = cluster, future

    def poll(self) -> Outcome | None:
        """How it ended; None while it runs, or waits for a worker."""
        self._cluster.check()
        # A scheduler that was lost may be found again, or not: that takes its time.
        if not self._future.done() or self._cluster.is_lost():
            return None
        if self._future.status == 'finished':
            return Outcome(**self._future.result())
        if self._future.status == 'error':
            error = self._future.exception()
            return Outcome({}, f'{type(error).__name__}: {error}', True)
        return Outcome({}, f'the scheduler has dropped it ({self._future.status})', True)

    def progress(self) -> dict[str, Any]:
        """Where it stands, as last heard."""
        return self._cluster.heard(self._future.key).get('progress', {})

    def stop(self) -> None:
        """Ask the worker to end it."""
        if self._cluster.is_there():
            self._future.cancel()

    def wait(self) -> None:
        """The worker ends it by itself."""


class Cluster:
    """Runs jobs on the workers of a dask scheduler.

    Args:
        address: of the scheduler, ``tcp://host:8786``.
        niceness: how far the runs stand back behind others on their machines.

    Raises:
        SettingError: no scheduler answers there.
    """

    def __init__(self, address: str, niceness: int) -> None:
        self.address, self.niceness = address, niceness
        if not ADDRESS.fullmatch(address):
            raise SettingError(
                f"--scheduler is '{address}'; accepted: the address of a dask scheduler"
                ' (tcp://host:8786)'
            )
        # What matters of it is told in one line, below.
        for name in ('distributed', 'distributed.client'):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            self.client = Client(
                address, timeout=CONNECT_WITHIN, name='furl-sweep', set_as_default=False
            )
        except (OSError, ValueError) as error:
            reason = ' '.join(str(error).split())
            raise SettingError(
                f"--scheduler is '{address}', where none answers; accepted: the address that"
                f" 'dask scheduler' prints ({reason})"
            ) from None
        self.topic = f'furl-sweep-{uuid.uuid4().hex}'
        self._heard: dict[str, dict[str, Any]] = {}
        self._heard_lock = threading.Lock()
        self._counted_at, self._threads = -COUNT_EVERY, 0
        self.client.subscribe_topic(self.topic, self._hear)

    def is_there(self) -> bool:
        """Whether the scheduler can still be reached."""
        return self.client.status in ('running', 'connecting')

    def is_lost(self) -> bool:
        """Whether the scheduler is looked for again."""
        return self.client.status == 'connecting'

    def check(self) -> None:
        """Find out whether the scheduler is still there.

        Raises:
            SettingError: it is not.
        """
        if not self.is_there():
            raise SettingError(
                f'the scheduler {self.address} is gone; with it again, the same command goes on'
            )

    def capacity(self) -> int:
        """Threads of all workers, as counted lately."""
        self.check()
        if time.monotonic() - self._counted_at >= COUNT_EVERY:
            try:
                self._threads = sum(self.client.nthreads().values())
            except OSError:
                self.check()
            self._counted_at = time.monotonic()
        return self._threads

    def start(self, job: Job, attempt: int) -> Task:
        """Hand out a job; another attempt rather where its checkpoint lies."""
        key = f'{self.topic}-{job.name}-{attempt}'
        content = description(job, self.niceness) | {'run': job.typed_run}
        before = self.heard(f'{self.topic}-{job.name}-{attempt - 1}').get('worker')
        future = self.client.submit(
            do_job,
            content,
            self.topic,
            key=key,
            workers=[before] if before else None,
            allow_other_workers=bool(before),
        )
        return Task(self, future)

    def heard(self, key: str) -> dict[str, Any]:
        """What the workers have told last about a task."""
        with self._heard_lock:
            return self._heard.get(key, {})

    def close(self) -> None:
        """Leave the scheduler, which drops whatever was not finished."""
        self.client.close(CONNECT_WITHIN)

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        _, content = event
        with self._heard_lock:
            self._heard[content['key']] = content
