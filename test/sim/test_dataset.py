# SPDX-License-Identifier: Apache-2.0
"""The training frames: what is written, from which tasks, and that it can be repeated."""

import subprocess
import sys

import numpy as np
import pytest

from sim import dataset
from sim.config import SimConfig
from sim.dataset import CAMERAS, FIELDS, KINDS, TaskData, write_task
from sim.envs import make

TASK = 'plate-slide-v3'


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """Ten small episodes, one of each share of the kinds."""
    folder = tmp_path_factory.mktemp('data')
    count = write_task(TASK, folder, 10, 32, 5)
    return count, TaskData(folder / TASK), folder


def test_what_is_written(written):
    count, data, _ = written
    assert len(data) == count == len(data.frames)
    assert data.frames.shape[1:] == (32, 32, 3)
    assert data.frames.dtype == np.uint8
    for name, (shape, dtype) in FIELDS.items():
        assert data.columns[name].shape == (count, *shape)
        assert data.columns[name].dtype == dtype
    assert np.unique(data.columns['episode']).tolist() == list(range(10))
    assert set(data.columns['kind']) == set(range(len(KINDS)))
    cameras = np.bincount(data.columns['camera'], minlength=len(CAMERAS))
    assert (cameras > 0).all()
    assert cameras[0] > cameras[1:].max()


def test_scripts_succeed_and_random_actions_rarely_do(written):
    _, data, _ = written
    success, kind = data.columns['success'], data.columns['kind']
    episodes = data.columns['episode']
    solved = {
        name: [
            success[episodes == episode].any()
            for episode in np.unique(episodes[kind == KINDS.index(name)])
        ]
        for name in KINDS
    }
    assert all(solved['scripted'])
    assert not any(solved['random'])
    # The thing is at the goal in every solved frame.
    distance = np.linalg.norm(data.columns['object'] - data.columns['goal'], axis=1)
    assert distance[success].max() < 0.1


def test_facts_are_those_of_the_frame(written):
    _, data, _ = written
    facts = data.facts(3)
    assert facts.task == TASK
    np.testing.assert_array_equal(facts.gripper, data.columns['gripper'][3])
    assert facts.success == data.columns['success'][3]


def test_the_same_seed_gives_the_same_files(written, tmp_path):
    _, data, _ = written
    write_task(TASK, tmp_path, 2, 32, 5)
    again = TaskData(tmp_path / TASK)
    rows = np.flatnonzero(data.columns['episode'] < 2)
    assert len(rows) == len(again)
    for name in FIELDS:
        np.testing.assert_array_equal(again.columns[name], data.columns[name][rows])
    np.testing.assert_array_equal(again.frames, data.frames[rows])


def test_a_finished_task_is_left_as_it_is(written):
    count, _, folder = written
    before = (folder / TASK / 'frames.npy').stat().st_mtime_ns
    assert write_task(TASK, folder, 99, 32, 6) == count
    assert (folder / TASK / 'frames.npy').stat().st_mtime_ns == before
    assert not list(folder.glob('.*'))


def test_looks_change_and_come_back():
    env = make(SimConfig(task=TASK, width=32, height=32))
    first = env.reset(1).frame
    looks = dataset.Looks(env.model_and_data()[0])
    looks.vary(np.random.default_rng(0))
    assert np.abs(env.render().astype(int) - first).mean() > 3
    looks.plain()
    np.testing.assert_array_equal(env.reset(1).frame, first)
    env.close()


def test_the_command_says_what_it_takes():
    done = subprocess.run(
        [sys.executable, '-m', 'sim.dataset', '--help'], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert '--episodes' in done.stdout
