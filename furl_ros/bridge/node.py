# SPDX-License-Identifier: Apache-2.0
"""What every node of the graph shares: start, stop, diagnostics."""

import math
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import ParameterDescriptor, ParameterType, SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.service import Service
from rclpy.signals import SignalHandlerOptions

from furl_ros.bridge.config import RunConfig
from furl_ros.bridge.executor import Executor
from furl_ros.bridge.leaving import leave
from furl_ros.bridge.live import Live
from furl_ros.bridge.parameters import declare
from furl_ros.bridge.qos import EVENTS
from furl_ros.core.health import EVERYWHERE, RULES, WINDOW_S, Finding, Level, Recent, judge
from furl_ros.core.memory import free_megabytes, keep_freed_memory, resident_megabytes
from furl_ros.core.settings import SettingError
from furl_ros.core.timing import Stages

OK, WARN, ERROR = Level
LEVELS = {OK: DiagnosticStatus.OK, WARN: DiagnosticStatus.WARN, ERROR: DiagnosticStatus.ERROR}
DIAGNOSTICS_PERIOD = 1.0  # seconds
MOST_STRANGERS = 20  # other runs that are named in the log
LONGEST_TEXT = 500  # letters of a message that are shown in the log
SAY_BAD_AGAIN_S = 5.0  # seconds between two lines about bad messages of one kind
SAY_AGAIN_S = 60.0  # seconds between two lines about values beyond their limits


class OfRun(Protocol):
    """A message that names its run."""

    run: str


