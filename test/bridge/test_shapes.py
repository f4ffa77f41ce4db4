# SPDX-License-Identifier: Apache-2.0
"""Markers of a scene as shapes, their poses as arrays."""

import numpy as np
import pytest
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker

from furl_ros.bridge.shapes import from_marker, from_poses
from furl_ros.monitor.web_page import BOX, MESH


def marker(**fields):
    """A marker that can be shown, but for these fields."""
    usual = {
        'type': Marker.CUBE,
        'scale': Vector3(x=1.0, y=2.0, z=3.0),
        'color': ColorRGBA(r=1.0, g=0.5, b=0.0, a=0.25),
    }
    return Marker(**usual | fields)


def test_a_box():
    shape = from_marker(marker())
    assert shape == (BOX, (1.0, 2.0, 3.0), (255, 128, 0), 0.25, None)


def test_a_mesh():
    corners = np.arange(18.0).reshape(2, 3, 3)
    points = [Point(x=x, y=y, z=z) for x, y, z in corners.reshape(-1, 3)]
    shape = from_marker(marker(type=Marker.TRIANGLE_LIST, points=points))
    assert shape.kind == MESH
    np.testing.assert_array_equal(shape.triangles, corners)


@pytest.mark.parametrize(
    'fields',
    [
        {'type': Marker.ARROW},
        {'type': Marker.TRIANGLE_LIST},
        {'type': Marker.TRIANGLE_LIST, 'points': [Point()] * 4},
        {'type': Marker.TRIANGLE_LIST, 'points': [Point(x=float('nan'))] * 3},
        {'scale': Vector3(x=float('inf'))},
        {'color': ColorRGBA(a=float('nan'))},
    ],
)
def test_what_is_no_shape_is_refused(fields):
    with pytest.raises(ValueError, match=r'marker of type|accepted: three|not finite'):
        from_marker(marker(**fields))


def test_poses():
    pose = Pose(position=Point(x=1.0, y=2.0, z=3.0), orientation=Quaternion(w=0.5, z=-0.5))
    np.testing.assert_array_equal(from_poses([pose]), [[1, 2, 3, 0.5, 0, 0, -0.5]])
    assert from_poses([]).shape == (0, 7)
    pose.position.x = float('nan')
    with pytest.raises(ValueError, match='not finite'):
        from_poses([pose])
