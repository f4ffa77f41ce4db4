# SPDX-License-Identifier: Apache-2.0
"""When an episode begins and ends, and which labels count."""

import math

import pytest
from arm_support import robot
from hypothesis import given
from hypothesis import strategies as st

from furl_ros.core.arm.episodes import FAILURE, SUCCESS, Episodes, Outcome, Phase

RESET = {
    'kinds': ['service', 'trajectory', 'wait_for_ready'],
    'service': 'home',
    'trajectory_topic': 'move',
    'positions': [0, 0, 1],
    'tolerance': 0.05,
    'move_s': 3,
    'timeout_s': 10,
}
CONFIG = robot({'episode': {'time_limit_s': 5, 'reset': RESET}}).episode
PERSON = robot({'episode.time_limit_s': 5}).episode


def running(now=0.0):
    """An episode that has just begun, after a person said so."""
    episodes = Episodes(PERSON)
    for label in (SUCCESS, FAILURE):
        episodes.level(label, False)
    episodes.reset(now)
    assert episodes.ready(now)
    assert episodes.phase is Phase.RUNNING
    return episodes


def test_it_begins_by_waiting_for_a_reset():
    episodes = Episodes(CONFIG)
    assert episodes.phase is Phase.WAITING
    assert episodes.step is None
    assert episodes.tick(100.0) is None


def test_a_reset_is_carried_out_step_by_step():
    episodes = Episodes(CONFIG)
    episodes.reset(0.0)
    assert (episodes.phase, episodes.step.kind) == (Phase.RESETTING, 'service')
    assert not episodes.ready(0.5)
    episodes.at([0, 0, 1], 0.5)
    episodes.step_done(episodes.step, 1.0)
    assert episodes.step.kind == 'trajectory'
    for positions in ([0, 0, 1.1], [0, math.nan, 1], [1, 0, 1]):
        episodes.at(positions, 2.0)
        assert episodes.step.kind == 'trajectory'
    episodes.at([0.04, -0.04, 1], 3.0)
    assert episodes.step.kind == 'wait_for_ready'
    assert episodes.ready(9.0)
    assert (episodes.phase, episodes.step) == (Phase.RUNNING, None)
    assert episodes.tick(13.9) is None
    assert episodes.tick(14.0) == Outcome(False, False, True, 'time limit')


def test_a_person_may_take_any_time_and_says_ready_while_asked():
    episodes = Episodes(PERSON)
    assert not episodes.ready(0.0)
    episodes.reset(0.0)
    assert episodes.tick(1e6) is None
    assert episodes.phase is Phase.RESETTING
    assert episodes.ready(1e6)


@pytest.mark.parametrize('steps_done', [0, 1])
def test_a_step_that_takes_too_long_ends_the_reset(steps_done):
    episodes = Episodes(CONFIG)
    episodes.reset(0.0)
    for _ in range(steps_done):
        episodes.step_done(episodes.step, 0.0)
    limit = (10, 13)[steps_done]
    episodes.tick(limit)
    assert episodes.phase is Phase.RESETTING
    assert episodes.tick(limit + 0.1) is None
    assert episodes.phase is Phase.WAITING
    kind = ('service', 'trajectory')[steps_done]
    assert episodes.error == f'reset: {kind} took more than {limit} s'


def test_a_step_that_fails_ends_the_reset():
    episodes = Episodes(CONFIG)
    episodes.reset(0.0)
    episodes.step_failed(episodes.step, 'the service says no')
    assert (episodes.phase, episodes.error) == (Phase.WAITING, 'the service says no')
    episodes.reset(1.0)
    assert (episodes.phase, episodes.error) == (Phase.RESETTING, '')


def test_a_late_answer_is_for_its_own_step():
    episodes = Episodes(CONFIG)
    episodes.reset(0.0)
    late = episodes.step
    episodes.reset(0.0)
    now = episodes.step
    episodes.step_done(late, 1.0)
    episodes.step_failed(late, 'no')
    assert episodes.step == now


@pytest.mark.parametrize('label', [SUCCESS, FAILURE])
def test_a_label_ends_the_episode(label):
    episodes = running()
    assert episodes.label(label)
    assert episodes.tick(1.0) == Outcome(label == SUCCESS, True, False, label)
    assert episodes.phase is Phase.WAITING
    assert episodes.tick(2.0) is None


