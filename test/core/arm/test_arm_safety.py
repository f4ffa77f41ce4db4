# SPDX-License-Identifier: Apache-2.0
"""Nothing but a person arms the arm, and everything that should stop it does."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from furl_ros.core.arm.safety import Safety, State

LIMITS = {'action': 0.5, 'camera': 1.0}


def fresh(now=0.0, state=State.DISARMED):
    """One that has just heard everything."""
    safety = Safety(LIMITS, loop_s=0.5)
    for name in LIMITS:
        safety.heard(name, now)
    if state is not State.DISARMED:
        assert safety.arm(now) == ''
    if state is State.STOPPED:
        safety.stop('a limit', now)
    assert safety.state is state
    return safety


def test_it_begins_disarmed():
    safety = Safety(LIMITS, loop_s=0.5)
    assert safety.state is State.DISARMED
    assert not safety.may_move(0.0)


def test_armed_it_may_move():
    assert fresh(state=State.ARMED).may_move(0.1)


def test_it_is_not_armed_before_everything_was_heard():
    safety = Safety(LIMITS, loop_s=0.5)
    safety.heard('camera', 0.0)
    assert safety.arm(0.1) == 'not heard: action'
    safety.heard('action', 0.0)
    assert safety.arm(0.6) == 'not heard: action'
    assert safety.arm(0.5) == ''


def test_it_is_armed_from_disarmed_only():
    assert fresh(state=State.ARMED).arm(0.0) == 'it is armed'
    assert fresh(state=State.STOPPED).arm(0.0) == 'it is stopped (a limit)'


def test_silence_stops_it():
    safety = fresh(state=State.ARMED)
    for now in (0.3, 0.5):
        assert safety.may_move(now)
    safety.heard('camera', 0.5)
    assert not safety.may_move(0.51)
    assert safety.reason == 'action silent for more than 0.5 s'
    assert not safety.latched
    # What speaks again does not arm it.
    safety.heard('action', 0.52)
    assert not safety.may_move(0.53)


def test_its_patience_ends_when_it_stops():
    assert fresh().patience(0.0) == math.inf
    safety = fresh(state=State.ARMED)
    assert safety.patience(0.2) == pytest.approx(0.3)
    safety.heard('action', 0.2)
    assert safety.patience(0.4) == pytest.approx(0.3)
    safety.pause('action')
    assert safety.patience(0.4) == pytest.approx(0.6)
    safety.pause('camera')
    assert safety.patience(0.4) == math.inf
    safety.resume('action', 0.45)
    assert safety.patience(0.4) == pytest.approx(0.55)
    assert safety.patience(2.0) == 0.0
    for now in (0.4, 0.8, 0.95):
        assert safety.check(now) is State.ARMED
    assert safety.check(0.951) is State.STOPPED


def test_silence_means_nothing_while_it_is_disarmed():
    safety = fresh()
    assert safety.check(100.0) is State.DISARMED


def test_a_loop_that_stood_still_does_not_go_on():
    safety = fresh(state=State.ARMED)
    for name in LIMITS:
        safety.heard(name, 9.0)
    assert not safety.may_move(9.0)
    assert safety.reason == 'the control loop stood still for 9.00 s'


@pytest.mark.parametrize('now', [math.nan, math.inf, -math.inf, -10.0])
def test_a_clock_that_makes_no_sense_stops_it(now):
    assert not fresh(state=State.ARMED).may_move(now)
    safety = Safety(LIMITS, loop_s=0.5)
    for name in LIMITS:
        safety.heard(name, now)
    assert safety.arm(0.0) == 'not heard: action, camera'


@pytest.mark.parametrize('state', State)
def test_an_estop_wins_in_every_state(state):
    safety = fresh(state=state)
    safety.estop('a person', 0.0)
    assert (safety.state, safety.reason, safety.latched) == (State.STOPPED, 'a person', True)
    assert not safety.disarm(0.0)
    assert safety.arm(0.0) == 'it is stopped (a person)'
    safety.stop('later', 0.0)
    safety.estop('later', 0.0)
    assert safety.reason == 'a person'
    assert safety.history[-1].reason == 'later'


def test_a_stop_of_a_watchdog_is_acknowledged_by_disarm_or_clear():
    for leave in (Safety.disarm, Safety.clear):
        safety = fresh(state=State.STOPPED)
        leave(safety, 0.0)
        assert safety.state is State.DISARMED
        assert safety.reason == ''


def test_what_was_heard_before_the_clear_does_not_count():
    safety = fresh()
    safety.estop('a person', 0.0)
    assert safety.clear(0.1) == ''
    assert safety.arm(0.1) == 'not heard: action, camera'
    for name in LIMITS:
        safety.heard(name, 0.1)
    assert safety.state is State.DISARMED
    assert safety.arm(0.1) == ''


def test_a_pressed_input_holds():
    safety = fresh(state=State.ARMED)
    safety.estop_input('button', False, 0.0)
    assert safety.state is State.ARMED
    safety.estop_input('button', True, 0.0)
    assert safety.reason == 'e-stop button'
    assert safety.clear(0.0) == 'e-stop is pressed: button'
    safety.estop_input('button', False, 0.1)
    assert safety.state is State.STOPPED
    assert safety.clear(0.1) == ''
    assert safety.state is State.DISARMED


def test_a_level_that_goes_on_is_told_once():
    safety = fresh()
    for now in range(5):
        safety.estop_input('button', True, now)
    assert len(safety.history) == 1


def test_an_armed_arm_is_not_cleared():
    safety = fresh(state=State.ARMED)
    assert safety.clear(0.0) == 'it is armed: there is nothing to clear'
    assert safety.may_move(0.0)


def test_what_is_paused_may_be_silent_and_has_its_time_afterwards():
    safety = Safety({'action': 0.5}, loop_s=10)
    safety.pause('action')
    assert safety.arm(0.0) == ''
    assert safety.may_move(5.0)
    safety.resume('action', 5.0)
    assert safety.may_move(5.5)
    assert not safety.may_move(5.6)


def test_to_be_watched_again_is_not_to_be_heard():
    safety = Safety({'action': 0.5}, loop_s=10)
    safety.pause('action')
    safety.resume('action', 0.0)
    assert safety.arm(0.0) == 'not heard: action'


def test_the_history_is_bounded():
    safety = fresh()
    for now in range(1000):
        safety.estop('a person', now)
        safety.clear(now)
    assert len(safety.history) == 100
    assert safety.history[-1] == (999, State.STOPPED, State.DISARMED, 'cleared')


CALLS = st.sampled_from(
    [
        *[
            'arm',
            'disarm',
            'clear',
            'estop',
            'stop',
            'check',
            'press',
            'release',
            'pause',
            'resume',
        ],
        *['heard action', 'heard camera'] * 3,
    ]
)
STEPS = st.lists(st.tuples(CALLS, st.sampled_from([0.0, 0.1, 0.4, 2.0])), max_size=60)


@given(steps=STEPS)
def test_whatever_is_called_only_arm_arms_and_an_estop_wins(steps):
    safety, now = Safety(LIMITS, loop_s=0.5), 0.0
    armed_by_person = estopped = pressed = False
    heard = dict.fromkeys(LIMITS, -math.inf)
    paused = False
    for call, pause in steps:
        now += pause
        before = safety.state
        match call:
            case 'arm':
                accepted = safety.arm(now) == ''
                assert accepted == (safety.state is State.ARMED and before is State.DISARMED)
                armed_by_person = armed_by_person or accepted
                if accepted:
                    names = ['camera'] if paused else list(LIMITS)
                    assert all(now - heard[name] <= LIMITS[name] for name in names)
                    assert not pressed
            case 'clear':
                if safety.clear(now) == '':
                    estopped = armed_by_person = False
                    heard = dict.fromkeys(LIMITS, -math.inf)
            case 'estop':
                safety.estop('a person', now)
                estopped = True
            case 'press' | 'release':
                pressed = call == 'press'
                safety.estop_input('button', pressed, now)
                estopped = estopped or pressed
            case 'pause' | 'resume':
                paused = call == 'pause'
                safety.pause('action') if paused else safety.resume('action', now)
            case 'heard action' | 'heard camera':
                name = call.split()[1]
                safety.heard(name, now)
                heard[name] = now
            case 'disarm':
                safety.disarm(now)
                armed_by_person = False
            case 'stop':
                safety.stop('a limit', now)
            case 'check':
                safety.check(now)
        if safety.state is State.ARMED:
            assert armed_by_person
        if before is State.STOPPED:
            assert safety.state is not State.ARMED
        if estopped:
            assert safety.state is State.STOPPED
            assert safety.latched
            assert safety.reason
        assert safety.may_move(now) == (safety.state is State.ARMED)
        if safety.state is not State.ARMED:
            assert not safety.may_move(now)
        assert all(a.after is b.before for a, b in pairwise(safety.history))
