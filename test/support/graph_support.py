# SPDX-License-Identifier: Apache-2.0
"""Run graphs and single nodes as a user does, listen to them, and read what they leave."""

import contextlib
import csv
import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from domains import Domain, take_domain
from hosting import Hosted
from launch_support import described
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from furl_ros.bridge.convert import to_ns
from furl_ros.bridge.leaving import leave
from furl_ros.bridge.qos import EVENTS
from furl_ros.core.storage import load_tree

TIMEOUT = 300.0
"""Seconds after which any wait of any test has failed: far more than a slow machine needs."""

RECORDER = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=20_000,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""For listeners that must not miss a lock-step message, however late they read it."""

CONFIG = Path(__file__).parents[2] / 'config'

SMALL = {
    # Heads that learn from the end of the warm-up on, whether there is a success or not.
    'params_file': CONFIG / 'paper.yaml',
    'device': 'cpu',
    'warmup_steps': 150,
    'horizon': 100,
    'batch_size': 32,
    'head_batch_size': 32,
    'log_every': 0.5,
    'eval_every': 0,
    'checkpoint_every': 0,
}
"""Settings of a graph that learns a little in a few seconds."""

new_domain = take_domain


class _Waited:
    """What ``Command`` and ``Node`` have in common: both are waited for."""

    @property
    def newest(self) -> str:
        """The end of the output, for the message of a test that failed."""
        return end_of(self.output)

    def wait_for(self, pattern: str) -> re.Match:
        """Wait until the output holds a match of a regular expression."""
        end = time.monotonic() + TIMEOUT
        while not (found := re.search(pattern, self.output)):
            assert self.returncode is None, f'{pattern!r} did not come:\n{self.newest}'
            assert time.monotonic() < end, f'{pattern!r} did not come:\n{self.newest}'
            self.wait_for_news(0.1)
        return found

    def expect_end(self, code: int = 0) -> None:
        """Wait until it has ended: with this exit code, and nothing was raised."""
        assert self.finish() == code, self.newest
        assert 'Traceback' not in self.output, self.newest

    def end(self) -> None:
        """Interrupt it, which ends it well."""
        self.interrupt()
        self.expect_end()


class HostedNode(_Waited, Hosted):
    """A node in this process."""

    @property
    def counts(self) -> Counter[str]:
        """What the node has counted, before its diagnostics tell."""
        return self.node.counts if self.node is not None else Counter()

    def finish(self) -> int:
        """Wait for the end and return the exit code that a process would have."""
        assert self.join(TIMEOUT), f'still running:\n{self.newest}'
        return self.returncode


class HostedLaunch(_Waited):
    """The nodes that a launch file describes, in this process; they end as there.

    What decides between nodes (their order, what is lost, who waits for whom) is the same; the
    launch itself and the processes are not there.

    Args:
        domain: ROS domain.
        folder: for files of parameters.
        file: name of the launch file.
        apart: executables that get a process of their own all the same.
        arguments: what would be typed.

    Attributes:
        parts: what is described, by namespace and name: ``sim_node``, ``eval/sim_node``.
        nodes: those that run, by the same names.
    """

    def __init__(
        self, domain: int, folder: Path, file: str, apart: Sequence[str] = (), **arguments: Any
    ) -> None:
        self.parts = described(file, **arguments)
        self.nodes: dict[str, HostedNode | Command] = {}
        with contextlib.ExitStack() as started:
            for number, part in enumerate(self.parts.values()):
                path = folder / f'parameters_{domain}_{file}_{number}.yaml'
                path.write_text(yaml.safe_dump({'/**': {'ros__parameters': part.parameters}}))
                words = ['--params-file', str(path)]
                space = '/'.join(n for n in (arguments.get('namespace'), part.namespace) if n)
                words += ['-r', f'__ns:=/{space}'] if space else []
                for pair in part.remappings:
                    words += ['-r', ':='.join(pair)]
                start = _process if part.executable in apart else _hosted
                node = start(domain, part.executable, words)
                self.nodes[part.name] = started.enter_context(node)
            self._started = started.pop_all()

    def __enter__(self) -> 'HostedLaunch':
        return self

    def __exit__(self, *error: object) -> None:
        self.interrupt()
        self._started.__exit__(*error)

    @property
    def output(self) -> str:
        """What the nodes have logged so far, one node after the other."""
        return ''.join(node.output for node in self.nodes.values())

    @property
    def returncode(self) -> int | None:
        """None as long as those run that end the graph, and none has failed; else the worst."""
        codes = {name: node.returncode for name, node in self.nodes.items()}
        ended = [code for name, code in codes.items() if code or self.parts[name].ends]
        return max((code for code in ended if code is not None), default=None)

    def wait_for_news(self, seconds: float) -> None:
        """Wait for this time."""
        time.sleep(seconds)

    def interrupt(self) -> None:
        """What Ctrl-C does: all of them get it."""
        for node in self.nodes.values():
            if node.returncode is None:
                node.interrupt()

    def finish(self) -> int:
        """Wait until one has ended, end the others, and return the worst exit code."""
        end = time.monotonic() + TIMEOUT
        while self.returncode is None:
            assert time.monotonic() < end, f'still running:\n{self.newest}'
            time.sleep(0.05)
        self.interrupt()
        return max(node.finish() for node in self.nodes.values())


class HostedGraph(HostedLaunch):
    """A whole training; what is not given is as in ``SMALL``."""

    def __init__(self, domain: int, folder: Path, **arguments: Any) -> None:
        super().__init__(domain, folder, 'train.launch.py', **SMALL | arguments)


class Command(_Waited):
    """A command in a process group of its own, whose output is collected while it runs."""

    def __init__(self, argv: Sequence[str], domain: int, cwd: Path | None = None) -> None:
        self.domain = domain
        self.process = subprocess.Popen(
            argv,
            cwd=cwd,
            env={**os.environ, 'ROS_DOMAIN_ID': str(domain), 'PYTHONUNBUFFERED': '1'},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # As long as anything of it lives nobody else gets its domain.
            pass_fds=[domain.lock] if isinstance(domain, Domain) else (),
        )
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()

    def __enter__(self) -> 'Command':
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing of the group behind, whatever happened."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(TIMEOUT)
        self._reader.join(TIMEOUT)

    @property
    def output(self) -> str:
        """What was printed so far."""
        with self._news:
            return ''.join(self._lines)

    @property
    def returncode(self) -> int | None:
        """None as long as it runs."""
        return self.process.poll()

    def wait_for_news(self, seconds: float) -> None:
        """Wait for a further line, at most for so long."""
        with self._news:
            self._news.wait(seconds)

    def interrupt(self) -> None:
        """Ctrl-C: a terminal sends SIGINT to the whole group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def finish(self) -> int:
        """Wait for the end and return the exit code."""
        try:
            code = self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f'still running:\n{self.newest}') from None
        self._reader.join(TIMEOUT)
        return code

    def pid_of(self, name: str) -> int:
        """Process id of a node of a launched graph."""
        return int(self.wait_for(rf'\[{name}-\d+\]: process started with pid \[(\d+)\]')[1])


