# SPDX-License-Identifier: Apache-2.0
"""Malformed messages of any type, and a flood of them on every topic and service of a graph."""

import contextlib
import copy
import importlib
import math
import random
import string
import threading
import time
from array import array
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.client import Client
from rclpy.exceptions import InvalidHandle
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosidl_parser.definition import (
    AbstractGenericString,
    AbstractNestedType,
    AbstractSequence,
    Array,
    BasicType,
    NamespacedType,
)

from furl_ros.bridge.leaving import leave

EXTREMES = (math.nan, math.inf, -math.inf, 3e38, -3e38)
HUGE_PICTURE = 2_000  # pixels in width and height: 12 MB, more than the shared memory holds
HUGE_ARRAY = 1_000_000
SECOND = 1_000_000_000  # nanoseconds; a stamp with more of them is none
REMEMBERED = 50  # newest true messages of each topic
LISTEN_S = 1.5  # seconds for which true messages are collected before each round
DISCOVERY_S = 30.0
MOST_CALLS = 20  # calls of a service that wait for their answers
ANSWER_S = 30.0  # seconds that the last answers are waited for


def load(name: str) -> type:
    """The class of a type as the graph names it: 'pkg/msg/Image', 'pkg/action/Train_SendGoal'."""
    package, kind, word = name.split('/')
    module = importlib.import_module(f'{package}.{kind}')
    if kind != 'action':
        return getattr(module, word)
    action, _, part = word.rpartition('_')
    parts = {
        'SendGoal': 'SendGoalService',
        'GetResult': 'GetResultService',
        'FeedbackMessage': 'FeedbackMessage',
    }
    return getattr(getattr(module, action).Impl, parts[part])


