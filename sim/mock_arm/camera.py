# SPDX-License-Identifier: Apache-2.0
"""The camera beside the table."""

from typing import NamedTuple

import mujoco
import numpy as np

from furl_ros.core.settings import SettingError
from sim.mock_arm.scene import CAMERA


class Lens(NamedTuple):
    """A pinhole camera without distortion, pixels; (0, 0) is the middle of the top left pixel."""

    width: int
    height: int
    focal: float
    cx: float
    cy: float


class Camera:
    """Draws states of the model, RGB and upright.

    OpenGL belongs to a thread: make, use and close it in one. It shares nothing with the physics
    but the model, which nobody changes.

    Args:
        model: of ``scene.build``.
        width, height: of the pictures, pixels.

    Raises:
        SettingError: OpenGL does not work here.
    """

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        self._model, self._data = model, mujoco.MjData(model)
        # Read when the renderer is made. Multisampling would double the time of a picture.
        model.vis.global_.offwidth, model.vis.global_.offheight = width, height
        model.vis.quality.offsamples = 0
        self._renderer = mujoco.Renderer.__new__(mujoco.Renderer)
        # Should the constructor fail, the destructor looks for these and complains.
        self._renderer._gl_context = self._renderer._mjr_context = None
        try:
            self._renderer.__init__(model, height, width)
        # What MuJoCo, PyOpenGL and the platform raise here is not of one kind.
        except Exception as error:
            raise SettingError(f'the camera needs OpenGL (MUJOCO_GL=egl): {error}') from error
        focal = height / 2 / np.tan(np.radians(model.camera(CAMERA).fovy[0]) / 2)
        self.lens = Lens(width, height, float(focal), (width - 1) / 2, (height - 1) / 2)

    def picture(self, state: np.ndarray) -> np.ndarray:
        """Draw a state (``Arm.pose_of_all``): uint8 [height, width, 3], RGB, a new array."""
        self._data.qpos[:] = state
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        self._renderer.update_scene(self._data, CAMERA)
        flags = self._renderer.scene.flags
        flags[mujoco.mjtRndFlag.mjRND_SHADOW] = flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        return self._renderer.render()

    def close(self) -> None:
        """Free the OpenGL context."""
        self._renderer.close()