def launch(
    domain: int, cwd: Path, file: str = 'train.launch.py', small: bool = True, **arguments: Any
) -> Command:
    """``ros2 launch furl_ros <file>`` with small settings (or none) and these arguments."""
    words = [f'{n}:={_word(v)}' for n, v in ((SMALL if small else {}) | arguments).items()]
    return Command(['ros2', 'launch', 'furl_ros', file, *words], domain, cwd)


def run_node(domain: int, name: str, **parameters: Any) -> HostedNode:
    """A node in this process, with the parameters that ``ros2 run`` would be given."""
    return _hosted(domain, name, _parameters(parameters))


def run_process(domain: int, name: str, **parameters: Any) -> Command:
    """``ros2 run furl_ros <name>`` with these parameters, where the process itself is tested."""
    return _process(domain, name, _parameters(parameters))


def _hosted(domain: int, name: str, words: Sequence[str]) -> HostedNode:
    return HostedNode(name, domain, words)


def _process(domain: int, name: str, words: Sequence[str]) -> Command:
    arguments = ['--ros-args', *words] if words else []
    return Command(['ros2', 'run', 'furl_ros', name, *arguments], domain)


def _parameters(values: Mapping[str, Any]) -> list[str]:
    return [word for n, v in values.items() for word in ('-p', f'{n}:={_word(v)}')]


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def end_of(output: str) -> str:
    """The last lines: CI shows little of a long message."""
    return '\n'.join(line[:300] for line in output.splitlines()[-40:])


def assert_clean(command: Command, processes: int) -> None:
    """All processes of a launched graph ended with code 0, and nothing was raised."""
    command.expect_end()
    assert command.output.count('process has finished cleanly') == processes, command.newest


