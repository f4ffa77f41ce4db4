# SPDX-License-Identifier: Apache-2.0
"""No transition is lost or joined with a wrong frame, under load and from several robots.

The environment draws the number of each step into its picture and states it, so what the replay
should hold is known without looking at a single message.
"""

import contextlib
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from graph_support import (
    CONFIG,
    HostedGraph,
    assert_clean,
    checkpoints,
    launch,
    new_domain,
    read_alignment,
    read_trainer,
)

from furl_ros.core.config import VlmConfig
from furl_ros.core.vlm import load_vlm
from sim.counter import draw_counter, read_state

SIZE = 64
BURN = 'while True: pass'


@contextlib.contextmanager
def load():
    """Keep every core busy with something else."""
    burners = [
        subprocess.Popen([sys.executable, '-S', '-c', BURN])
        for _ in range(len(os.sched_getaffinity(0)))
    ]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


@pytest.fixture(scope='module')
def embedding_of():
    """Embeddings [N, E] of the pictures of these numbers, made without the graph."""
    torch.set_num_threads(1)
    vlm = load_vlm(VlmConfig(device='cpu'))

    def encode(numbers):
        chunks = np.array_split(np.asarray(numbers), max(1, len(numbers) // 64))
        return np.concatenate(
            [vlm.encode_images(np.stack([draw_counter(n, SIZE, SIZE) for n in c])) for c in chunks]
        )

    return encode


def settings(folder, total_steps):
    """Of a warm-up run with counted steps."""
    return {
        'task': 'furl/StampCounter-v0',
        'image_size': SIZE,
        'horizon': 100,
        'warmup_steps': total_steps,
        'total_steps': total_steps,
        'run_folder': folder / 'run',
    }


def read(folder, total_steps):
    """The replay, the alignment's arrays and counters of a run that has come to its end."""
    checkpoint = checkpoints(folder / 'run')[-1]
    replay, trainer = read_trainer(checkpoint)
    assert trainer['steps'] == total_steps
    return replay, *read_alignment(checkpoint)


def assert_no_loss(replay, embedding_of):
    """One robot's rows are all its steps, in order, each with the embedding of its own frame."""
    rows = len(replay['stamp'])
    index = np.arange(rows)
    # The environment counts resets too: one before each episode of 100 steps.
    numbers = index + index // 100 + 1
    assert [read_state(state) for state in replay['next_state']] == numbers.tolist()
    assert [read_state(state) for state in replay['state']] == (numbers - 1).tolist()
    assert replay['step'].tolist() == (index % 100 + 1).tolist()
    assert replay['episode'].tolist() == (index // 100).tolist()
    assert len(np.unique(np.diff(replay['stamp'] - replay['stamp'][0]))) <= 2
    assert (np.diff(replay['stamp']) > 0).all()

    stored = replay['embedding'].astype(np.float32)
    own = embedding_of(numbers)
    # How far the nearest wrong picture is from some of the right ones.
    some = own[:: max(1, rows // 100)]
    nearest = np.array([np.sort(np.linalg.norm(own - one, axis=1))[1] for one in some])
    error = np.linalg.norm(stored - own, axis=1)
    assert error.max() < nearest.min() / 2, (error.max(), nearest.min())


def assert_one_robot_gave_all(folder, steps, embedding_of):
    """Nothing is missing, neither in the replay nor in the alignment."""
    replay, arrays, alignment = read(folder, steps)
    assert len(replay['stamp']) == alignment['transitions'] == steps
    assert_no_loss(replay, embedding_of)
    # The alignment joined the same frames by itself: the rings are whole episodes, in order.
    solved = replay['episode'] % 2 == 1
    for name, rows in (('positives', solved), ('negatives', ~solved)):
        np.testing.assert_array_equal(arrays[name]['embeddings'], replay['embedding'][rows])


def assert_both_gave_all(folder, steps, embedding_of):
    """Nothing of two robots is missing."""
    replay, _, alignment = read(folder, steps)
    assert alignment['transitions'] == steps
    assert set(replay['source']) == {0, 1}
    for source in (0, 1):
        rows = replay['source'] == source
        assert_no_loss(
            {name: a[rows] for name, a in replay.items() if name != 'written'}, embedding_of
        )


def test_every_step_is_learned_with_its_own_frame(tmp_path, embedding_of):
    with HostedGraph(new_domain(), tmp_path, **settings(tmp_path, 600)) as graph:
        graph.expect_end()
    assert_one_robot_gave_all(tmp_path, 600, embedding_of)


@pytest.mark.campaign
def test_five_thousand_steps_under_load(tmp_path, embedding_of):
    with load(), launch(new_domain(), tmp_path, **settings(tmp_path, 5_000)) as graph:
        assert_clean(graph, processes=4)
    assert_one_robot_gave_all(tmp_path, 5_000, embedding_of)


@pytest.mark.campaign
def test_two_robots_feed_one_learner(tmp_path, embedding_of):
    with launch(new_domain(), tmp_path, num_sims=2, **settings(tmp_path, 800)) as graph:
        assert_clean(graph, processes=5)
    assert_both_gave_all(tmp_path, 800, embedding_of)


def test_a_simulator_that_is_started_elsewhere_feeds_the_same_learner(tmp_path, embedding_of):
    domain = new_domain()
    shared = {
        'params_file': CONFIG / 'paper.yaml',
        'task': 'furl/StampCounter-v0',
        'image_size': SIZE,
        'horizon': 100,
        'num_sims': 2,
    }
    with launch(domain, tmp_path, 'sim.launch.py', small=False, index=1, **shared) as elsewhere:
        here = settings(tmp_path, 400) | {'num_sims': 2, 'local_sims': 1}
        with HostedGraph(domain, tmp_path, **here) as graph:
            graph.expect_end()
        assert_both_gave_all(tmp_path, 400, embedding_of)
        elsewhere.process.send_signal(signal.SIGINT)
        assert_clean(elsewhere, processes=1)
