# SPDX-License-Identifier: Apache-2.0
"""No command leaves that goes too far, too fast or nowhere."""

import math

import numpy as np
import pytest
from arm_support import BOX, GRIPPER, TWIST, robot
from hypothesis import given
from hypothesis import strategies as st

from furl_ros.core.arm.action import ActionMap, Command
from furl_ros.core.arm.limits import ArmState, Limits

POSITIONS = robot({'gripper': GRIPPER})
VELOCITIES = robot({'command.kind': 'joint_velocities', 'command.max_step': 10})
SERVO = robot({'command': {**TWIST, 'max_step': 10}, 'workspace': BOX})
HERE = np.array([0.5, -0.25, 1.0])
PERIOD = 0.05
LOWER, UPPER = np.array([-1.9, -1.9, 0.1]), np.array([1.9, 0.9, 2.9])
SLACK = 1e-9


def command(values, reference=(0, 0, 0), gripper=None):
    return Command(np.array(values, float), np.array(reference, float), gripper)


def at(positions, tool=None):
    return ArmState(np.array(positions, float), None if tool is None else np.array(tool, float))


def moved(*way):
    return HERE + np.array(way)


def follow(profile, wanted, steps, start=HERE, pose_of=None):
    """Positions that an ideal arm goes through which is asked for one command again and again."""
    limits, positions, now = Limits(profile, pose_of), np.array(start, float), 0.0
    way = [positions]
    for _ in range(steps):
        limited = limits.apply(command(wanted), at(positions), now)
        assert not limited.stop
        values, now = limited.command.values, now + PERIOD
        velocities = profile.command.kind == 'joint_velocities'
        positions = positions + values * PERIOD if velocities else values
        way.append(positions)
    return np.array(way)


def check_way(way):
    """Within position, velocity and acceleration."""
    assert (way >= np.minimum(LOWER, way[0]) - SLACK).all()
    assert (way <= np.maximum(UPPER, way[0]) + SLACK).all()
    velocity = np.diff(way, axis=0, prepend=way[:1]) / PERIOD
    assert (np.abs(velocity) <= 1 + SLACK).all()
    assert (np.abs(np.diff(velocity, axis=0)) / PERIOD <= 4 + 1e-6).all()


def test_a_command_within_all_limits_is_carried_out_to_the_last_bit():
    wanted = moved(0.007, -0.003, 0.0)
    limited = Limits(POSITIONS).apply(command(wanted, HERE, 0.03), at(HERE), 0.0)
    assert limited.cut == ()
    assert limited.stop == ''
    np.testing.assert_array_equal(limited.command.values, wanted)
    assert limited.command.gripper == 0.03


@pytest.mark.parametrize('profile', [POSITIONS, VELOCITIES])
@pytest.mark.parametrize('wanted', [[9, 9, 9], [-9, -9, -9], [9, -9, 2]])
def test_an_arm_goes_to_its_limits_and_brakes_in_time(profile, wanted):
    way = follow(profile, wanted, 120)
    check_way(way)
    expected = np.where(np.array(wanted) > 0, UPPER, LOWER)
    expected[2] = 2.0 if wanted[2] == 2 and profile is POSITIONS else expected[2]
    np.testing.assert_allclose(way[-1], expected, atol=1e-2)


def test_the_limits_say_which_of_them_cut():
    limits = Limits(POSITIONS)
    limited = limits.apply(command(moved(0.1, 0, 0), HERE), at(HERE), 0.0)
    assert limited.cut == ('velocity', 'acceleration')
    limited = limits.apply(command(moved(0.3, 0, 0), HERE), at(HERE), 0.05)
    assert 'step' in limited.cut
    edge = np.array([1.9, 0, 1])
    assert Limits(POSITIONS).apply(command([1.905, 0, 1]), at(edge), 0).cut == ('position',)
    too_open = command(HERE, HERE, gripper=1.0)
    limited = Limits(POSITIONS).apply(too_open, at(HERE), 0.0)
    assert (limited.cut, limited.command.gripper) == (('position',), 0.08)