def test_the_first_label_counts_also_against_the_time_limit():
    episodes = running()
    episodes.level(SUCCESS, True)
    assert not episodes.label(FAILURE)
    assert episodes.counts == {'failure after success': 1}
    assert episodes.tick(100.0) == Outcome(True, True, False, SUCCESS)


def test_a_level_that_stays_true_counts_once():
    episodes = running()
    for _ in range(3):
        episodes.level(SUCCESS, True)
    assert episodes.tick(1.0).success
    episodes.level(SUCCESS, True)
    episodes.reset(2.0)
    episodes.level(SUCCESS, True)
    episodes.ready(3.0)
    episodes.level(SUCCESS, True)
    assert episodes.tick(4.0) is None
    episodes.level(SUCCESS, False)
    episodes.level(SUCCESS, True)
    assert episodes.tick(5.0).success


def test_what_is_true_when_first_heard_does_not_count():
    episodes = Episodes(PERSON)
    episodes.reset(0.0)
    episodes.ready(0.0)
    episodes.level(SUCCESS, True)
    assert episodes.tick(1.0) is None
    assert episodes.counts == {'success that was never false before': 1}


def test_a_label_outside_an_episode_is_not_kept():
    episodes = Episodes(PERSON)
    assert not episodes.label(SUCCESS)
    episodes.level(SUCCESS, False)
    episodes.level(SUCCESS, True)
    assert episodes.counts == {'success while no episode runs': 2}
    episodes.reset(0.0)
    episodes.ready(0.0)
    assert episodes.tick(1.0) is None


def test_a_label_of_an_episode_that_was_dropped_is_not_kept():
    episodes = running()
    episodes.label(SUCCESS)
    episodes.reset(1.0)
    episodes.ready(1.0)
    assert episodes.tick(2.0) is None


def test_an_abort_ends_what_is_under_way():
    episodes = running()
    assert episodes.abort('e-stop') == Outcome(False, False, True, 'e-stop')
    assert episodes.abort('e-stop') is None
    episodes.reset(1.0)
    assert episodes.abort('e-stop') is None
    assert (episodes.phase, episodes.error) == (Phase.WAITING, 'e-stop')
    episodes = running()
    episodes.label(FAILURE)
    assert episodes.abort('e-stop') == Outcome(False, True, False, FAILURE)


def test_a_time_that_is_none_ends_the_episode():
    assert running().tick(math.nan).truncated


CALLS = st.sampled_from(['reset', 'ready', 'true', 'false', 'label', 'tick', 'abort', 'done'])


@given(calls=st.lists(CALLS, max_size=60))
def test_an_episode_ends_once_and_a_level_counts_once_per_edge(calls):
    episodes, now, level, edges, successes, begun, ended = Episodes(PERSON), 0.0, None, 0, 0, 0, 0
    for call in calls:
        now += 0.5
        outcome, before = None, episodes.phase
        match call:
            case 'reset':
                episodes.reset(now)
            case 'ready':
                episodes.ready(now)
            case 'true' | 'false':
                edges += level is False and call == 'true'
                level = call == 'true'
                episodes.level(SUCCESS, level)
            case 'label':
                edges += 1
                episodes.label(SUCCESS)
            case 'tick':
                outcome = episodes.tick(now)
            case 'abort':
                outcome = episodes.abort('stop')
            case 'done':
                if episodes.step is not None:
                    episodes.step_done(episodes.step, now)
        begun += before is not Phase.RUNNING and episodes.phase is Phase.RUNNING
        if outcome is not None:
            assert before is Phase.RUNNING
            assert outcome.terminated != outcome.truncated
            ended += 1
            successes += outcome.success
        assert (episodes.step is not None) == (episodes.phase is Phase.RESETTING)
    assert ended <= begun
    assert successes <= edges


def test_an_error_is_told_once():
    episodes = Episodes(PERSON)
    episodes.reset(0.0)
    episodes.abort('the arm is stopped')
    assert episodes.take_error() == 'the arm is stopped'
    assert episodes.take_error() == ''
