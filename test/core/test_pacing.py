# SPDX-License-Identifier: Apache-2.0
"""When to act, evaluate and save, and who is late: plain calls, no clock."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from furl_ros.core.pacing import PATIENCE_S, REAL_TIME_BACKLOG, Due, Pace, Pacing


@dataclass
class Robot:
    index: int = 0
    name: str = ''
    lockstep: bool = True
    todo: object | None = 'an observation'
    blind: bool = False
    in_flight: int = 0
    resetting: bool = False
    silent_for: float = 0.0
    waits_for_scores: bool = False
    alignment_lead: int = 0


@dataclass
class Learning:
    steps: int = 0
    owed: int = 0


@dataclass
class Case:
    """One learner with its robots, and everything that the decisions look at."""

    pace: Pace = field(default_factory=Pace)
    robots: list[Robot] = field(default_factory=lambda: [Robot()])
    learning: Learning = field(default_factory=Learning)
    target: int = 1_000

    def pacing(self):
        made = Pacing(self.pace, self.robots, self.learning)
        made.target = self.target
        for robot in self.robots:
            made.hear(robot, 0.0)
        return made


def test_steps_under_way_and_owed_updates_hold_a_robot_back():
    case = Case(Pace(max_in_flight=4, updates_per_step=2))
    pacing, robot = case.pacing(), case.robots[0]
    robot.in_flight, case.learning.owed = 3, 2
    assert pacing.may_act(robot, 0.0)
    case.learning.owed = 3
    assert not pacing.may_act(robot, 0.0)
    case.learning.owed, robot.in_flight = 0, 5
    assert not pacing.may_act(robot, 0.0)


def test_a_robot_in_real_time_is_always_answered_and_old_updates_are_let_go():
    robot = Robot(lockstep=False, in_flight=99, alignment_lead=10**6)
    case = Case(Pace(alignment_lead=10), [robot], Learning(steps=1_000, owed=500))
    pacing = case.pacing()
    assert pacing.may_act(robot, 0.0)
    assert pacing.backlog(robot) == REAL_TIME_BACKLOG
    assert pacing.backlog(Robot()) is None


def test_the_run_ends_with_exactly_its_steps():
    case = Case(Pace(max_in_flight=16), learning=Learning(steps=998), target=1_000)
    pacing, robot = case.pacing(), case.robots[0]
    for under_way, more in ((0, True), (1, True), (2, False)):
        robot.in_flight = under_way
        assert pacing.wants_more == pacing.holds == pacing.may_act(robot, 0.0) == more
    case.learning.steps, case.learning.owed = 999, 1
    assert not pacing.has_all
    case.learning.steps = 1_000
    assert pacing.has_all
    assert not pacing.is_done
    case.learning.owed = 0
    assert pacing.is_done


def test_robots_stay_together_unless_one_is_silent():
    robots = [Robot(0), Robot(1)]
    pacing = Case(Pace(max_lead=3), robots).pacing()
    for _ in range(3):
        assert pacing.may_act(robots[0], 1.0)
        pacing.begin(robots[0])
    assert not pacing.may_act(robots[0], 1.0)
    assert pacing.may_act(robots[1], 1.0)
    later = PATIENCE_S + 1.0
    pacing.hear(robots[0], later)
    assert pacing.may_act(robots[0], later)


def test_the_alignment_is_waited_for_and_that_is_said():
    case = Case(Pace(alignment_lead=220, alignment='alignment_node'))
    pacing, robot = case.pacing(), case.robots[0]
    robot.alignment_lead = 219
    assert pacing.may_act(robot, 0.0)
    assert pacing.find_waits() == []
    robot.alignment_lead = 220
    assert not pacing.may_act(robot, 0.0)
    (wait,) = pacing.find_waits()
    assert wait == ('waiting for alignment_node: 220 observations behind', None)
    robot.todo = None  # it is not for the alignment that nothing happens
    assert pacing.find_waits() == []


@pytest.mark.parametrize('lockstep', [True, False])
@pytest.mark.parametrize('deterministic', [False, True])
def test_a_policy_that_sees_waits_until_it_does(deterministic, lockstep):
    robot = Robot(lockstep=lockstep, blind=True)
    case = Case(Pace(deterministic), [robot], target=0)
    pacing = case.pacing()
    assert not pacing.may_act(robot, 0.0)
    assert not pacing.must_foresee(robot)
    robot.blind = False
    assert pacing.must_foresee(robot) == deterministic
    pacing.target = 10
    assert pacing.may_act(robot, 0.0)


@pytest.mark.parametrize('scores', [False, True])
@pytest.mark.parametrize('deterministic', [False, True])
def test_a_silent_robot_is_asked_for_a_new_episode_unless_bit_for_bit(deterministic, scores):
    robot = Robot(name='sim_3', silent_for=30.0, waits_for_scores=scores)
    pacing = Case(Pace(deterministic, stall_timeout=30.0), [robot]).pacing()
    assert pacing.find_waits() == []
    robot.silent_for = 31.4
    (wait,) = pacing.find_waits()
    who = 'the reward node' if scores else 'sim_3'
    what = 'waiting' if deterministic else 'asking sim_3 for a new episode'
    assert wait.text == f'nothing heard of {who} for 31 s: {what}'
    assert wait.robot is (None if deterministic else robot)


@pytest.mark.parametrize('lockstep', [True, False])
def test_an_episode_of_a_robot_in_real_time_may_wait_for_a_person(lockstep):
    robot = Robot(name='arm', lockstep=lockstep, resetting=True, silent_for=600.0)
    pacing = Case(Pace(stall_timeout=30.0), [robot]).pacing()
    assert [wait.robot for wait in pacing.find_waits()] == ([robot] if lockstep else [])
    # Once it goes on, its observations must come.
    robot.resetting = False
    assert [wait.robot for wait in pacing.find_waits()] == [robot]


class TestBitForBit:
    """One order of events, also across the end of a run."""

    def case(self, **values):
        return Case(Pace(deterministic=True), **values)

    def test_a_step_is_learned_from_before_the_one_after_the_next_begins(self):
        case = self.case()
        pacing, robot = case.pacing(), case.robots[0]
        robot.in_flight = 1
        assert pacing.may_act(robot, 0.0)
        case.learning.owed = 1
        assert not pacing.may_act(robot, 0.0)
        case.learning.owed, robot.in_flight = 0, 2
        assert not pacing.may_act(robot, 0.0)

    def test_the_action_after_the_end_is_chosen_before_the_last_step_is_taken_in(self):
        case = self.case(learning=Learning(steps=999), target=1_000)
        pacing, robot = case.pacing(), case.robots[0]
        robot.in_flight = 1
        assert not pacing.may_act(robot, 0.0)
        assert pacing.must_foresee(robot)
        assert pacing.holds
        case.learning.owed = 1
        assert not pacing.must_foresee(robot)
        pacing.foreseen = True
        assert not pacing.holds

    def test_an_episode_that_is_played_again(self):
        case = self.case(learning=Learning(steps=999), target=1_000)
        pacing, robot = case.pacing(), case.robots[0]
        actions = list(np.arange(6.0, dtype=np.float32).reshape(3, 2))
        pacing.play_again(actions, known=2)
        assert [pacing.is_known(step) for step in (1, 2, 3)] == [True, True, False]
        # Steps that are known take nobody's place, and nothing is chosen meanwhile.
        robot.in_flight = 1
        assert not pacing.holds
        assert not pacing.must_foresee(robot)
        done = []
        while pacing.plays_again:
            done.append(pacing.next_again())
        np.testing.assert_array_equal(done, actions)
        pacing.begin_episode()
        assert not pacing.is_known(1)


def test_what_is_due_comes_once_at_each_multiple_but_not_at_the_end():
    due = Due(100, steps=250)
    assert not due.has_come(299, target=1_000)
    assert due.has_come(301, target=1_000)
    due.done(301)
    assert not due.has_come(399, target=1_000)
    assert due.has_come(400, target=1_000)
    assert not due.has_come(400, target=400)
    assert not Due(0, steps=0).has_come(10**9, target=10**10)