def test_an_arm_that_is_held_does_not_wind_up():
    limits = Limits(POSITIONS)
    for now in range(40):
        limited = limits.apply(command(moved(1, 0, 0), HERE), at(HERE), now)
    assert limited.command.values[0] - HERE[0] == pytest.approx(0.2)
    assert 'step' in limited.cut


def test_steps_add_up_from_what_was_commanded_and_not_from_what_sags():
    limits, actions = Limits(POSITIONS), ActionMap(POSITIONS)
    target = HERE
    for now in range(20):
        sagging = at(target - np.array([0, 0.05, 0]))
        asked = actions.command(np.zeros(4), limits.reference(sagging if now else at(HERE)))
        limited = limits.apply(asked, sagging if now else at(HERE), now * PERIOD)
        target = limited.command.values
    np.testing.assert_array_equal(target, HERE)


def test_a_joint_beyond_its_limits_stays_or_comes_back_but_goes_no_further():
    beyond = np.array([1.95, 0, 1])
    for profile in (POSITIONS, VELOCITIES):
        for wanted in ([9, 0, 1], [1.95, 0, 1]):
            way = follow(profile, wanted, 20, start=beyond)
            assert (way[:, 0] <= 1.95).all()
        assert follow(profile, [-9, 0, 1], 20, start=beyond)[-1, 0] < 1.9


def test_who_sends_too_often_is_not_faster():
    limits = Limits(POSITIONS)
    positions, now = HERE, 0.0
    for _ in range(200):
        limited = limits.apply(command([-1.5, 0, 1]), at(positions), now)
        positions, now = limited.command.values, now + PERIOD / 10
    assert HERE[0] - positions[0] <= 1.0 * now + 2 * PERIOD


def test_a_timer_that_trembles_costs_nothing():
    limits, positions, now = Limits(POSITIONS), HERE, 0.0
    for turn in range(6):  # up to full speed
        limited = limits.apply(command([1.9, 0, 1]), at(positions), turn * PERIOD)
        positions = limited.command.values
    for late in (0.3, -0.3, 0.2, -0.2):
        turn += 1
        now = (turn + late) * PERIOD
        limited = limits.apply(command(positions + np.array([0.05, 0, 0])), at(positions), now)
        np.testing.assert_allclose(limited.command.values[0], positions[0] + 0.05)
        positions = limited.command.values


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf, 1e300])
@pytest.mark.parametrize('profile', [POSITIONS, VELOCITIES, SERVO])
def test_what_is_not_finite_becomes_a_stop(bad, profile):
    limits, tool = Limits(profile), [0, 0, 0.5]
    is_position = profile is POSITIONS
    expected = HERE if is_position else np.zeros(3)
    sound = command(HERE if is_position else np.zeros(3))
    for broken, state, now in [
        (command([0, bad, 0]), at(HERE, tool), 0.0),
        (command([0, 0, 0], [0, bad, 0]), at(HERE, tool), 0.0),
        (command([0, 0, 0], gripper=bad), at(HERE, tool), 0.0),
        (command([0, 0]), at(HERE, tool), 0.0),
    ]:
        limited = limits.apply(broken, state, now)
        assert limited.cut == ('not finite',)
        assert limited.stop.endswith('not finite')
        np.testing.assert_array_equal(limited.command.values, expected)
    limited = limits.apply(sound, at([0, bad, 0], tool), 0.0)
    assert limited.stop == 'the measured positions are not finite'
    np.testing.assert_array_equal(limited.command.values, expected)


def test_a_time_that_is_none_becomes_a_stop():
    assert Limits(POSITIONS).apply(command(HERE), at(HERE), math.nan).stop == (
        'the time is not finite'
    )


def test_without_any_position_nothing_is_sent():
    limited = Limits(POSITIONS).apply(command(HERE), at([math.nan] * 3), 0.0)
    assert limited.command is None
    assert limited.stop