class FurlNode(Node):
    """A node that counts what goes wrong and shows it, and stops cleanly.

    Subclasses fill ``__init__``, and where they need it ``work``, ``diagnose``, ``totals`` and
    ``close``.
    Callbacks run in one executor thread, in which the subclass is also constructed (an OpenGL
    context belongs to a thread); ``work`` runs in the main thread.

    Args:
        name: of the node, unless it is remapped.
        options: of rclpy's ``Node``, for who holds several in one process: ``context``,
            ``cli_args``, ``parameter_overrides``, ``namespace``, ``use_global_arguments``.

    Attributes:
        gather: of the executor; to be set before the end of ``__init__``.
        live: parameters that may be changed while the node runs.
    """

    gather = 0.0

    def __init__(self, name: str, **options: Any) -> None:
        self.live = Live()
        super().__init__(name, **options)
        # Stamps of a run come from one clock. rclpy would let it be changed in the middle.
        self.set_descriptor(
            'use_sim_time',
            ParameterDescriptor(
                type=ParameterType.PARAMETER_BOOL,
                description="Take the clock's time from /clock; decided at the start.",
                read_only=True,
            ),
        )
        self.run = declare(self, RunConfig)
        self.counts: Counter[str] = Counter()
        self._strangers: set[str] = set()
        self._parent = os.getppid()
        self.stages = Stages()
        self.started = time.perf_counter()
        self._rules = (*EVERYWHERE, *RULES.get(name, ()))
        self._recent = Recent(time.monotonic())
        self._due = math.inf  # when the next diagnostics are; the first ones are never late
        self._lags: deque[float] = deque(maxlen=round(WINDOW_S / DIAGNOSTICS_PERIOD))
        self._silent_until: dict[str, float] = {}  # count_bad: steady time, seconds, by name
        self._beyond: set[str] = set()  # names of the values that were beyond their limits
        self.steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', EVENTS)
        self.create_timer(DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=self.steady_clock)

    def work(self, stop: threading.Event) -> int:
        """Work in the main thread until ``stop`` is set; returns the exit code."""
        stop.wait()
        return 0

    def diagnose(self) -> tuple[Level, str, dict[str, object]]:
        """Level (OK, WARN, ERROR), one line, and further values for /diagnostics.

        The level is that of the node's state alone: limits of the values are in
        ``core.health.RULES``, and counts that grow are seen to here.
        """
        return OK, 'running', {}

    def totals(self) -> Mapping[str, int]:
        """Counts of what went wrong, by name: a warning while they grow."""
        return dict(self.counts)

    def close(self) -> None:
        """Give back what the node holds; runs in the executor thread."""

    def count_bad(self, what: str, why: str) -> None:
        """Count a message that could not be used, and say so without flooding the log."""
        self.counts[what] += 1
        # rclpy's own throttle reads the caller's source again for each message that it drops.
        now = time.monotonic()
        if now >= self._silent_until.get(what, 0.0):
            self._silent_until[what] = now + SAY_BAD_AGAIN_S
            self.get_logger().warning(f'{what}: {_one_line(why)}')

    def create_service(
        self, srv_type: type, srv_name: str, callback: Callable, **named: Any
    ) -> Service:
        """Serve calls; of the parameter services, one that fails gets an empty answer.

        rclpy makes those with it. They raise at a parameter of an unknown type, and what a callback
        raises ends the node.
        """
        if not srv_type.__module__.startswith('rcl_interfaces.'):
            return super().create_service(srv_type, srv_name, callback, **named)

        def serve(request: Any, response: Any) -> Any:
            try:
                return callback(request, response)
            except Exception as error:
                self.count_bad('failed calls', f'{srv_name}: {type(error).__name__}: {error}')
                return srv_type.Response()

        return super().create_service(srv_type, srv_name, serve, **named)

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Change parameters that may be changed; says why where one may not."""
        if all(self.has_parameter(parameter.name) for parameter in parameter_list):
            refusal = self.live.refusal(parameter_list)
            if refusal:
                return SetParametersResult(successful=False, reason=refusal)
        result = super().set_parameters_atomically(parameter_list)
        if result.successful:
            self.live.changed(parameter_list)
        return result

    @property
    def run_id(self) -> str:
        """The run that this node belongs to."""
        return self.run.run_id

    def is_ours(self, message: OfRun, topic: str) -> bool:
        """Whether a message belongs to this run; counted, and said once of each run, when not."""
        if message.run == self.run_id:
            return True
        self.counts['messages of another run'] += 1
        if message.run not in self._strangers and len(self._strangers) < MOST_STRANGERS:
            self._strangers.add(message.run)
            run = _one_line(message.run) or 'without a name'
            self.get_logger().error(
                f'{topic} of another run ({run}) in this domain: left alone.'
                f' ROS_DOMAIN_ID=<number> or namespace:=<name> keeps graphs apart'
            )
        return False

    def _end_with_launch(self) -> None:
        """Stop, as by a signal, when the process that started the graph has gone."""
        if not self.run.launch_pid:
            return
        try:
            os.kill(self.run.launch_pid, 0)
            gone = os.getppid() != self._parent  # a dead one that nobody waited for still answers
        except ProcessLookupError:
            gone = True
        except PermissionError:
            gone = False
        if gone:
            self.get_logger().error('the launch has gone: stopping')
            os.kill(os.getpid(), signal.SIGTERM)

    def _publish_diagnostics(self) -> None:
        self._end_with_launch()
        now = time.monotonic()
        self._lags.append(max(0.0, now - self._due))
        self._due = now + DIAGNOSTICS_PERIOD
        level, text, values = self.diagnose()
        values |= {f'stage/{name}_s': round(s, 4) for name, s in list(self.stages.seconds.items())}
        values |= {f'stage/{name}_calls': n for name, n in list(self.stages.calls.items())}
        totals = self.totals()
        values |= totals
        values |= {
            'uptime_s': round(time.perf_counter() - self.started, 3),
            'cpu_s': round(time.process_time(), 3),
            'memory_mb': round(resident_megabytes(), 1),
            'memory_left_mb': round(free_megabytes(), 1),
            'lag_s': round(max(self._lags), 3),
        }
        found = judge(self._rules, values)
        self._say_new(found)
        grown = self._recent(totals, now)
        texts = [text, *(finding.text for finding in found)]
        texts += [f'{more} {what} in {WINDOW_S:.0f} s' for what, more in grown.items()]
        level = max([level, *(finding.level for finding in found), *([WARN] if grown else [])])
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status = [
            DiagnosticStatus(
                level=LEVELS[level],
                name=self.get_fully_qualified_name().lstrip('/'),
                message='; '.join(texts),
                values=[KeyValue(key=k, value=str(v)) for k, v in sorted(values.items())],
            )
        ]
        self._diagnostics.publish(message)

    def _say_new(self, found: list[Finding]) -> None:
        """Values that go beyond their limits are also said in the log, now and then."""
        beyond = {finding.name: finding.text for finding in found}
        if new := [text for name, text in beyond.items() if name not in self._beyond]:
            self.get_logger().warning('; '.join(new), throttle_duration_sec=SAY_AGAIN_S)
        self._beyond = set(beyond)


def _one_line(text: str) -> str:
    """What strangers sent, for the log: short, and in one line."""
    shown = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + '...'
    return ''.join(letter if letter.isprintable() else ' ' for letter in shown)


class _Host(threading.Thread):
    """Constructs the node and spins it in one thread."""

    def __init__(
        self, factory: Callable[[], FurlNode], stop: threading.Event, context: Context | None
    ) -> None:
        super().__init__(name='executor')
        self.factory = factory
        self.stop = stop
        self.context = context
        self.ready = threading.Event()
        self.node: FurlNode | None = None
        self.error: BaseException | None = None
        self.executor: Executor | None = None

    def run(self) -> None:
        try:
            # rclpy 7.1's EventsExecutor deadlocks when another thread calls a service.
            self.executor = Executor(context=self.context)
            self.node = self.factory()
            self.executor.gather = self.node.gather
            self.executor.add_node(self.node)
            self.ready.set()
            self.executor.spin()
        except BaseException as error:
            self.error = error
        finally:
            self.stop.set()
            self.ready.set()
            if self.node is not None:
                self.node.close()
                leave(self.node)

    def finish(self) -> None:
        if self.executor is not None:
            self.executor.stop()
        self.join()
        if self.executor is not None:
            self.executor.shutdown()


def _set_by_signals(stop: threading.Event) -> None:
    """Have SIGINT and SIGTERM set an event, in a thread of its own.

    A handler interrupts the main thread anywhere: within ``stop.wait``, which holds the lock that
    ``stop.set`` needs, or within ``SimpleQueue.get``, which waits for ever in Python 3.11 when its
    time is over by then. So the main thread, and those that it starts, are spared the signals.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # In this order no signal is lost between the handlers of the start and these.
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)

    def wait() -> None:
        os.read(reading, 1)
        stop.set()

    threading.Thread(target=wait, name='signals', daemon=True).start()
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))


