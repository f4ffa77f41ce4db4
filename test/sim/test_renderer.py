# SPDX-License-Identifier: Apache-2.0
"""Frames: upright, unmirrored, true to the intrinsics, and not mixed between environments."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from sim.config import SimConfig
from sim.envs import make
from sim.sheet import main


def project(env, point):
    """Pixel (u, v) of a world point, by the published intrinsics and pose."""
    pose, lens = env.camera_pose(), env.intrinsics
    x, y, z = pose.rotation @ (np.asarray(point) - pose.position)
    assert z > 0
    return np.array([lens.fx * x / z + lens.cx, lens.fy * y / z + lens.cy])


def goal_pixel(env):
    """Centre of what changes in the picture when the goal marker vanishes."""
    model = env._env.model
    with_goal = env.reset().frame.astype(int)
    model.site('goal').rgba[3] = 0.0
    without = env.reset().frame.astype(int)
    model.site('goal').rgba[3] = 1.0
    rows, columns = np.nonzero(np.abs(with_goal - without).sum(-1) > 30)
    assert len(rows) >= 10
    return np.array([columns.mean(), rows.mean()])


@pytest.mark.parametrize(
    ('camera', 'seed'),
    [('corner', 0), ('corner2', 1), ('corner3', 0), ('corner4', 1), ('topview', 0), ('topview', 1)],
)
def test_a_known_point_is_where_intrinsics_and_pose_say(camera, seed):
    env = make(SimConfig(task='reach-v3', camera=camera, seed=seed, width=320, height=240))
    seen = goal_pixel(env)
    np.testing.assert_allclose(seen, project(env, env.goal_position()), atol=1.0)
    # Were the picture turned or mirrored, the marker would be far from there.
    mirrored = np.array([319 - seen[0], seen[1]])
    assert np.linalg.norm(mirrored - seen) > 5
    rotation = env.camera_pose().rotation
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(rotation) > 0
    if camera != 'topview':
        above = env.goal_position() + np.array([0, 0, 0.1])
        assert project(env, above)[1] < project(env, env.goal_position())[1]
    env.close()


def test_frames_are_contiguous_and_not_shared():
    env = make(SimConfig(width=64, height=48))
    first = env.reset().frame
    kept = first.copy()
    second = env.step(np.ones(4)).frame
    assert first.flags.c_contiguous
    assert first.shape == (48, 64, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, kept)
    assert not np.array_equal(first, second)
    env.close()


def test_two_environments_keep_their_own_pictures():
    configs = [
        SimConfig(task='drawer-close-v3', width=64, height=64),
        SimConfig(task='door-open-v3', camera='corner', width=96, height=48),
    ]
    alone = []
    for config in configs:
        env = make(config)
        alone.append([env.reset().frame] + [env.step(np.ones(4)).frame for _ in range(2)])
        env.close()
    one, other = (make(config) for config in configs)
    both = [[one.reset().frame], [other.reset().frame]]
    for _ in range(2):
        both[0].append(one.step(np.ones(4)).frame)
        both[1].append(other.step(np.ones(4)).frame)
    for frames, expected in zip(both, alone, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(frames, expected, strict=True))
    # Nor does the end of one spoil the other.
    one.close()
    assert np.array_equal(other.render(), alone[1][-1])
    other.close()


def test_rendering_does_not_change_the_trajectory():
    drawn, dark = (make(SimConfig(task='push-v3', render=render)) for render in (True, False))
    assert np.array_equal(drawn.reset().state, dark.reset().state)
    for action in np.random.default_rng(0).uniform(-1, 1, (10, 4)):
        assert np.array_equal(drawn.step(action).state, dark.step(action).state)
    drawn.close()
    dark.close()


def test_full_quality_differs_but_shows_the_same():
    frames = []
    for quality in ('fast', 'full'):
        env = make(SimConfig(quality=quality, width=64, height=64))
        frames.append(env.reset().frame.astype(int))
        env.close()
    difference = np.abs(frames[0] - frames[1])
    assert 0 < difference.mean() < 20


def test_mujoco_gym_environments_are_drawn_by_our_renderer():
    env = make(SimConfig(task='InvertedPendulum-v5', width=80, height=64))
    frame = env.reset(0).frame
    assert frame.shape == (64, 80, 3)
    assert frame.std() > 5
    assert env.intrinsics.width == 80
    tip = env._env.unwrapped.data.geom('cpole').xpos
    u, v = project(env, tip)
    assert 0 < u < 80
    assert 0 < v < 64
    env.close()


def test_without_opengl_the_error_is_one_line_and_the_rest_works():
    code = """
from furl_ros.core.settings import SettingError
from sim.config import SimConfig
from sim.envs import make
make(SimConfig(render=False)).reset()
try:
    make(SimConfig())
except SettingError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        env={'MUJOCO_GL': 'disable', 'PYTHONPATH': ':'.join(filter(None, sys.path))},
    )
    assert result.stderr == ''
    assert result.stdout.count('\n') == 1
    assert 'libegl1 and libgl1-mesa-dri' in result.stdout


def test_contact_sheet(tmp_path, capsys):
    out = tmp_path / 'sheet.png'
    cameras = ['corner', 'corner2']
    size = ['--width', '48', '--height', '32']
    assert main(['--task', 'reach-v3', '--camera', *cameras, '--out', str(out), *size]) == 0
    assert cv2.imread(str(out)).shape == (48, 96, 3)
    assert main(['--task', 'reach', '--out', str(out)]) == 2
    assert capsys.readouterr().err.startswith("error: task is 'reach'")


def test_what_draws_is_imported_without_a_child_process():
    """A child would answer Ctrl-C with a traceback."""
    code = (
        'import sim, subprocess; del subprocess.Popen;'
        'import gymnasium.envs.mujoco.mujoco_rendering, metaworld'
    )
    environment = {k: v for k, v in os.environ.items() if k != 'PYGLFW_LIBRARY'}
    subprocess.run([sys.executable, '-c', code], env=environment | {'MUJOCO_GL': 'egl'}, check=True)