def test_to_hold_is_to_stay_here():
    limits = Limits(POSITIONS)
    limits.apply(command(moved(0.005, 0, 0), HERE, 0.02), at(HERE), 0.0)
    held = limits.hold(at(HERE + 0.1))
    np.testing.assert_array_equal(held.values, HERE + 0.1)
    assert held.gripper == 0.02
    assert not Limits(VELOCITIES).hold(at(HERE)).values.any()
    assert not Limits(SERVO).hold(at(HERE)).values.any()


def test_while_it_holds_it_does_not_sag_and_gives_way_to_a_push():
    limits = Limits(POSITIONS)
    limits.hold(at(HERE))
    np.testing.assert_array_equal(limits.hold(at(HERE - 0.05)).values, HERE)
    np.testing.assert_allclose(limits.hold(at(HERE - 0.5)).values, HERE - 0.3)


def test_a_restart_forgets_where_it_was():
    limits = Limits(POSITIONS)
    limits.apply(command(HERE), at(HERE), 0.0)
    limits.restart()
    np.testing.assert_array_equal(limits.reference(at([0, 0, 1])), [0, 0, 1])


def servo(tool, twist, margin=0.1):
    profile = robot({'command': {**TWIST, 'max_step': 10}, 'workspace': {**BOX, 'margin': margin}})
    return Limits(profile).apply(command(twist), at(HERE, tool), 0.0)


def test_a_twist_becomes_slower_before_a_wall_and_stops_at_it():
    speeds = [servo([x, 0, 0.5], [0.25, 0.1, 0]).command.values[0] for x in (0.3, 0.45, 0.49, 0.5)]
    np.testing.assert_allclose(speeds, [0.25, 0.125, 0.025, 0], atol=1e-12)
    limited = servo([0.6, 0, 0.5], [0.25, 0.1, 0])
    np.testing.assert_array_equal(limited.command.values, [0, 0.1, 0])
    assert limited.cut == ('workspace',)
    np.testing.assert_array_equal(
        servo([0.6, 0, 0.5], [-0.25, 0.1, 0]).command.values, [-0.25, 0.1, 0]
    )


def test_without_a_margin_a_twist_does_not_pass_the_wall_either():
    assert servo([0.499, 0, 0.5], [0.25, 0, 0], margin=0).command.values[0] == pytest.approx(0.02)


def test_a_twist_changes_by_a_step_at_most():
    limits = Limits(robot({'command': TWIST}))
    limited = limits.apply(command([0.25, 0, 0]), at(HERE), 0.0)
    np.testing.assert_allclose(limited.command.values, [0.1, 0, 0])
    assert limited.cut == ('step',)


@pytest.mark.parametrize('tool', [None, [0, math.nan, 0]])
def test_a_workspace_without_a_pose_is_a_stop(tool):
    assert servo(tool, [0, 0, 0]).stop == 'the pose of the tool is not known'


def elbow(joints):
    """x, y, z of a tool on three turning joints."""
    pan, lift, bend = joints
    reach = 0.4 * math.cos(lift) + 0.3 * math.cos(lift + bend)
    height = 0.5 + 0.4 * math.sin(lift) + 0.3 * math.sin(lift + bend)
    return np.array([reach * math.cos(pan), reach * math.sin(pan), height])


@pytest.mark.parametrize('kind', ['joint_positions', 'joint_velocities'])
def test_joints_stop_where_the_tool_would_leave_the_workspace(kind):
    profile = robot({'command.kind': kind, 'workspace': BOX})
    start = np.array([0.3, 0.0, 2.0])
    assert 0 < elbow(start)[0] < 0.5
    wanted = [0.3, 0, 0.2] if kind == 'joint_positions' else [0, 0, -0.5]
    way = follow(profile, wanted, 100, start, elbow)
    xs = [elbow(joints)[0] for joints in way]
    assert max(xs) <= 0.5 + SLACK
    assert max(xs) > 0.49
    limited = Limits(profile, elbow).apply(command(wanted), at(way[-1]), 0.0)
    assert limited.cut[-1] == 'workspace'


