# SPDX-License-Identifier: Apache-2.0
"""Markers and poses <-> arrays."""

from collections.abc import Iterator, Sequence

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion
from visualization_msgs.msg import Marker

from furl_ros.monitor.web_page import BOX, CYLINDER, MESH, SPHERE, Shape

KINDS = {
    Marker.CUBE: BOX,
    Marker.SPHERE: SPHERE,
    Marker.CYLINDER: CYLINDER,
    Marker.TRIANGLE_LIST: MESH,
}


def from_marker(marker: Marker) -> Shape:
    """The shape of a marker.

    Raises:
        ValueError: it is of another type, or its values do not make a shape.
    """
    if marker.type not in KINDS:
        raise ValueError(f'a marker of type {marker.type}; accepted: {sorted(KINDS)}')
    triangles = None
    if marker.type == Marker.TRIANGLE_LIST:
        if not marker.points or len(marker.points) % 3:
            raise ValueError(f'{len(marker.points)} points; accepted: three for each triangle')
        triangles = np.array([(p.x, p.y, p.z) for p in marker.points]).reshape(-1, 3, 3)
    colour = np.array([marker.color.r, marker.color.g, marker.color.b, marker.color.a])
    size = np.array([marker.scale.x, marker.scale.y, marker.scale.z])
    for values in (colour, size, triangles):
        if values is not None and not np.isfinite(values).all():
            raise ValueError('values that are not finite')
    red, green, blue, alpha = np.clip(colour, 0.0, 1.0).tolist()
    shown = (round(255 * red), round(255 * green), round(255 * blue))
    return Shape(KINDS[marker.type], tuple(size.tolist()), shown, alpha, triangles)


def from_poses(poses: Sequence[Pose]) -> np.ndarray:
    """Position x, y, z and quaternion w, x, y, z of each pose, [poses, 7].

    Raises:
        ValueError: a value is not finite.
    """
    rows = [(p.x, p.y, p.z, q.w, q.x, q.y, q.z) for p, q in _parts(poses)]
    table = np.array(rows, np.float64).reshape(-1, 7)
    if not np.isfinite(table).all():
        raise ValueError('a pose that is not finite')
    return table


def _parts(poses: Sequence[Pose]) -> Iterator[tuple[Point, Quaternion]]:
    return ((pose.position, pose.orientation) for pose in poses)
