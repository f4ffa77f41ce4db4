# SPDX-License-Identifier: Apache-2.0
"""A simulation's scene as messages, made only while somebody looks."""

import time
from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseArray, Quaternion, Vector3
from rclpy.node import Node
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from furl_ros.bridge.convert import to_time
from furl_ros.bridge.qos import EVENTS, LATCHED
from sim.envs import SimEnv
from sim.scene import BOX, CYLINDER, MESH, SPHERE, Poses, Scene, Shape

PERIOD_S = 0.1  # seconds between two messages of poses
SCENE = 'scene'
"""Namespace (``ns``) of the markers."""

_TYPES = {
    BOX: Marker.CUBE,
    SPHERE: Marker.SPHERE,
    CYLINDER: Marker.CYLINDER,
    MESH: Marker.TRIANGLE_LIST,
}


def to_points(rows: np.ndarray) -> list[Point]:
    """Points of float [N, 3]."""
    return [Point(x=x, y=y, z=z) for x, y, z in np.asarray(rows, np.float64).tolist()]


def to_poses(poses: Poses) -> list[Pose]:
    """Poses of a scene as messages."""
    return [
        Pose(position=position, orientation=Quaternion(x=x, y=y, z=z, w=w))
        for position, (x, y, z, w) in zip(
            to_points(poses.positions), poses.orientations.tolist(), strict=True
        )
    ]


def to_markers(shapes: Sequence[Shape], poses: Poses, stamp: int, frame: str) -> MarkerArray:
    """Markers of a scene, numbered in its order; a marker's ``text`` is its shape's name.

    Args:
        stamp: nanoseconds.
        frame: that the poses are in.
    """
    markers = []
    for number, (shape, pose) in enumerate(zip(shapes, to_poses(poses), strict=True)):
        x, y, z = shape.size.tolist()
        red, green, blue, alpha = np.clip(shape.colour, 0, 1).tolist()
        marker = Marker(
            ns=SCENE,
            id=number,
            type=_TYPES[shape.kind],
            action=Marker.ADD,
            pose=pose,
            scale=Vector3(x=x, y=y, z=z),
            color=ColorRGBA(r=red, g=green, b=blue, a=alpha),
            points=to_points(shape.triangles.reshape(-1, 3)),
            text=shape.name,
        )
        marker.header.frame_id = frame
        marker.header.stamp = to_time(stamp)
        markers.append(marker)
    return MarkerArray(markers=markers)


class SceneTopics:
    """The topics ``scene`` and ``scene_poses`` of a simulator; none where MuJoCo does not simulate.

    The scene is made for the first who looks: half a second of work, which those that come later
    get as it is.

    Args:
        node: makes the publishers.
        env: that is shown.
        frame: name of its world frame.
    """

    def __init__(self, node: Node, env: SimEnv, frame: str) -> None:
        self._env, self._frame = env, frame
        self._scene: Scene | None = None
        self._told = False
        self._looked = 0.0
        self._has_scene = True
        try:
            env.model_and_data()
        except ValueError:
            self._has_scene = False
            return
        self._markers = node.create_publisher(MarkerArray, 'scene', LATCHED)
        self._poses = node.create_publisher(PoseArray, 'scene_poses', EVENTS)

    def show(self, stamp: int) -> None:
        """Publish what somebody looks at, unless that was done a moment ago.

        Args:
            stamp: of the present state, nanoseconds.
        """
        now = time.monotonic()
        if not self._has_scene or now < self._looked + PERIOD_S:
            return
        self._looked = now
        wanted = not self._told and self._markers.get_subscription_count() > 0
        followed = self._poses.get_subscription_count() > 0
        if not wanted and not followed:
            return
        if self._scene is None:
            self._scene = Scene(*self._env.model_and_data())
        poses = self._scene.poses()
        if wanted:
            self._told = True
            self._markers.publish(to_markers(self._scene.shapes, poses, stamp, self._frame))
        if followed:
            message = PoseArray(poses=to_poses(poses))
            message.header.frame_id = self._frame
            message.header.stamp = to_time(stamp)
            self._poses.publish(message)
