# SPDX-License-Identifier: Apache-2.0
"""The scene of a simulation as rviz wants it: meshes as files, a path, a goal, a text."""

import copy
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Vector3
from rclpy.serialization import deserialize_message
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from furl_ros.bridge.scenes import to_points
from furl_ros.bridge.shapes import from_marker
from furl_ros.monitor.pictures import SMALLEST_SPAN, Moment
from furl_ros.monitor.stl import write_stl

PATH, GOAL, EPISODE = 'path', 'goal', 'episode'
"""Namespaces (``ns``) of what is added to the scene."""

MOST_POINTS = 200  # of the path: rviz gets it several times a second
ABOVE_M = 0.3  # metres of the text above the highest part
_COLOURS = matplotlib.colormaps['viridis']
_NOT_SCORED = ColorRGBA(r=0.5, g=0.5, b=0.5, a=1.0)


class Markers:
    """Makes the messages of one scene; the frame of reference is that of its markers.

    Args:
        folder: for files of meshes. rviz loads each once, on this machine; sent along with every
            message they would be megabytes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._raw = b''
        self._parts: list[Marker] = []
        self._frame = 'world'
        self._is_new = True
        self._goal: Marker | None = None

    def set_scene(self, raw: bytes) -> None:
        """Take what is in the scene: a serialised MarkerArray, as ``scene`` has it.

        Raises:
            ValueError: a marker is of another type, or not a shape.
            OSError: a mesh cannot be written.
        """
        if raw == self._raw:
            return
        parts = []
        for marker in deserialize_message(raw, MarkerArray).markers:
            shape = from_marker(marker)
            if shape.triangles is not None:
                marker.type, marker.points = Marker.MESH_RESOURCE, []
                marker.mesh_resource = self._file(shape.triangles).as_uri()
            marker.text = ''
            parts.append(marker)
        self._raw, self._parts, self._is_new = raw, parts, True
        if parts:
            self._frame = parts[0].header.frame_id

    def set_poses(self, poses: Sequence[Pose]) -> None:
        """Take where the parts are; those of another scene are left alone."""
        if len(poses) == len(self._parts):
            for marker, pose in zip(self._parts, poses, strict=True):
                marker.pose = pose

    def set_goal(self, marker: Marker) -> None:
        """Take the goal of the episode."""
        self._goal = copy.copy(marker)
        self._goal.ns = GOAL

    def message(self, places: np.ndarray, moments: Sequence[Moment], text: str) -> MarkerArray:
        """Everything, as it is now.

        Args:
            places: of the gripper in the episode so far, float64 [N, 3], metres; NaN where unknown.
            moments: of the same steps.
            text: to be written above the scene.
        """
        first = []
        if self._is_new:
            # Parts of another scene would stay.
            first, self._is_new = [Marker(action=Marker.DELETEALL)], False
        goal = [self._goal] if self._goal else []
        markers = [*first, *self._parts, *goal, self._path(places, moments), self._text(text)]
        for marker in markers:
            marker.header.frame_id = self._frame
            # Always valid: what was drawn is true until the next message. A stamp would be
            # compared with the clock of rviz, which is another one where time is simulated.
            marker.header.stamp = Time()
        return MarkerArray(markers=markers)

    def _path(self, places: np.ndarray, moments: Sequence[Moment]) -> Marker:
        """The way of the gripper, coloured by the reward from low (dark) to high (yellow)."""
        marker = Marker(ns=PATH, type=Marker.LINE_STRIP, scale=Vector3(x=0.006))
        marker.pose.orientation.w = 1.0
        rows = np.flatnonzero(np.isfinite(places).all(axis=1))
        rows = rows[:: math.ceil(len(rows) / MOST_POINTS) or 1]
        if len(rows) < 2:
            marker.action = Marker.DELETE
            return marker
        rewards = np.array([moments[row].reward for row in rows])
        scored = rewards[np.isfinite(rewards)]
        low, span = (scored.min(), np.ptp(scored)) if scored.size else (0.0, 0.0)
        shares = (rewards - low) / max(span, SMALLEST_SPAN)
        marker.points = to_points(places[rows])
        marker.colors = [
            ColorRGBA(r=red, g=green, b=blue, a=1.0) if math.isfinite(share) else _NOT_SCORED
            for share, (red, green, blue, _) in zip(
                shares, _COLOURS(np.nan_to_num(shares)).tolist(), strict=True
            )
        ]
        return marker

    def _text(self, text: str) -> Marker:
        marker = Marker(ns=EPISODE, type=Marker.TEXT_VIEW_FACING, text=text, scale=Vector3(z=0.06))
        marker.color.r = marker.color.g = marker.color.b = marker.color.a = 1.0
        places = [part.pose.position for part in self._parts] or [Point()]
        marker.pose.position = Point(
            x=float(np.median([place.x for place in places])),
            y=float(np.median([place.y for place in places])),
            z=max(place.z for place in places) + ABOVE_M,
        )
        marker.pose.orientation.w = 1.0
        return marker

    def _file(self, triangles: np.ndarray) -> Path:
        """The mesh as a file whose name changes with it: rviz keeps meshes by name."""
        name = hashlib.sha256(np.ascontiguousarray(triangles)).hexdigest()[:16]
        path = self._folder / f'{name}.stl'
        if not path.exists():
            write_stl(path, triangles)
        return path
