# SPDX-License-Identifier: Apache-2.0
"""Frames of a MuJoCo simulation: RGB, upright, unmirrored, with the true intrinsics."""

import atexit
from typing import Any, NamedTuple

import mujoco
import numpy as np

from furl_ros.core.settings import SettingError


class CameraIntrinsics(NamedTuple):
    """A pinhole camera without distortion, in pixels.

    Pixel centres lie at whole numbers, (0, 0) is the centre of the top left pixel, as in
    sensor_msgs/CameraInfo: a picture of width W has its middle at (W - 1) / 2.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float


class CameraPose(NamedTuple):
    """Where a camera is: ``rotation @ (point - position)`` takes a world point to its frame.

    Attributes:
        position: float64 [3], metres, world frame.
        rotation: float64 [3, 3], world to optical frame (REP 103: x right, y down, z forward).
    """

    position: np.ndarray
    rotation: np.ndarray


class Renderer:
    """One camera's view of one simulation; keep it as long as the simulation.

    OpenGL contexts belong to a thread: create, use and close a renderer in the same thread.

    Args:
        model, data: the simulation; ``data`` is read at each frame and must have been stepped or
            forwarded once. ``model.vis`` is adjusted to size and quality.
        camera: name of a camera of the model, or a free camera.
        width, height: size of the frames in pixels.
        quality: 'fast' or 'full', see SimConfig.

    Raises:
        SettingError: for an unknown camera, or when OpenGL cannot be used.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        camera: str | mujoco.MjvCamera,
        width: int,
        height: int,
        quality: str,
    ) -> None:
        self._data = data
        self._camera = camera
        self._fast = quality == 'fast'
        # MuJoCo copies these into its buffers when the renderer is created. A buffer larger than
        # the picture costs time and changes nothing; multisampling alone doubles the time.
        model.vis.global_.offwidth = width
        model.vis.global_.offheight = height
        if self._fast:
            model.vis.quality.offsamples = 0
        self._renderer = _open(model, width, height)
        # Destroyed by the interpreter's own end, after EGL is gone, it would print tracebacks.
        atexit.register(self._renderer.close)
        self._raw = np.empty((height, width, 3), np.uint8)
        self._update()
        # Several Meta-World cameras are mounted upside down. The sign of the up axis tells; a
        # camera that looks straight down has none and stays as it is. Decided once, so that a
        # camera on a moving part does not flip within a run.
        self._upside_down = self._view()[2][2] < -1e-3
        eye = self._renderer.scene.camera[0]
        # MuJoCo sets the vertical field of view and keeps pixels square.
        focal = height * eye.frustum_near / (eye.frustum_top - eye.frustum_bottom)
        self.intrinsics = CameraIntrinsics(
            width, height, float(focal), float(focal), (width - 1) / 2, (height - 1) / 2
        )

    def frame(self) -> np.ndarray:
        """Draw the present state: uint8 [height, width, 3], RGB, a new contiguous array."""
        self._update()
        self._renderer.render(out=self._raw)
        # Turning by 180 degrees keeps left and right true; flipping one axis would mirror.
        return self._raw[::-1, ::-1].copy() if self._upside_down else self._raw.copy()

    def pose(self) -> CameraPose:
        """Return the pose of the camera at the last frame; it belongs to the turned picture."""
        position, forward, up = self._view()
        if self._upside_down:
            up = -up
        rotation = np.stack([np.cross(forward, up), -up, forward])
        return CameraPose(position, rotation)

    def close(self) -> None:
        """Free the OpenGL context; the renderer cannot be used afterwards."""
        # MuJoCo deletes its textures by number in whatever context is current, which may be that
        # of another renderer; drawing makes this one current first.
        self._renderer.render(out=self._raw)
        atexit.unregister(self._renderer.close)
        self._renderer.close()

    def _update(self) -> None:
        self._renderer.update_scene(self._data, self._camera)
        if self._fast:
            self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
            self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False

    def _view(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Position, forward and up of the camera, from the midpoint of MuJoCo's stereo pair."""
        left, right = self._renderer.scene.camera
        position = (np.array(left.pos, float) + np.array(right.pos, float)) / 2
        return position, np.array(left.forward, float), np.array(left.up, float)


def camera_names(model: mujoco.MjModel) -> list[str]:
    """Return the names of the cameras that a model defines."""
    return [model.camera(i).name for i in range(model.ncam)]


def usual_camera(model: mujoco.MjModel, free_camera: dict[str, Any] | None) -> Any:
    """Return the camera that Gymnasium would use: 'track' if there is one, else a free one.

    Args:
        free_camera: attributes of the free camera, as in Gymnasium's ``default_camera_config``.
    """
    if 'track' in camera_names(model):
        return 'track'
    camera = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(model, camera)
    for name, value in (free_camera or {}).items():
        if isinstance(value, np.ndarray):
            getattr(camera, name)[:] = value
        else:
            setattr(camera, name, value)
    return camera


def _open(model: mujoco.MjModel, width: int, height: int) -> mujoco.Renderer:
    renderer = mujoco.Renderer.__new__(mujoco.Renderer)
    # Set ahead of the constructor: if that fails, the destructor looks for them and complains.
    renderer._gl_context = renderer._mjr_context = None
    try:
        renderer.__init__(model, height=height, width=width)
    # What MuJoCo, PyOpenGL and the platform raise here is not of one kind.
    except Exception as error:
        reason = ' '.join(str(error).split())[:200]
        raise SettingError(
            'cannot render: OpenGL does not work here (install the packages libegl1 and '
            'libgl1-mesa-dri and set MUJOCO_GL=egl before mujoco is imported, or choose '
            f'render: false); {type(error).__name__}: {reason}'
        ) from error
    return renderer