class Malformed:
    """Makes messages that a node may not believe: none is a valid answer to anything.

    What carries the run's own name and a true stamp carries an old one, of a message of the same
    topic: with a fresh stamp and fitting content it would not be malformed, but forged.

    Args:
        generator: of all draws.

    Attributes:
        run: name of the graph's run, once it is known.
    """

    def __init__(self, generator: random.Random) -> None:
        self.random = generator
        self.run = ''

    def message(self, kind: type, seen: Sequence[Any]) -> Any:
        """One message.

        Args:
            kind: its class.
            seen: true messages of the topic; may be empty.
        """
        way = self.random.choices(
            ('random', 'mutated', 'restamped', 'duplicate', 'empty', 'huge'),
            (35, 30, 10, 20, 4.5, 0.5),
        )[0]
        if way in ('mutated', 'restamped', 'duplicate') and seen:
            message = copy.deepcopy(self.random.choice(seen))
            if way == 'mutated':
                self._mutate(message)
            elif way == 'restamped':
                self._restamp(message, valid=True)
            return message
        message = kind()
        if way == 'huge':
            self._enlarge(message)
        elif way != 'empty':
            self._fill(message)
        return message

    def request(self, kind: type) -> Any:
        """One request of a service that has any fields: never one that asks for something valid."""
        request = kind.Request()
        if self.random.random() > 0.05:
            self._fill(request)
        if getattr(request, 'run', ''):
            # It may be the run's own name: what makes it malformed is its stamps.
            self._restamp(request, valid=False)
        return request

    def _fill(self, message: Any) -> None:
        for name, kind in self._fields(message):
            setattr(message, name, self._value(kind, getattr(message, name)))
        if hasattr(message, 'run'):
            message.run = self._run()

    @staticmethod
    def _fields(message: Any) -> list[tuple[str, Any]]:
        names = message.get_fields_and_field_types()
        return list(zip(names, message.SLOT_TYPES, strict=True))

    def _value(self, kind: Any, now: Any) -> Any:
        """A random value of a field's type; ``now`` is what stands there."""
        if isinstance(now, Time):
            return self._time()
        if isinstance(kind, AbstractNestedType):
            return self._values(kind, now)
        if isinstance(kind, AbstractGenericString):
            return self._text()
        if isinstance(kind, NamespacedType):
            message = type(now)()
            self._fill(message)
            return message
        return self._number(kind.typename)

    def _values(self, kind: Any, now: Any) -> Any:
        if isinstance(now, np.ndarray):  # a fixed number of numbers
            bits = np.frombuffer(self.random.randbytes(now.nbytes), now.dtype)
            return bits.copy()
        if isinstance(kind, Array):
            return [self._value(kind.value_type, one) for one in now]
        size = self.random.choice((0, 1, 2, 3, 4, 7, 64, 513))
        if isinstance(now, array):
            if now.typecode in 'fd':
                return array(now.typecode, [self._number('float') for _ in range(size)])
            return array(now.typecode, self.random.randbytes(size * now.itemsize))
        if isinstance(kind.value_type, NamespacedType):
            inner = load('/'.join((*kind.value_type.namespaces, kind.value_type.name)))
            size = min(size, 4, getattr(kind, 'maximum_size', size))
            return [self._value(kind.value_type, inner()) for _ in range(size)]
        empty = b'' if getattr(kind.value_type, 'typename', '') == 'octet' else None
        return [self._value(kind.value_type, empty) for _ in range(min(size, 7))]

    def _number(self, name: str) -> Any:
        if name == 'boolean':
            return self.random.random() < 0.5
        if name in ('float', 'double', 'long double'):
            wild = self.random.random() < 0.3
            return self.random.choice(EXTREMES) if wild else self.random.gauss(0, 2)
        if name == 'octet':
            return self.random.randbytes(1)
        bits = int(name.strip('uint'))
        low, high = (
            (0, 2**bits - 1) if name[0] == 'u' else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        )
        near = self.random.randint(max(low, -3), min(high, 300))
        return self.random.choice((low, high, near, near, self.random.randint(low, high)))

    def _text(self) -> str:
        size = self.random.choice((0, 1, 8, 30, 30, 5_000))
        letters = self.random.choice((string.ascii_letters, '/.~-_', 'äß漢🤖\n\t', '0123456789'))
        return ''.join(self.random.choices(letters, k=size))

    def _run(self) -> str:
        other = self.random.choice(('', '0', 'zzz', self._text()))
        return self.run if self.random.random() < 0.5 else other

    def _time(self, valid: bool | None = None) -> Time:
        """A stamp that is no frame's: far in the past or the future, or none at all."""
        if valid is None:
            valid = self.random.random() < 0.7
        seconds = (0, 1, -1, -(2**31), 2**31 - 1, int(time.time()) + 3_600, int(time.time()) - 60)
        nanoseconds = self.random.randint(0, SECOND - 1) if valid else 2**32 - 1
        return Time(sec=self.random.choice(seconds), nanosec=nanoseconds)

    def _restamp(self, message: Any, valid: bool) -> None:
        """Put other times in the place of all that a message has, the content left as it is."""
        for name, _ in self._fields(message):
            now = getattr(message, name)
            if isinstance(now, Time):
                setattr(message, name, self._time(valid))
            elif hasattr(now, 'SLOT_TYPES'):
                self._restamp(now, valid)
            elif isinstance(now, list) and now and isinstance(now[0], Time):
                setattr(message, name, [self._time(valid) for _ in now])

    def _mutate(self, message: Any) -> None:
        """Change one to three fields; numbers in a row may also keep their count."""
        fields = self._fields(message)
        for name, kind in self.random.sample(fields, min(len(fields), self.random.randint(1, 3))):
            now = getattr(message, name)
            keep = self.random.random() < 0.5
            if isinstance(now, array) and now.typecode in 'fd' and len(now) and keep:
                now[self.random.randrange(len(now))] = self.random.choice(EXTREMES)
            elif isinstance(kind, (BasicType, AbstractGenericString, AbstractSequence)):
                setattr(message, name, self._value(kind, now))
        if hasattr(message, 'run') and self.random.random() < 0.3:
            message.run = self._run()

    def _enlarge(self, message: Any) -> None:
        """Pictures of 12 MB, arrays of a million numbers."""
        self._fill(message)
        for name, kind in self._fields(message):
            now = getattr(message, name)
            if isinstance(now, array) and isinstance(kind, AbstractSequence):
                setattr(message, name, array(now.typecode, bytes(HUGE_ARRAY * now.itemsize)))
        if hasattr(message, 'encoding'):
            message.encoding, message.is_bigendian = 'rgb8', 0
            message.width = message.height = HUGE_PICTURE
            message.step = 3 * HUGE_PICTURE
            message.data = array('B', bytes(3 * HUGE_PICTURE**2))