def serve(
    factory: Callable[[], FurlNode], stop: threading.Event, context: Context | None = None
) -> tuple[int, str]:
    """Run one node until it is done or ``stop`` is set; its callbacks run in a thread of its own.

    Args:
        factory: makes the node.
        stop: has the node end; set in any case when it has.
        context: that of the node; None: the process' own one.

    Returns:
        The exit code, and what there is to say of it. 0 after finished work; 2 when a setting is
        not accepted (one line says which); 1 after an unexpected error (with its traceback).
    """
    host = _Host(factory, stop, context)
    host.start()
    host.ready.wait()
    code, error = 0, None
    try:
        if host.error is None:
            code = host.node.work(stop)
    except Exception as caught:
        error = caught
    finally:
        stop.set()
        host.finish()
    # What broke the executor is the cause of what followed in this thread.
    error = host.error or error
    if isinstance(error, SettingError):
        return 2, f'error: {error}\n'
    if error is not None:
        return 1, ''.join(traceback.format_exception(error))
    return code, ''


def run(factory: Callable[[], FurlNode], args: list[str] | None = None) -> int:
    """Run one node, the process' only one, until it is done or a signal comes.

    Returns:
        The exit code: as ``serve``, and 0 after SIGINT or SIGTERM.
    """
    keep_freed_memory()
    stop = threading.Event()
    # rclpy's own handlers would end the context at once; saving and a clean farewell need it.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    _set_by_signals(stop)
    try:
        code, text = serve(factory, stop)
    finally:
        rclpy.try_shutdown()
    print(text, end='', file=sys.stderr, flush=True)
    return code
