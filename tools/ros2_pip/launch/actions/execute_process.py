# SPDX-License-Identifier: Apache-2.0
"""The action that starts a process, passes on what it prints, and stops it."""

from __future__ import annotations

import asyncio
import itertools
import os
import shlex
import signal
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from .. import logging
from ..conditions import IfCondition
from ..entity import Action, LaunchDescriptionEntity, SomeSubstitutionsType
from ..event_handlers import EventHandler, OnProcessExit, OnShutdown, Reaction
from ..events import Shutdown
from ..events.process import ProcessExited, ProcessStarted, ShutdownProcess, SignalProcess
from ..launch_context import LaunchContext
from ..substitutions import LaunchConfiguration, describe
from ..utilities import (
    normalize_to_list_of_substitutions,
    perform_substitutions,
    perform_typed_substitution,
)
from .control import OpaqueFunction

_process_numbers = itertools.count(1)

# After a process has ended, what it printed last is waited for this long. Its own children may
# hold the pipe open for ever.
_DRAIN_S = 1.0


class _LineWriter(asyncio.Protocol):
    """Prefixes the lines of one stream with the process's name."""

    def __init__(self, prefix: str, destinations: set[str]) -> None:
        self._prefix = prefix
        self._destinations = destinations
        self._rest = b''
        self.closed = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Write the complete lines."""
        *lines, self._rest = (self._rest + data).split(b'\n')
        for line in lines:
            self._write(line)

    def connection_lost(self, error: Exception | None) -> None:
        """Write what came without a newline."""
        if self._rest:
            self._write(self._rest)
        self.closed.set_result(None)

    def _write(self, line: bytes) -> None:
        logging.write_process_line(
            self._prefix + line.decode(errors='replace').removesuffix('\r'),
            screen='screen' in self._destinations,
            log='log' in self._destinations,
        )


class _ProcessProtocol(asyncio.SubprocessProtocol):
    """Tells when a process has started and ended, and passes on what its pipes give."""

    def __init__(self, writers: dict[int, _LineWriter], on_start: Callable[[int], None]) -> None:
        self.exited = asyncio.get_running_loop().create_future()
        self.writers = writers
        self._on_start = on_start

    def connection_made(self, transport: asyncio.SubprocessTransport) -> None:
        self._on_start(transport.get_pid())

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.writers[fd].data_received(data)

    def pipe_connection_lost(self, fd: int, error: Exception | None) -> None:
        if fd in self.writers:
            self.writers[fd].connection_lost(error)

    def process_exited(self) -> None:
        self.exited.set_result(None)


class ExecuteProcess(Action):
    """Starts a process and stops it when launching ends.

    It runs in the process group of launch, so Ctrl-C in a terminal reaches it directly; launch
    itself passes SIGINT on only where there is no terminal or something else ends the launch.

    Args:
        cmd: program and arguments; each item is a text, a substitution, or a list that is joined.
        prefix: words put before the command; default the launch configuration `launch-prefix`.
        name: label of the output; default the program's name.
        cwd: working directory.
        env: the whole environment; default that of launch.
        additional_env: variables added to it.
        shell: run the joined command in a shell.
        sigterm_timeout: seconds from SIGINT to SIGTERM, as text; default the launch configuration
            of this name, else 5.
        sigkill_timeout: seconds from SIGTERM to SIGKILL, likewise.
        emulate_tty: let the process believe that it prints to a terminal; the launch
            configuration of this name overrides it.
        output: 'screen', 'log' (stderr also on the screen), 'both', or a dict;
            $OVERRIDE_LAUNCH_PROCESS_OUTPUT overrides it.
        log_cmd: print the command before it runs.
        on_exit: actions for its end, or a function of (event, context) that returns some.
        respawn: start it again whenever it ends.
        respawn_delay: seconds before that.
        respawn_max_retries: how often at most; negative: for ever.
        kwargs: `condition`.
    """

    def __init__(
        self,
        *,
        cmd: Iterable[SomeSubstitutionsType],
        prefix: SomeSubstitutionsType | None = None,
        name: SomeSubstitutionsType | None = None,
        cwd: SomeSubstitutionsType | None = None,
        env: dict[SomeSubstitutionsType, SomeSubstitutionsType] | None = None,
        additional_env: dict[SomeSubstitutionsType, SomeSubstitutionsType] | None = None,
        shell: bool = False,
        sigterm_timeout: SomeSubstitutionsType | None = None,
        sigkill_timeout: SomeSubstitutionsType | None = None,
        emulate_tty: bool = False,
        output: SomeSubstitutionsType | dict = 'log',
        log_cmd: bool = False,
        on_exit: Reaction = None,
        respawn: bool | SomeSubstitutionsType = False,
        respawn_delay: float | None = None,
        respawn_max_retries: int = -1,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.cmd = [normalize_to_list_of_substitutions(part) for part in cmd]
        self._prefix = normalize_to_list_of_substitutions(
            LaunchConfiguration('launch-prefix', default='') if prefix is None else prefix
        )
        self._name = None if name is None else normalize_to_list_of_substitutions(name)
        self._cwd = None if cwd is None else normalize_to_list_of_substitutions(cwd)
        self._env = _normalize_environment(env)
        self._additional_env = _normalize_environment(additional_env)
        self._shell = shell
        self._timeouts = {
            signal.SIGTERM: _normalize_timeout('sigterm_timeout', sigterm_timeout),
            signal.SIGKILL: _normalize_timeout('sigkill_timeout', sigkill_timeout),
        }
        self._emulate_tty = emulate_tty
        output = os.environ.get('OVERRIDE_LAUNCH_PROCESS_OUTPUT') or output
        self._output = (
            output if isinstance(output, dict) else normalize_to_list_of_substitutions(output)
        )
        self._log_cmd = log_cmd
        self._on_exit = OnProcessExit(target_action=self, on_exit=on_exit)
        self._respawn = respawn
        self._respawn_delay = respawn_delay
        self._respawn_max_retries = respawn_max_retries

        self.process_details: dict[str, Any] | None = None
        self.return_code: int | None = None
        self._transport: asyncio.SubprocessTransport | None = None
        self._protocol: _ProcessProtocol | None = None
        self._stopping: asyncio.Event | None = None
        self._task: asyncio.Task | None = None
        self._escalation: asyncio.Task | None = None

    def describe(self) -> str:
        """Return the command."""
        return f'{type(self).__name__}({" ".join(describe(part) for part in self.cmd)})'

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        """Return the actions that follow on the process's end."""
        return self._on_exit.entities

    def get_asyncio_future(self) -> asyncio.Future | None:
        """Return a future that is done when the process has ended for good."""
        return self._task

    def get_command(self, context: LaunchContext) -> list[str]:
        """Return program and arguments, without the prefix."""
        return [perform_substitutions(context, part) for part in self.cmd]

    def execute(self, context: LaunchContext) -> None:
        """Resolve everything in the context as it is now, and start the process.

        Raises:
            RuntimeError: this action was executed before.
        """
        if self.process_details is not None:
            raise RuntimeError(f'{self.describe()} was executed more than once')
        prefix = shlex.split(perform_substitutions(context, self._prefix))
        cmd = [*prefix, *self.get_command(context)]
        label = os.path.basename(cmd[0])
        if self._name is not None:
            label = perform_substitutions(context, self._name)
        env = dict(context.environment)
        if self._env is not None:
            env = _perform_environment(context, self._env)
        env.update(_perform_environment(context, self._additional_env or []))
        self.process_details = {
            'action': self,
            'name': f'{label}-{next(_process_numbers)}',
            'cmd': cmd,
            'cwd': None if self._cwd is None else perform_substitutions(context, self._cwd),
            'env': env,
        }
        self._logger = logging.get_logger(self.process_details['name'])
        self._destinations = logging.output_destinations(
            self._output
            if isinstance(self._output, dict)
            else perform_substitutions(context, self._output)
        )
        self._respawn = perform_typed_substitution(context, self._respawn, bool)
        if 'emulate_tty' in context.launch_configurations:
            self._emulate_tty = IfCondition(LaunchConfiguration('emulate_tty')).evaluate(context)
        self._timeout_s = {
            number: float(perform_substitutions(context, timeout))
            for number, timeout in self._timeouts.items()
        }
        if context.is_shutdown:
            return

        self._stopping = asyncio.Event()
        for handler in (
            EventHandler(
                matcher=lambda event: isinstance(event, ShutdownProcess | SignalProcess),
                entities=OpaqueFunction(function=self._on_targeted_event),
            ),
            OnShutdown(on_shutdown=self._on_shutdown),
            self._on_exit,
        ):
            context.register_event_handler(handler)
        self._task = context.asyncio_loop.create_task(self._run(context))

    async def _run(self, context: LaunchContext) -> None:
        retries = 0
        while not self._stopping.is_set():
            try:
                await self._spawn()
            except Exception:
                # As in real launch, a program that cannot be started does not end the launch.
                self._logger.error(
                    f'exception occurred while executing process:\n{traceback.format_exc()}'
                )
                break
            context.emit_event_sync(ProcessStarted(**self.process_details))
            await self._wait_for_end(context)
            if not self._respawn or retries == self._respawn_max_retries:
                break
            retries += 1
            try:
                await asyncio.wait_for(self._stopping.wait(), self._respawn_delay or 0.0)
            except asyncio.TimeoutError:
                continue
        self.clean_up()

    async def _spawn(self) -> None:
        details = self.process_details
        cmd = details['cmd']
        if self._log_cmd:
            self._logger.info(f"process details: cmd='{' '.join(cmd)}', cwd='{details['cwd']}'")
        loop = asyncio.get_running_loop()
        start = loop.subprocess_shell if self._shell else loop.subprocess_exec
        command = (' '.join(cmd),) if self._shell else cmd
        prefix = f'[{details["name"]}] '
        writers = {
            1: _LineWriter(prefix, self._destinations['stdout']),
            2: _LineWriter(prefix, self._destinations['stderr']),
        }
        pipes, terminals = {}, []
        if self._emulate_tty:
            for stream, writer in (('stdout', writers[1]), ('stderr', writers[2])):
                ours, theirs = os.openpty()
                await loop.connect_read_pipe(lambda writer=writer: writer, os.fdopen(ours, 'rb'))
                terminals.append(theirs)
                pipes[stream] = theirs
        try:
            self._transport, self._protocol = await start(
                lambda: _ProcessProtocol(writers, self._on_start),
                *command,
                cwd=details['cwd'],
                env=details['env'],
                **pipes,
            )
        finally:
            for terminal in terminals:
                os.close(terminal)
        if self._stopping.is_set():
            # The order to stop came while the process was being made.
            self._signal(signal.SIGINT)
            self._begin_escalation()

    def _on_start(self, pid: int) -> None:
        self.process_details['pid'] = pid
        self._logger.info(f'process started with pid [{pid}]')

    async def _wait_for_end(self, context: LaunchContext) -> None:
        await self._protocol.exited
        closed = [writer.closed for writer in self._protocol.writers.values()]
        await asyncio.wait(closed, timeout=_DRAIN_S)
        if self._escalation is not None:
            self._escalation.cancel()
        self.return_code = self._transport.get_returncode()
        self._transport.close()
        self._transport = None
        pid = self.process_details['pid']
        if self.return_code == 0:
            self._logger.info(f'process has finished cleanly [pid {pid}]')
        else:
            cmd = ' '.join(part for part in self.process_details['cmd'] if part.strip())
            self._logger.error(
                f"process has died [pid {pid}, exit code {self.return_code}, cmd '{cmd}']."
            )
        context.emit_event_sync(ProcessExited(returncode=self.return_code, **self.process_details))

    def clean_up(self) -> None:
        """Remove what was made for the process; it will not run again."""

    def _on_targeted_event(self, context: LaunchContext) -> None:
        event = context.locals.event
        if not event.process_matcher(self):
            return
        if isinstance(event, SignalProcess):
            self._signal(event.signal)
        else:
            self._stop(send_sigint=True)

    def _on_shutdown(self, event: Shutdown, context: LaunchContext) -> None:
        self._stop(send_sigint=not event.due_to_sigint or context.noninteractive)

    def _stop(self, *, send_sigint: bool) -> None:
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._transport is not None:
            if send_sigint:
                self._signal(signal.SIGINT)
            self._begin_escalation()

    def _begin_escalation(self) -> None:
        self._escalation = asyncio.get_running_loop().create_task(self._escalate())

    async def _escalate(self) -> None:
        sent = signal.SIGINT
        for number, seconds in self._timeout_s.items():
            await asyncio.sleep(seconds)
            self._logger.error(
                f"process[{self.process_details['name']}] failed to terminate '{seconds:g}' "
                f"seconds after receiving '{sent.name}', escalating to '{number.name}'"
            )
            self._signal(number)
            sent = number

    def _signal(self, number: signal.Signals) -> None:
        if self._transport is None or self._transport.get_returncode() is not None:
            return
        self._logger.info(
            f"sending signal '{number.name}' to process[{self.process_details['name']}]"
        )
        try:
            # The transport's own method asks first whether the process has ended, and so may take
            # its exit code away from the loop, which then makes one up.
            os.kill(self._transport.get_pid(), number)
        except ProcessLookupError:
            self._logger.debug('the process had ended already')


def _normalize_timeout(name: str, timeout: SomeSubstitutionsType | None) -> list:
    return normalize_to_list_of_substitutions(
        LaunchConfiguration(name, default=5) if timeout is None else timeout
    )


def _normalize_environment(
    variables: dict[SomeSubstitutionsType, SomeSubstitutionsType] | None,
) -> list[tuple[list, list]] | None:
    if variables is None:
        return None
    return [
        (normalize_to_list_of_substitutions(name), normalize_to_list_of_substitutions(value))
        for name, value in variables.items()
    ]


def _perform_environment(
    context: LaunchContext, variables: list[tuple[list, list]]
) -> dict[str, str]:
    return {
        perform_substitutions(context, name): perform_substitutions(context, value)
        for name, value in variables
    }
