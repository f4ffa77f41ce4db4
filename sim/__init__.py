# SPDX-License-Identifier: Apache-2.0
"""Simulation without ROS: environments, fast renderer, tasks, scripted oracles, goal images."""

import ctypes
import os
import sys

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


_choose_gl()

gymnasium.register(
    id='furl/StampCounter-v0',
    entry_point='sim.counter:StampCounterEnv',
    max_episode_steps=100,
    disable_env_checker=True,
)
