# SPDX-License-Identifier: Apache-2.0
"""Robots of different speed give equally many steps; silent ones hold nobody back."""

from furl_ros.core.fair_share import FairShare


def begun(share, speeds, ticks, start=0):
    """Steps that robots begin which ask every so many ticks (one tick is a second)."""
    counts = [0] * len(speeds)
    for tick in range(start, start + ticks):
        for robot, every in enumerate(speeds):
            if every and tick % every == 0:
                share.hear(robot, tick)
                if share.may_begin(robot, tick):
                    share.begin(robot)
                    counts[robot] += 1
    return counts


def test_a_fast_robot_waits_for_a_slow_one():
    fast, slow = begun(FairShare(2, lead=8, patience=5), (1, 3), 300)
    assert slow == 100
    assert slow <= fast <= slow + 9  # one before the other was first heard


def test_equal_robots_never_wait():
    assert begun(FairShare(3, lead=1, patience=5), (1, 1, 1), 50) == [50, 50, 50]


def test_one_robot_never_waits():
    assert begun(FairShare(1, lead=1, patience=5), (1,), 50) == [50]


def test_a_silent_robot_holds_nobody_back_for_longer_than_the_patience():
    share = FairShare(2, lead=8, patience=5)
    assert begun(share, (1, 1), 20) == [20, 20]
    alone, _ = begun(share, (1, 0), 100, start=20)
    assert 90 <= alone <= 100


def test_who_comes_back_need_not_catch_up():
    share = FairShare(2, lead=8, patience=5)
    begun(share, (1, 0), 200)
    first, back = begun(share, (1, 1), 50, start=200)
    assert back == 50
    assert 42 <= first <= 50


def test_a_robot_that_was_never_heard_holds_nobody_back():
    share = FairShare(2, lead=1, patience=5)
    for _ in range(10):
        share.hear(0, 1.0)
        assert share.may_begin(0, 1.0)
        share.begin(0)