def test_without_a_model_of_the_arm_a_workspace_is_watched():
    limits = Limits(robot({'workspace': BOX}))
    assert not limits.apply(command(HERE, HERE), at(HERE, [0, 0, 0.5]), 0.0).stop
    limited = limits.apply(command(HERE + 0.005, HERE), at(HERE, [0.6, 0, 0.5]), 0.1)
    assert limited.stop == 'the tool is outside the workspace'
    np.testing.assert_array_equal(limited.command.values, HERE)


def test_a_model_that_knows_no_pose_is_a_stop():
    limits = Limits(robot({'workspace': BOX}), lambda joints: np.full(3, math.nan))
    assert limits.apply(command(HERE), at(HERE), 0.0).stop == 'the pose of the tool is not known'


NUMBERS = st.one_of(st.floats(-4, 4), st.floats())
THREE = st.lists(NUMBERS, min_size=3, max_size=3)
SENSIBLE = st.lists(st.floats(-1.8, 0.8), min_size=3, max_size=3)
TIMES = st.sampled_from([0.0, 0.001, 0.04, 0.05, 0.06, 1.0, -1.0])


@given(steps=st.lists(st.tuples(THREE, st.one_of(THREE, SENSIBLE), TIMES), max_size=15))
def test_whatever_comes_in_what_leaves_is_within_the_limits(steps):
    for profile in (POSITIONS, VELOCITIES, SERVO):
        limits, now = Limits(profile), 0.0
        before = None
        for values, measured, pause in steps:
            now += pause
            state = at(measured, np.array(measured) / 4)
            limited = limits.apply(command(values), state, now)
            if limited.command is None:
                assert (profile, before) == (POSITIONS, None)
                continue
            done = limited.command.values
            assert np.isfinite(done).all()
            if limited.stop:
                assert (
                    np.isfinite(state.positions).all()
                    or profile is not POSITIONS
                    or (done == before).all()
                )
            elif profile is POSITIONS:
                assert (np.abs(done - state.positions) <= 0.2 * (1 + SLACK)).all()
                anchor = state.positions
                if before is not None:
                    anchor = np.clip(before, state.positions - 0.2, state.positions + 0.2)
                assert (np.abs(done - anchor) <= 1.0 * PERIOD + SLACK).all()
                assert (done >= np.minimum(LOWER, anchor) - SLACK).all()
                assert (done <= np.maximum(UPPER, anchor) + SLACK).all()
            else:
                speed = 1.0 if profile is VELOCITIES else 0.25
                assert (np.abs(done) <= speed).all()
            if profile is VELOCITIES and not limited.stop:
                ahead = state.positions + done * PERIOD
                assert (ahead >= np.minimum(LOWER, state.positions) - SLACK).all()
                assert (ahead <= np.maximum(UPPER, state.positions) + SLACK).all()
            if profile is SERVO and not limited.stop:
                ahead = state.tool + done * PERIOD
                assert (ahead >= np.minimum(BOX['low'], state.tool) - SLACK).all()
                assert (ahead <= np.maximum(BOX['high'], state.tool) + SLACK).all()
            before = done


@given(wanted=st.lists(SENSIBLE, min_size=1, max_size=40))
def test_an_arm_that_follows_keeps_to_its_accelerations_too(wanted):
    limits, positions = Limits(POSITIONS), np.array([0, 0, 1.0])
    way = [positions]
    for turn, values in enumerate(wanted):
        # Half of the targets beyond the limits.
        limited = limits.apply(command(np.array(values) * 2), at(positions), turn * PERIOD)
        positions = limited.command.values
        way.append(positions)
    check_way(np.array(way))


@given(step=st.lists(st.floats(-0.0099, 0.0099), min_size=3, max_size=3), start=SENSIBLE)
def test_what_is_inside_passes_unchanged(step, start):
    start = np.array([start[0], start[1], abs(start[2]) + 0.3])
    wanted = start + step
    inside = (wanted > LOWER + 0.05).all() and (wanted < UPPER - 0.05).all()
    limited = Limits(POSITIONS).apply(command(wanted, start), at(start), 0.0)
    if inside:
        assert limited.cut == ()
        np.testing.assert_array_equal(limited.command.values, wanted)
