# SPDX-License-Identifier: Apache-2.0
"""Seconds per stage."""

import pytest

from furl_ros.core import timing
from furl_ros.core.timing import Stages


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = [0.0]
    monkeypatch.setattr(timing.time, 'perf_counter', lambda: now[0])
    return now


def test_seconds_and_calls_add_up(clock):
    stages = Stages()
    for seconds in (1.0, 2.5):
        with stages('one'):
            clock[0] += seconds
    with stages('other'):
        clock[0] += 4.0
    assert stages.seconds == {'one': 3.5, 'other': 4.0}
    assert stages.calls == {'one': 2, 'other': 1}


def test_a_stage_inside_another_is_not_counted_twice(clock):
    stages = Stages()
    with stages('outer'):
        clock[0] += 1.0
        for seconds in (0.25, 0.5):
            with stages('inner'):
                clock[0] += seconds
                with stages('innermost'):
                    clock[0] += 0.125
        clock[0] += 2.0
    with stages('outer'):
        clock[0] += 1.0
    assert stages.seconds == {'outer': 4.0, 'inner': 0.75, 'innermost': 0.25}
    assert stages.calls == {'outer': 2, 'inner': 2, 'innermost': 2}


def test_a_stage_that_fails_counts(clock):
    stages = Stages()

    def fail():
        with stages('outer'), stages('inner'):
            clock[0] += 1.0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert stages.seconds == {'outer': 0.0, 'inner': 1.0}