class Flood:
    """A node that finds out what a graph speaks and floods all of it.

    A context manager.

    Args:
        generator: of all draws.
        nodes: names of nodes that belong to the graph; they are waited for.
        apart: namespace of the nodes that are left alone; empty: none.
        inputs_only: flood what these nodes listen to and serve, instead of all that is there.
        spared: topics and services that are left alone.
    """

    def __init__(
        self,
        generator: random.Random,
        nodes: Collection[str],
        apart: str = '',
        inputs_only: bool = False,
        spared: Collection[str] = (),
    ) -> None:
        self.malformed = Malformed(generator)
        self.nodes = set(nodes)
        self.apart = apart
        self.inputs_only = inputs_only
        self.spared = set(spared)
        self.sent: dict[str, int] = defaultdict(int)
        self.called: dict[str, int] = defaultdict(int)
        self.unanswered = 0

    def __enter__(self) -> 'Flood':
        self.context = rclpy.Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = Node('flood', context=self.context, start_parameter_services=False)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.leaving = threading.Event()
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()
        end = time.monotonic() + DISCOVERY_S
        while not self.nodes <= {name for name, _ in self.node.get_node_names_and_namespaces()}:
            if time.monotonic() > end:
                raise SystemExit(f'not all of {", ".join(sorted(self.nodes))} are to be found')
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self.leaving.set()
        self.executor.shutdown()
        self.thread.join()
        leave(self.node)
        self.context.try_shutdown()

    def _spin(self) -> None:
        # What is destroyed beside it makes rclpy's executor stumble; answers are still to come.
        while not self.leaving.is_set():
            with contextlib.suppress(InvalidHandle):
                self.executor.spin()

    def _found(self, look: str) -> dict[str, str]:
        """Names and types of what the graph's nodes publish, subscribe to or serve."""
        found = {}
        for name, space in self.node.get_node_names_and_namespaces():
            apart = self.apart and f'{space}/'.startswith(f'/{self.apart}/')
            if name == self.node.get_name() or apart:
                continue
            if self.inputs_only and name not in self.nodes:
                continue
            pairs = getattr(self.node, f'get_{look}_names_and_types_by_node')(name, space)
            found |= {topic: kinds[0] for topic, kinds in pairs if len(kinds) == 1}
        return found

    def topics(self) -> dict[str, type]:
        """Every topic of the graph, or of its inputs."""
        found = self._found('subscriber')
        if not self.inputs_only:
            found |= self._found('publisher')
        return {name: load(found[name]) for name in sorted(found.keys() - self.spared)}

    def all_services(self) -> dict[str, type]:
        """Every service of the graph, or of its inputs."""
        found = self._found('service')
        return {name: load(found[name]) for name in sorted(found.keys() - self.spared)}

    def services(self) -> dict[str, type]:
        """Every service whose requests can be malformed: an empty one is always right."""
        # Of a class without fields ROS makes one with a single dummy.
        dummy = {'structure_needs_at_least_one_member'}
        return {
            name: kind
            for name, kind in self.all_services().items()
            if set(kind.Request.get_fields_and_field_types()) - dummy
        }

    def listen(self, topics: dict[str, type]) -> dict[str, list[Any]]:
        """True messages of each topic, from now on and those that are kept for who comes late."""
        seen: dict[str, list[Any]] = {name: [] for name in topics}
        readers = []
        for name, kind in topics.items():
            published = self.node.get_publishers_info_by_topic(name)
            if not published:
                continue
            qos = QoSProfile(
                depth=REMEMBERED,
                reliability=min(p.qos_profile.reliability for p in published),
                durability=max(p.qos_profile.durability for p in published),
            )
            readers.append(self.node.create_subscription(kind, name, seen[name].append, qos))
        time.sleep(LISTEN_S)
        for reader in readers:
            self.node.destroy_subscription(reader)
        return {name: messages[-REMEMBERED:] for name, messages in seen.items()}

    def run(self, messages: int, calls: int, rate: float) -> float:
        """One round; returns the messages per second and topic that it came to.

        Args:
            messages: for each topic.
            calls: for each service.
            rate: messages per second and topic that are aimed at.
        """
        seen = self.listen(self.topics())
        # What was found meanwhile, too.
        topics, services = self.topics(), self.services()
        runs = [m.run for each in seen.values() for m in each if getattr(m, 'run', '')]
        self.malformed.run = runs[-1] if runs else ''
        qos = QoSProfile(
            depth=2,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
        writers = {n: self.node.create_publisher(kind, n, qos) for n, kind in topics.items()}
        clients = {n: self.node.create_client(kind, n) for n, kind in services.items()}
        pending: dict[str, list] = {name: [] for name in clients}
        start = time.monotonic()
        for turn in range(messages):
            for name, writer in writers.items():
                writer.publish(self.malformed.message(topics[name], seen.get(name, ())))
                self.sent[name] += 1
            if turn * calls // messages != (turn + 1) * calls // messages:
                for name, client in clients.items():
                    self._call(name, client, services[name], pending[name])
            time.sleep(max(0.0, start + (turn + 1) / rate - time.monotonic()))
        reached = messages / (time.monotonic() - start)
        self._await(pending)
        for writer in writers.values():
            self.node.destroy_publisher(writer)
        for client in clients.values():
            self.node.destroy_client(client)
        return reached

    def _call(self, name: str, client: Client, kind: type, pending: list) -> None:
        pending[:] = [future for future in pending if not future.done()]
        if client.service_is_ready() and len(pending) < MOST_CALLS:
            pending.append(client.call_async(self.malformed.request(kind)))
            self.called[name] += 1

    def _await(self, pending: dict[str, list]) -> None:
        end = time.monotonic() + ANSWER_S
        futures = [future for each in pending.values() for future in each]
        while time.monotonic() < end and not all(future.done() for future in futures):
            time.sleep(0.05)
        self.unanswered += sum(not future.done() for future in futures)
