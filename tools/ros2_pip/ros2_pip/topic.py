# SPDX-License-Identifier: Apache-2.0
"""ros2 topic."""

from __future__ import annotations

import argparse
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from .errors import CommandError
from .graph import Graph, absolute, graph, is_hidden, only_type, print_names
from .messages import from_yaml, load_type, to_yaml
from .verbs import LIST_S, add_verbs

_RELIABILITY = {
    'reliable': ReliabilityPolicy.RELIABLE,
    'best_effort': ReliabilityPolicy.BEST_EFFORT,
}
_DURABILITY = {
    'volatile': DurabilityPolicy.VOLATILE,
    'transient_local': DurabilityPolicy.TRANSIENT_LOCAL,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs."""
    verbs = add_verbs(parser)
    listing = verbs.add_on_graph('list', list_topics, 'list the topics', spin_time=LIST_S)
    listing.add_argument('-t', '--show-types', action='store_true', help='print their types')
    listing.add_argument('-c', '--count-topics', action='store_true', help='print their number')
    listing.add_argument('--include-hidden-topics', action='store_true', help='internal ones too')

    info = verbs.add_on_graph(
        'info', show_topic, 'print who publishes and subscribes', spin_time=LIST_S
    )
    info.add_argument('topic_name')
    info.add_argument('-v', '--verbose', action='store_true', help='print nodes and QoS')

    echo = verbs.add_on_graph('echo', echo_topic, 'print messages')
    echo.add_argument('topic_name')
    echo.add_argument('message_type', nargs='?', help='default: what the publishers say')
    _add_qos_arguments(echo, 'what the publishers offer')
    echo.add_argument('--field', help="print this field only, for example 'pose.position'")
    echo.add_argument('--once', action='store_true', help='end after the first message')
    echo.add_argument('--timeout', type=float, metavar='S', help='end after this many seconds')
    echo.add_argument('-f', '--full-length', action='store_true', help='do not cut long arrays')
    echo.add_argument(
        '-l',
        '--truncate-length',
        type=int,
        default=128,
        metavar='N',
        help='cut arrays and texts longer than this (default %(default)s)',
    )
    echo.add_argument('--no-arr', action='store_true', help='print only the type of arrays')

    hz = verbs.add_on_graph('hz', measure_rate, 'print the rate of messages')
    hz.add_argument('topic_name')
    hz.add_argument(
        '-w', '--window', type=int, default=10000, help='messages to average over (%(default)s)'
    )

    bw = verbs.add_on_graph('bw', measure_bandwidth, 'print the bandwidth of messages')
    bw.add_argument('topic_name')
    bw.add_argument(
        '-w', '--window', type=int, default=100, help='messages to average over (%(default)s)'
    )

    pub = verbs.add_on_graph('pub', publish, 'publish messages')
    pub.add_argument('topic_name')
    pub.add_argument('message_type')
    pub.add_argument('values', nargs='?', default='{}', help='fields as YAML')
    pub.add_argument('-r', '--rate', type=float, default=1.0, help='messages per second')
    times = pub.add_mutually_exclusive_group()
    times.add_argument(
        '-1', '--once', dest='times', action='store_const', const=1, help='one message'
    )
    times.add_argument('-t', '--times', type=int, default=0, help='number of messages; 0: no end')
    pub.add_argument(
        '-w',
        '--wait-matching-subscriptions',
        type=int,
        help='subscribers to wait for first; default 1 where the number of messages is given',
    )
    _add_qos_arguments(pub, 'reliable, volatile')


def _add_qos_arguments(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument('--qos-reliability', choices=_RELIABILITY, help=f'default: {default}')
    parser.add_argument('--qos-durability', choices=_DURABILITY, help=f'default: {default}')
    parser.add_argument('--qos-depth', type=int, default=10, help='default %(default)s')


def list_topics(args: argparse.Namespace) -> None:
    """Print the topics."""
    with graph(args.spin_time) as seen:
        seen.discover()
        topics = {
            name: types
            for name, types in seen.topics().items()
            if args.include_hidden_topics or not is_hidden(name)
        }
    if args.count_topics:
        print(len(topics))
    else:
        print_names(topics, with_types=args.show_types)


def show_topic(args: argparse.Namespace) -> None:
    """Print type and ends of a topic."""
    with graph(args.spin_time) as seen:
        name = absolute(args.topic_name)
        seen.discover()
        types = seen.topics().get(name)
        if types is None:
            raise CommandError(f"Unknown topic '{name}'")
        print(f'Type: {", ".join(types)}')
        for title, ends in (
            ('Publisher count', seen.publishers(name)),
            ('Subscription count', seen.subscriptions(name)),
        ):
            print(f'{title}: {len(ends)}')
            if args.verbose:
                print(''.join(f'\n{end}\n' for end in ends))


def _find_type(seen: Graph, topic: str) -> str:
    """Return the type of a topic that is published or subscribed to by others."""
    seen.discovered(lambda: topic in seen.topics())
    return only_type('topic', topic, seen.topics())


def _choose_qos(seen: Graph, topic: str, args: argparse.Namespace) -> QoSProfile:
    """Return the QoS that the user wants, else the strictest that all publishers meet."""
    publishers = seen.discovered(lambda: seen.publishers(topic))
    offers = [publisher.qos_profile for publisher in publishers]
    reliable = all(offer.reliability == ReliabilityPolicy.RELIABLE for offer in offers)
    latched = all(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers)
    return QoSProfile(
        depth=args.qos_depth,
        reliability=_RELIABILITY[
            args.qos_reliability or ('reliable' if offers and reliable else 'best_effort')
        ],
        durability=_DURABILITY[
            args.qos_durability or ('transient_local' if offers and latched else 'volatile')
        ],
    )


def echo_topic(args: argparse.Namespace) -> None:
    """Print messages as YAML."""
    received = 0

    def show(message: Any) -> None:
        nonlocal received
        received += 1
        if args.once and received > 1:
            return
        for field in filter(None, (args.field or '').split('.')):
            if not hasattr(message, field):
                raise CommandError(f"the message has no field '{args.field}'")
            message = getattr(message, field)
        length = None if args.full_length else args.truncate_length
        print(to_yaml(message, max_length=length, arrays=not args.no_arr) + '---')

    with graph(args.spin_time) as seen:
        topic = absolute(args.topic_name)
        message_class = load_type('msg', args.message_type or _find_type(seen, topic))
        qos = _choose_qos(seen, topic, args)
        seen.node.create_subscription(message_class, topic, show, qos)
        seen.spin_until(lambda: args.once and received > 0, args.timeout)
    if not received:
        raise CommandError(f'no message on {topic} within {args.timeout:g} s')


def measure_rate(args: argparse.Namespace) -> None:
    """Print rate and regularity of messages, once a second."""
    times: deque[float] = deque(maxlen=args.window + 1)
    with graph(args.spin_time) as seen:
        _subscribe_raw(seen, args, lambda _: times.append(time.monotonic()))
        while True:
            seen.spin_until(lambda: False, 1.0)
            gaps = [after - before for before, after in zip(times, list(times)[1:], strict=False)]
            if not gaps:
                print('no new messages')
                continue
            print(
                f'average rate: {1.0 / max(statistics.fmean(gaps), 1e-9):.3f}\n'
                f'\tmin: {min(gaps):.3f}s max: {max(gaps):.3f}s '
                f'std dev: {statistics.pstdev(gaps):.5f}s window: {len(gaps) + 1}'
            )


def measure_bandwidth(args: argparse.Namespace) -> None:
    """Print bytes per second and the sizes of messages, once a second."""
    messages: deque[tuple[float, int]] = deque(maxlen=args.window)
    with graph(args.spin_time) as seen:
        topic = _subscribe_raw(
            seen, args, lambda data: messages.append((time.monotonic(), len(data)))
        )
        print(f'Subscribed to [{topic}]')
        while True:
            seen.spin_until(lambda: False, 1.0)
            if len(messages) > 1:
                print(describe_bandwidth(messages, time.monotonic()))


def describe_bandwidth(messages: Sequence[tuple[float, int]], now: float) -> str:
    """Return the text about at least two messages, all figures in the unit that suits their sum.

    Args:
        messages: time of arrival in seconds and size in bytes, the oldest first.
        now: the time until which is counted: the bandwidth falls while nothing comes.
    """
    sizes = [size for _, size in messages]
    per_second = sum(sizes) / max(now - messages[0][0], 1e-9)
    divisor, digits, unit = next(
        scale
        for scale in ((1, 0, 'B'), (1e3, 2, 'KB'), (1e6, 2, 'MB'))
        if per_second < 1e3 * scale[0] or scale[2] == 'MB'
    )
    total, mean, least, most = (
        f'{value / divisor:.{digits}f} {unit}'
        for value in (per_second, statistics.fmean(sizes), min(sizes), max(sizes))
    )
    return (
        f'{total}/s from {len(sizes)} messages\n'
        f'\tMessage size mean: {mean} min: {least} max: {most}'
    )


def _subscribe_raw(seen: Graph, args: argparse.Namespace, callback: Callable[[bytes], None]) -> str:
    """Hand over messages packed: measuring must not wait for large ones to be unpacked.

    Returns:
        The topic's full name.
    """
    args.qos_reliability = args.qos_durability = None
    args.qos_depth = 100
    topic = absolute(args.topic_name)
    message_class = load_type('msg', _find_type(seen, topic))
    qos = _choose_qos(seen, topic, args)
    seen.node.create_subscription(message_class, topic, callback, qos, raw=True)
    return topic


def publish(args: argparse.Namespace) -> None:
    """Publish one message, several, or without end."""
    if args.rate <= 0.0:
        raise CommandError('rate must be greater than zero')
    message_class = load_type('msg', args.message_type)
    message = from_yaml(message_class, args.values)
    qos = QoSProfile(
        depth=args.qos_depth,
        reliability=_RELIABILITY[args.qos_reliability or 'reliable'],
        durability=_DURABILITY[args.qos_durability or 'volatile'],
    )
    with graph(args.spin_time) as seen:
        publisher = seen.node.create_publisher(message_class, absolute(args.topic_name), qos)
        wanted = args.wait_matching_subscriptions
        if wanted is None:
            wanted = 1 if args.times else 0
        if publisher.get_subscription_count() < wanted:
            print(f'Waiting for at least {wanted} matching subscription(s)...')
        seen.spin_until(lambda: publisher.get_subscription_count() >= wanted)
        print('publisher: beginning loop')
        count = 0
        while True:
            count += 1
            print(f'publishing #{count}: {message!r}\n')
            publisher.publish(message)
            if count == args.times:
                break
            seen.spin_until(lambda: False, 1.0 / args.rate)
        # A reliable message has to be confirmed before its publisher goes.
        seen.spin_until(lambda: publisher.wait_for_all_acked(), 1.0)
