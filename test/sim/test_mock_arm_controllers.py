# SPDX-License-Identifier: Apache-2.0
"""Trajectories: the rules of joint_trajectory_controller, and what lies between the points."""

import numpy as np
import pytest

from sim.mock_arm.controllers import GRIPPER_JOINT, Point, RefusedError, Trajectory
from sim.mock_arm.scene import JOINTS

HERE, STILL = np.linspace(0.0, 0.6, 7), np.zeros(7)
THERE = tuple(HERE[:6] + 1.0)
ZEROS = (0.0,) * 6


def make(points, names=JOINTS, start_in=None, velocities=STILL):
    """A trajectory from HERE, at time 10."""
    return Trajectory(names, points, 10.0, start_in, HERE, velocities)


@pytest.mark.parametrize(
    ('arguments', 'reason'),
    [
        ({'points': []}, 'it has no points'),
        ({'points': [Point(1, THERE)], 'names': JOINTS[:5]}, 'its joints are'),
        ({'points': [Point(1, THERE)], 'names': [*JOINTS[:5], JOINTS[0]]}, 'its joints are'),
        ({'points': [Point(1, THERE)], 'names': [*JOINTS[:5], 'elbow']}, 'its joints are'),
        ({'points': [Point(1, (0.5,))], 'names': [GRIPPER_JOINT]}, 'its joints are'),
        ({'points': [Point(1, THERE[:5])]}, 'it has 5 values; accepted: 6'),
        ({'points': [Point(1, ())]}, 'it has 0 values'),
        ({'points': [Point(1, THERE, (0.0,))]}, 'it has 1 values'),
        ({'points': [Point(1, (np.nan,) * 6)]}, 'finite'),
        ({'points': [Point(1, THERE), Point(1, THERE)]}, 'time of point 1'),
        ({'points': [Point(2, THERE), Point(1, THERE)]}, 'time of point 1'),
        ({'points': [Point(-1, THERE)]}, 'time of point 0'),
        ({'points': [Point(1, THERE, (0.1,) * 6)]}, 'the last velocities'),
        ({'points': [Point(1, THERE, effort=ZEROS)]}, 'point 0 has efforts'),
        ({'points': [Point(1, THERE)], 'start_in': -2.0}, 'it ends in the past'),
    ],
)
def test_what_breaks_a_rule_is_refused(arguments, reason):
    with pytest.raises(RefusedError, match=reason):
        make(**arguments)


def test_positions_alone_are_joined_by_lines():
    motion = make([Point(2, THERE)]).at(10.5)
    np.testing.assert_allclose(motion.positions, HERE[:6] + 0.25)
    np.testing.assert_allclose(motion.velocities, 0.5)
    assert motion.gripper is None


def test_velocities_make_it_cubic_and_accelerations_quintic():
    cubic = make([Point(2, THERE, ZEROS)])
    np.testing.assert_allclose(cubic.at(10.0).velocities, 0.0)
    # 3 s^2 - 2 s^3 at a quarter of the way.
    np.testing.assert_allclose(cubic.at(10.5).positions - HERE[:6], 3 / 16 - 2 / 64)
    quintic = make([Point(2, THERE, ZEROS, ZEROS)])
    np.testing.assert_allclose(
        quintic.at(10.5).positions - HERE[:6], 10 / 4**3 - 15 / 4**4 + 6 / 4**5
    )
    moving = make([Point(2, THERE, ZEROS)], velocities=np.full(7, 0.3))
    np.testing.assert_allclose(moving.at(10.0).velocities, 0.3)


def test_it_ends_at_the_last_point():
    trajectory = make([Point(1, THERE), Point(2, (0.0,) * 6, ZEROS)])
    for time in (12.0, 1e6):
        np.testing.assert_array_equal(trajectory.at(time).positions, 0.0)
        np.testing.assert_array_equal(trajectory.at(time).velocities, 0.0)


def test_the_gripper_may_be_one_of_the_joints():
    trajectory = make([Point(1, (0.7, *THERE))], names=(GRIPPER_JOINT, *JOINTS))
    np.testing.assert_allclose(trajectory.at(11).positions, THERE)
    assert trajectory.at(11).gripper == pytest.approx(0.7)
    assert trajectory.at(10.5).gripper == pytest.approx((0.7 + HERE[6]) / 2)


def test_points_of_the_past_are_left_out():
    points = [Point(1, (9.0,) * 6), Point(2, (5.0,) * 6), Point(4, (7.0,) * 6)]
    trajectory = make(points, start_in=-3.0)
    np.testing.assert_allclose(trajectory.at(10.5).positions, (5.0 + 7.0) / 2)


def test_a_single_point_for_now_is_gone_to_at_once():
    np.testing.assert_array_equal(make([Point(0, THERE)]).at(10.0).positions, THERE)
