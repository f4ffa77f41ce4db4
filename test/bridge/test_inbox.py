# SPDX-License-Identifier: Apache-2.0
"""From the callbacks' thread to the worker's."""

import itertools
import threading
import time
from types import SimpleNamespace

import pytest
from graph_support import TIMEOUT

from furl_ros.bridge.inbox import Inbox


def test_handlers_run_in_order_in_the_thread_that_drains():
    inbox, calls = Inbox(), []

    def handler(number, word):
        calls.append((number, word, threading.current_thread()))

    def put():
        for number in range(100):
            inbox.put(handler, number, 'a')

    thread = threading.Thread(target=put)
    thread.start()
    thread.join()
    assert not calls
    assert inbox.drain()
    assert calls == [(number, 'a', threading.current_thread()) for number in range(100)]
    assert not inbox.drain()


def test_nothing_is_lost_between_threads():
    inbox, seen, stop = Inbox(), [[] for _ in range(4)], threading.Event()

    def put(source):
        for number in range(500):
            inbox.put(seen[source].append, number)

    threads = [threading.Thread(target=put, args=(source,)) for source in range(4)]
    for thread in threads:
        thread.start()
    while not stop.is_set():
        alive = any(thread.is_alive() for thread in threads)
        if not inbox.drain(0.01) and not alive:
            stop.set()
    assert seen == [list(range(500))] * 4


def test_what_a_handler_puts_is_handled_too():
    inbox, calls = Inbox(), []
    inbox.put(lambda: inbox.put(calls.append, 1))
    inbox.drain()
    assert calls == [1]


def test_drain_waits_for_something_but_not_forever():
    inbox, calls = Inbox(), []
    start = time.monotonic()
    assert not inbox.drain(0.05)
    assert time.monotonic() - start >= 0.045
    timer = threading.Timer(0.05, inbox.put, (calls.append, 1))
    timer.start()
    assert inbox.drain(TIMEOUT)
    assert calls == [1]
    timer.join()


def test_an_error_reaches_the_worker_and_loses_only_its_message():
    inbox, calls = Inbox(), []
    inbox.put(calls.append, 1)
    inbox.put(int, 'x')
    inbox.put(calls.append, 2)
    with pytest.raises(ValueError, match='invalid literal'):
        inbox.drain()
    assert calls == [1]
    inbox.drain()
    assert calls == [1, 2]


def test_what_cannot_wait_goes_before_all_that_waits():
    inbox, calls = Inbox(most=2), []
    for number in range(3):
        inbox.put(calls.append, number)
    inbox.put_first(calls.append, 'stop')
    assert inbox.drain()
    assert calls == ['stop', 0, 1]
    assert inbox.dropped == 1
    inbox.put_first(calls.append, 'again')
    assert inbox.drain()
    assert calls[-1] == 'again'
    assert not inbox.drain()


def test_a_flood_keeps_nobody_longer_than_asked(monkeypatch):
    inbox, calls = Inbox(), []

    def handler():
        calls.append(1)
        inbox.put(handler)

    # A second goes by between two looks at the clock.
    clock = SimpleNamespace(monotonic=itertools.count().__next__)
    monkeypatch.setattr('furl_ros.bridge.inbox.time', clock)
    inbox.put(handler)
    assert inbox.drain(limit=5.0)
    assert len(calls) == 6
    assert inbox.drain(limit=0.0)
    assert len(calls) == 7
