# SPDX-License-Identifier: Apache-2.0
"""Simulation without ROS: environments, fast renderer, tasks, scripted oracles, goal images."""

import ctypes
import importlib.util
import os
import sys
from pathlib import Path

import gymnasium


def _choose_gl() -> None:
    """Pick MuJoCo's OpenGL platform: EGL on a Linux machine without a display.

    MuJoCo reads MUJOCO_GL once, when it is first imported, and that import fails when the
    platform's library is missing. Without EGL rendering is therefore switched off here, and asking
    for frames gives the one-line error of `sim.renderer` instead of a failed import.
    """
    if sys.platform != 'linux':
        return
    wanted = os.environ.get('MUJOCO_GL', '' if os.environ.get('DISPLAY') else 'egl')
    if wanted == 'egl':
        try:
            ctypes.CDLL('libEGL.so.1')
        except OSError:
            wanted = 'disable'
        os.environ['MUJOCO_GL'] = wanted


def _choose_glfw() -> None:
    """Name the library of GLFW, which Gymnasium imports where no window is ever opened, too.

    Its package would otherwise try each library that it finds in a child process: that takes time
    at every start, and the child answers Ctrl-C with a traceback.
    """
    spec = importlib.util.find_spec('glfw')
    if spec is None or os.environ.get('MUJOCO_GL') not in ('egl', 'osmesa', 'disable'):
        return
    library = Path(spec.origin).parent / 'x11' / 'libglfw.so'
    if library.is_file():
        os.environ.setdefault('PYGLFW_LIBRARY', str(library))


_choose_gl()
_choose_glfw()

gymnasium.register(
    id='furl/StampCounter-v0',
    entry_point='sim.counter:StampCounterEnv',
    max_episode_steps=100,
    disable_env_checker=True,
)
