# SPDX-License-Identifier: Apache-2.0
"""The stand-in arm: it goes where it is told, within its limits, and stops to protect itself."""

import numpy as np
import pytest
from mock_arm_support import lead, make_arm, run

from sim.mock_arm.arm import GRIPPER_CLOSED, HOME
from sim.mock_arm.controllers import (
    BASE_FRAME,
    GRIPPER_JOINT,
    TOOL_FRAME,
    Point,
    RefusedError,
)
from sim.mock_arm.scene import BLOCK_PLACE, HANDLE, JOINTS

NEAR = 0.02  # rad
AWAY = np.add(HOME, [0.3, 0.2, -0.3, 0.2, 0.1, -0.3])


def missed(arm, goal):
    """How far the worst joint is from a goal, rad."""
    return np.abs(arm.positions - goal).max()


def test_it_stays_at_home_without_commands():
    arm = make_arm()
    run(arm, 1.0)
    assert missed(arm, HOME) < 0.001
    assert arm.program_running
    assert arm.block_pose.position == pytest.approx([*BLOCK_PLACE, 0.02], abs=0.001)
    assert arm.slider_position == pytest.approx(0.1, abs=0.001)


def test_position_commands_are_reached_and_stay():
    arm = make_arm()
    arm.command_positions(AWAY)
    run(arm, 1.0)
    assert missed(arm, AWAY) < NEAR
    run(arm, 3.0)
    assert missed(arm, AWAY) < NEAR
    assert np.abs(arm.velocities).max() < 0.001


@pytest.mark.parametrize('gripper', [False, True])
def test_a_trajectory_is_followed_in_any_order_of_joints(gripper):
    arm = make_arm()
    names = [*reversed(JOINTS), *[GRIPPER_JOINT] * gripper]
    half = [*((AWAY + HOME) / 2)[::-1], *[0.2] * gripper]
    whole = [*AWAY[::-1], *[0.4] * gripper]
    arm.command_trajectory(names, [Point(0.5, half), Point(1.0, whole)], None)
    run(arm, 0.5)
    assert missed(arm, (AWAY + HOME) / 2) < NEAR
    run(arm, 1.0)
    assert missed(arm, AWAY) < 0.002
    assert arm.gripper_position == pytest.approx(0.4 if gripper else 0.0, abs=0.02)


def test_a_trajectory_may_start_later_and_a_new_one_replaces_it():
    arm = make_arm()
    arm.command_trajectory(JOINTS, [Point(1.0, HOME), Point(2.0, AWAY)], 0.5)
    run(arm, 1.5)
    assert missed(arm, HOME) < NEAR
    run(arm, 0.5)
    assert missed(arm, (AWAY + HOME) / 2) < NEAR
    arm.command_trajectory(JOINTS, [Point(0.5, HOME)], None)
    run(arm, 1.0)
    assert missed(arm, HOME) < NEAR


def test_the_newest_command_wins():
    arm = make_arm()
    arm.command_trajectory(JOINTS, [Point(2.0, AWAY)], None)
    run(arm, 0.2)
    arm.command_velocities([0.0] * 6)
    run(arm, 0.5)
    here = arm.positions
    run(arm, 2.0)
    assert missed(arm, here) < 0.001
    assert missed(arm, AWAY) > 0.1


def test_velocities_are_kept_until_the_drivers_timeout():
    arm = make_arm(command_timeout=0.3)
    arm.command_velocities([0.5, 0, 0, 0, 0, 0])
    run(arm, 0.25)
    assert arm.velocities[0] == pytest.approx(0.5, abs=0.03)
    run(arm, 0.15)
    assert np.abs(arm.velocities).max() < 0.05
    run(arm, 0.2)
    assert np.abs(arm.velocities).max() < 0.005
    assert arm.positions[0] - HOME[0] == pytest.approx(0.5 * 0.3, abs=0.02)
    assert arm.program_running


def test_without_a_timeout_the_last_velocities_stay():
    arm = make_arm(command_timeout=0.0)
    arm.command_velocities([0.2, 0, 0, 0, 0, 0])
    run(arm, 2.0)
    assert arm.velocities[0] == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    ('frame', 'twist', 'expected'),
    [
        (BASE_FRAME, [0.25, 0, 0], [0.1, 0, 0]),
        (BASE_FRAME, [0, -0.25, 0.25], [0, -0.1, 0.1]),
        # The flange's z points down, out of the gripper.
        (TOOL_FRAME, [0, 0, 0.25], [0, 0, -0.1]),
        (TOOL_FRAME, [0.25, 0, 0], [0, -0.1, 0]),
    ],
)
def test_a_twist_moves_the_tool_along_the_axes_of_its_frame(frame, twist, expected):
    arm = make_arm()
    before = arm.tool_pose
    for _ in range(50):
        arm.command_twist(frame, [*twist, 0, 0, 0], age=0.0)
        run(arm, 0.02)
    moved = arm.tool_pose.position - before.position
    np.testing.assert_allclose(moved, expected, atol=0.01)
    assert abs(arm.tool_pose.quaternion @ before.quaternion) > 0.9999
    # No twist comes any more: it halts within the time-out and a smooth end.
    run(arm, 0.1 + 0.15)
    assert np.abs(arm.velocities).max() < 0.01


