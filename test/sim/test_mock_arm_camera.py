# SPDX-License-Identifier: Apache-2.0
"""The camera of the stand-in arm: what it shows is where it is, and few faces look like many."""

import mujoco
import numpy as np
import pytest
from mock_arm_support import make_arm

from sim.mock_arm.camera import Camera
from sim.mock_arm.meshes import merge_vertices
from sim.mock_arm.scene import CAMERA


@pytest.fixture(scope='module')
def arm():
    return make_arm()


@pytest.fixture(scope='module')
def camera(arm):
    camera = Camera(arm.model, 320, 240)
    yield camera
    camera.close()


def red_pixel(picture):
    """Middle of what is red: the block."""
    red, green, blue = np.moveaxis(picture.astype(int), -1, 0)
    rows, columns = np.nonzero((red > 80) & (red > 3 * green) & (red > 3 * blue))
    assert len(rows) > 20
    return np.array([columns.mean(), rows.mean()])


@pytest.mark.parametrize('place', [(0.45, 0.15), (0.35, -0.05), (0.5, 0.2)])
def test_the_block_is_seen_where_the_lens_says(arm, camera, place):
    state = arm.pose_of_all()
    start = arm.model.joint('block').qposadr[0]
    state[start : start + 2] = place
    picture = camera.picture(state)
    assert picture.dtype == np.uint8
    assert picture.shape == (240, 320, 3)
    data = mujoco.MjData(arm.model)
    data.qpos[:] = state
    mujoco.mj_forward(arm.model, data)
    rotation = data.camera(CAMERA).xmat.reshape(3, 3)
    x, y, z = rotation.T @ (data.body('block').xpos - data.camera(CAMERA).xpos)
    lens = camera.lens
    expected = [lens.cx + lens.focal * x / -z, lens.cy - lens.focal * y / -z]
    np.testing.assert_allclose(red_pixel(picture), expected, atol=3)


def test_pictures_are_not_shared_and_the_physics_is_not_touched(arm, camera):
    state = arm.pose_of_all()
    first = camera.picture(state)
    kept = first.copy()
    moved = state.copy()
    moved[arm.model.joint('slider').qposadr[0]] = 0.0
    second = camera.picture(moved)
    assert (first != second).any()
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(arm.pose_of_all(), state)


def test_near_vertices_are_merged_and_flat_faces_dropped():
    vertices = np.array([[0.001, 0, 0], [0.002, 0, 0], [1.0, 0, 0], [0, 1.0, 0]])
    faces = np.array([[0, 2, 3], [1, 2, 3], [0, 1, 2]])
    merged, left = merge_vertices(vertices, faces, 0.01)
    assert len(merged) == 3
    assert left.shape == (1, 3)
    corners = {tuple(np.round(corner, 4)) for corner in merged[left[0]]}
    assert corners == {(0.0015, 0, 0), (1, 0, 0), (0, 1, 0)}
