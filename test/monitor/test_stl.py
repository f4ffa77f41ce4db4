# SPDX-License-Identifier: Apache-2.0
"""Meshes as files, read by a library that others use."""

import numpy as np
import pytest

from furl_ros.monitor.stl import write_stl


def test_another_reader_finds_the_same_mesh(tmp_path):
    trimesh = pytest.importorskip('trimesh')
    corners = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.2, 0], [0, 0, 0.3]], np.float32)
    triangles = corners[[[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]]
    write_stl(tmp_path / 'wedge.stl', triangles)
    mesh = trimesh.load(tmp_path / 'wedge.stl')
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(0.1 * 0.2 * 0.3 / 6)
    np.testing.assert_allclose(mesh.face_normals[0], [0, 0, -1])
    assert [path.name for path in tmp_path.iterdir()] == ['wedge.stl']


def test_a_triangle_without_area_has_no_normal(tmp_path):
    write_stl(tmp_path / 'dot.stl', np.zeros((1, 3, 3)))
    assert (tmp_path / 'dot.stl').stat().st_size == 84 + 50