def test_an_angular_twist_turns_the_tool_where_it_is():
    arm = make_arm()
    before = arm.tool_pose
    for _ in range(50):
        arm.command_twist(BASE_FRAME, [0, 0, 0, 0, 0, 0.5], age=0.0)
        run(arm, 0.02)
    angle = 2 * np.arccos(min(1.0, abs(arm.tool_pose.quaternion @ before.quaternion)))
    assert angle == pytest.approx(0.5 * 0.8, abs=0.03)
    np.testing.assert_allclose(arm.tool_pose.position, before.position, atol=0.01)


def test_servo_refuses_what_is_stale_or_has_no_frame_or_comes_while_it_is_paused():
    arm = make_arm()
    twist = [0.5, 0, 0, 0, 0, 0]
    for frame, values, age, reason in (
        (BASE_FRAME, twist, 0.11, 'stamp is 0.110 s old; accepted: at most 0.1'),
        (BASE_FRAME, twist, 1.7e9, 'stamp'),
        ('', twist, 0.0, "frame_id is ''; accepted: base_link, tool0"),
        ('world', twist, 0.0, 'frame_id'),
        (BASE_FRAME, [np.nan] * 6, 0.0, 'finite'),
    ):
        with pytest.raises(RefusedError, match=reason):
            arm.command_twist(frame, values, age)
    arm.command_twist(BASE_FRAME, twist, 0.0)
    run(arm, 0.06)
    arm.pause_servo(True)
    with pytest.raises(RefusedError, match='paused'):
        arm.command_twist(BASE_FRAME, twist, 0.0)
    run(arm, 0.2)
    assert np.abs(arm.velocities).max() < 0.01
    arm.pause_servo(False)
    arm.command_twist(BASE_FRAME, twist, 0.0)


@pytest.mark.parametrize('values', [[0.1] * 5, [0.1] * 7, [], [np.nan] * 6, [np.inf] * 6])
def test_commands_of_a_wrong_size_or_not_finite_are_refused(values):
    arm = make_arm()
    for command in (arm.command_positions, arm.command_velocities, arm.command_gripper):
        with pytest.raises(RefusedError, match='accepted'):
            command(values)
    run(arm, 0.2)
    assert missed(arm, HOME) < 0.001


def test_the_gripper_opens_and_closes_within_its_range():
    arm = make_arm()
    arm.command_gripper([7.0])
    run(arm, 1.0)
    assert arm.gripper_position == pytest.approx(GRIPPER_CLOSED, abs=0.05)
    arm.command_gripper([0.0])
    run(arm, 1.0)
    assert arm.gripper_position == pytest.approx(0.0, abs=0.02)


def test_joints_keep_to_their_speed():
    arm = make_arm(max_joint_velocity=1.0, velocity_margin=0.5, path_margin=3.0)
    arm.command_velocities([1.4, 0, 0, 0, 0, 0])
    run(arm, 0.4)
    assert arm.program_running
    assert arm.velocities[0] == pytest.approx(1.0, abs=0.05)
    arm.command_positions([*(np.array(HOME)[:1] - 1.0), *HOME[1:]])
    fastest = 0.0
    for _ in range(1000):
        arm.step()
        fastest = max(fastest, np.abs(arm.velocities).max())
    assert 0.9 < fastest < 1.1
    assert arm.positions[0] == pytest.approx(HOME[0] - 1.0, abs=NEAR)


def test_joints_keep_to_their_ends():
    arm = make_arm(path_margin=10.0, position_margin=0.2)
    end = 2 * np.pi
    arm.command_positions([*HOME[:5], end + 0.1])
    run(arm, 4.0)
    assert arm.program_running
    assert arm.positions[5] == pytest.approx(end, abs=NEAR)
    arm.command_velocities([0, 0, 0, 0, 0, 0.5])
    run(arm, 0.4)
    assert arm.program_running
    assert arm.positions[5] == pytest.approx(end, abs=NEAR)