class Probe:
    """A node in this process that listens (in a thread) and speaks in one domain.

    Attributes:
        command: whose end makes all waiting vain, if there is such a one.
        statuses: newest diagnostics by node.
        diagnostics: their values.
        domain: where it is.
    """

    def __init__(self, domain: int) -> None:
        self.command: Command | HostedNode | None = None
        self.domain = domain
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = Node('probe', context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.statuses: dict[str, DiagnosticStatus] = {}
        self.diagnostics: dict[str, dict[str, str]] = {}
        self._news = threading.Condition()
        self.listen(DiagnosticArray, '/diagnostics', EVENTS, self._on_diagnostics)
        self._thread = threading.Thread(target=self.executor.spin, daemon=True)
        self._thread.start()

    def __enter__(self) -> 'Probe':
        return self

    def __exit__(self, *_: object) -> None:
        self.command = None
        self.executor.shutdown()
        self._thread.join(TIMEOUT)
        leave(self.node)
        self.context.try_shutdown()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.statuses[status.name] = status
            self.diagnostics[status.name] = {pair.key: pair.value for pair in status.values}

    def listen(
        self, kind: type, topic: str, qos: QoSProfile, handler: Callable[[Any], Any]
    ) -> None:
        """Call ``handler`` with each message, in the listening thread."""

        def take(message: Any) -> None:
            handler(message)
            with self._news:
                self._news.notify_all()

        self.node.create_subscription(kind, topic, take, qos)

    def record(self, kind: type, topic: str, qos: QoSProfile = RECORDER) -> list[Any]:
        """A list that grows by each message of a topic."""
        messages: list[Any] = []
        self.listen(kind, topic, qos, messages.append)
        return messages

    def readers(self, topic: str) -> set[str]:
        """Names of the nodes that read a topic."""
        return {info.node_name for info in self.node.get_subscriptions_info_by_topic(topic)}

    def wait(self, predicate: Callable[[], Any], what: str = 'the condition') -> None:
        """Wait until the predicate holds."""
        end = time.monotonic() + TIMEOUT
        while not predicate():
            output = self.command.newest if self.command else ''
            ended = self.command is not None and self.command.returncode is not None
            assert not ended, f'ended before {what}:\n{output}'
            assert time.monotonic() < end, f'waited too long for {what}:\n{output}'
            with self._news:
                self._news.wait(0.05)

    def call(self, kind: type, name: str, **fields: Any) -> Any:
        """Call a service and return its response."""
        client = self.node.create_client(kind, name)
        self.wait(client.service_is_ready, name)
        future = client.call_async(kind.Request(**fields))
        self.wait(future.done, f'the answer of {name}')
        self.node.destroy_client(client)
        return future.result()

    def send_goal(self, client: ActionClient, goal: Any, **named: Any) -> Any:
        """Send a goal, as ``send_goal_async`` does, and return its handle.

        In the listening thread: rclpy drops an answer that is read before ``send_goal_async`` ends.
        """
        sent: list[Any] = []
        self.executor.create_task(lambda: sent.append(client.send_goal_async(goal, **named)))
        self.wait(lambda: sent and sent[0].done(), 'the answer to the goal')
        return sent[0].result()

    def wait_for_level(self, node: str, level: bytes, text: str = '') -> None:
        """Wait until a node says that it is OK, WARN or ERROR, with this text among the reasons."""

        def says_so() -> bool:
            status = self.statuses.get(node)
            return status is not None and status.level == level and text in status.message

        self.wait(says_so, f'{level!r} {text!r} of {node}')

    def wait_for_count(self, node: str, name: str, least: int = 1) -> None:
        """Wait until the diagnostics of a node show a count."""
        self.wait(
            lambda: int(self.diagnostics.get(node, {}).get(name, 0)) >= least,
            f'{name!r} in the diagnostics of {node}',
        )


@contextlib.contextmanager
def hosted(name: str, **parameters: Any) -> Iterator[Probe]:
    """A node in this process, as the command of a probe; at the end it is interrupted."""
    domain = new_domain()
    with Probe(domain) as probe, run_node(domain, name, **parameters) as node:
        probe.command = node
        yield probe
        node.end()


def by_stamp(messages: Sequence[Any]) -> dict[int, Any]:
    """Messages by their stamp in nanoseconds, which must be unique."""
    found = {to_ns(message.header.stamp): message for message in messages}
    assert len(found) == len(messages)
    return found


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a run, oldest first."""
    return sorted((folder / 'checkpoints').glob('step_*'))


def read_trainer(checkpoint: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The replay's arrays and the counters of a checkpoint."""
    arrays, meta = load_tree(checkpoint / 'trainer.safetensors')
    return arrays['replay'], meta


def read_alignment(checkpoint: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Heads and rings, and the counters, of a checkpoint."""
    return load_tree(checkpoint / 'alignment.safetensors')


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with open(path, newline='') as file:
        return list(csv.DictReader(file))