@pytest.mark.parametrize(
    'order',
    [
        lambda arm: arm.command_positions([*HOME[:5], HOME[5] + 0.6]),
        lambda arm: arm.command_positions([*HOME[:2], 3.3, *HOME[3:]]),
        lambda arm: arm.command_velocities([5.0, 0, 0, 0, 0, 0]),
        lambda arm: arm.command_trajectory(JOINTS, [Point(0.02, AWAY)], None),
    ],
    ids=['far', 'beyond the end', 'fast', 'fast trajectory'],
)
def test_commands_beyond_the_margins_are_a_protective_stop(order):
    arm = make_arm()
    order(arm)
    run(arm, 0.5)
    assert arm.protective_stop
    assert not arm.program_running
    assert missed(arm, HOME) < 0.1


def test_a_collision_is_a_protective_stop_until_unlocked_and_resent():
    arm = make_arm(unlock_delay=0.5)
    down = [0, 0, -0.5, 0, 0, 0]
    for _ in range(200):
        arm.command_twist(BASE_FRAME, down, 0.0)
        run(arm, 0.02)
        if not arm.program_running:
            break
    with pytest.raises(RefusedError, match=r'no program runs \(protective stop: a force of'):
        arm.command_twist(BASE_FRAME, down, 0.0)
    assert -0.01 < arm.tool_pose.position[2] < 0.05
    with pytest.raises(RefusedError, match='protective stop'):
        arm.resend_program()
    with pytest.raises(RefusedError, match=r'after 0.5 s'):
        arm.unlock()
    run(arm, 0.5)
    here = arm.positions
    run(arm, 1.0)
    assert missed(arm, here) < 0.001
    arm.unlock()
    assert not arm.program_running
    with pytest.raises(RefusedError, match='no program runs'):
        arm.home()
    arm.resend_program()
    assert arm.program_running
    run(arm, 0.2)
    assert missed(arm, here) < 0.01
    seconds = arm.home()
    run(arm, seconds + 0.3)
    assert missed(arm, HOME) < NEAR


def test_a_stopped_program_takes_nothing_until_it_is_sent_again():
    arm = make_arm()
    arm.command_velocities([0.5, 0, 0, 0, 0, 0])
    run(arm, 0.2)
    arm.stop()
    run(arm, 0.3)
    here = arm.positions
    with pytest.raises(RefusedError, match=r'no program runs$'):
        arm.command_positions(HOME)
    arm.resend_program()
    run(arm, 1.0)
    assert missed(arm, here) < 0.001
    arm.command_positions(HOME)
    run(arm, 1.0)
    assert missed(arm, HOME) < NEAR


def test_the_slider_is_pushed_shut_and_pulled_open():
    arm = make_arm(slider_start=0.1)
    x, y, z = HANDLE
    arm.command_gripper([GRIPPER_CLOSED])
    lead(arm, (x - 0.16, y, 0.2))
    lead(arm, (x - 0.16, y, z - 0.02))
    lead(arm, (x - 0.04, y, z - 0.02), speed=0.1)
    assert arm.slider_position < 0.05
    assert arm.program_running
    lead(arm, (x - 0.16, y, 0.2))
    arm.command_gripper([0.0])
    closed = arm.slider_position
    lead(arm, (x - closed, y, 0.2))
    lead(arm, (x - closed, y, z - 0.02))
    arm.command_gripper([GRIPPER_CLOSED])
    run(arm, 1.0)
    lead(arm, (x - 0.12, y, z - 0.02), speed=0.1)
    assert arm.slider_position > 0.1
    assert arm.program_running


def test_the_block_is_lifted():
    arm = make_arm()
    x, y = BLOCK_PLACE
    lead(arm, (x, y, 0.1))
    lead(arm, (x, y, 0.015))
    arm.command_gripper([GRIPPER_CLOSED])
    run(arm, 1.0)
    lead(arm, (x - 0.1, y, 0.15))
    assert arm.block_pose.position == pytest.approx([x - 0.1, y, 0.15], abs=0.02)
    assert arm.program_running


def test_the_scene_is_put_back_a_little_elsewhere_from_a_seed():
    def scenes(seed):
        arm = make_arm(seed=seed, block_spread=0.03, slider_spread=0.02)
        found = []
        for _ in range(3):
            run(arm, 0.2)
            found.append((*arm.block_pose.position[:2], arm.slider_position))
            arm.reset_scene()
        return np.array(found)

    first = scenes(1)
    np.testing.assert_array_equal(first, scenes(1))
    assert not np.allclose(first, scenes(2))
    assert len(np.unique(first[:, 0])) == 3
    assert np.abs(first - [*BLOCK_PLACE, 0.1]).max() < 0.032
