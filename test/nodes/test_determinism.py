# SPDX-License-Identifier: Apache-2.0
"""deterministic:=true repeats a run bit for bit."""

import numpy as np
import pytest
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
from stable_baselines3 import SAC

STEPS, WARMUP = 450, 200


def assert_same(one, other, path=''):
    """Two trees of arrays are equal bit for bit."""
    assert set(one) == set(other)
    for name, value in one.items():
        if isinstance(value, dict):
            assert_same(value, other[name], f'{path}{name}/')
        else:
            assert value.dtype == other[name].dtype
            np.testing.assert_array_equal(value, other[name], f'{path}{name}')


def assert_same_checkpoints(one, other):
    """Everything in two checkpoints is equal bit for bit."""
    for read in (read_trainer, read_alignment):
        first, second = read(one), read(other)
        assert_same(first[0], second[0])
        assert first[1] == second[1]
    for name in ('vlm_agent', 'sac_agent'):
        nets = [SAC.load(path / f'{name}.zip', device='cpu').policy for path in (one, other)]
        first, second = ({k: v.numpy() for k, v in net.state_dict().items()} for net in nets)
        assert_same(first, second, f'{name}/')


def test_a_run_that_goes_on_within_an_episode_is_the_run_that_never_ended(tmp_path):
    """So it is one that repeats itself, too: its second part knows nothing of the other run.

    The learner has its process to itself, since torch has one generator for all of a process.
    """

    def run(name, steps, **more):
        folder = tmp_path / name
        settings = {
            'params_file': CONFIG / 'quick.yaml',
            'deterministic': True,
            'seed': 5,
            'warmup_steps': 100,
            'total_steps': steps,
            'run_folder': folder,
        }
        with HostedGraph(
            new_domain(), tmp_path, apart=['learner_node'], **settings | more
        ) as graph:
            graph.expect_end()
        return checkpoints(folder)[-1]

    whole = run('whole', 220)
    first = run('parts', 133)
    parts = run('parts', 220, resume=first)
    replay, trainer = read_trainer(whole)
    assert len(replay['stamp']) == 220
    assert trainer['updates'] == 120
    assert read_alignment(whole)[1]['version'] > 0
    assert_same_checkpoints(whole, parts)


@pytest.mark.campaign
@pytest.mark.parametrize('name', ['paper', 'quick'])
def test_two_launches_with_the_same_seed_are_the_same_run(tmp_path, name):
    found = []
    settings = {'params_file': CONFIG / f'{name}.yaml', 'deterministic': True, 'seed': 3}
    settings |= {'total_steps': STEPS, 'warmup_steps': WARMUP}
    for folder in (tmp_path / 'first', tmp_path / 'second'):
        with launch(new_domain(), tmp_path, run_folder=folder, **settings) as graph:
            assert_clean(graph, processes=4)
        found.append(checkpoints(folder)[-1])
    replay, trainer = read_trainer(found[0])
    assert len(replay['stamp']) == STEPS
    assert trainer['updates'] == STEPS - WARMUP
    version = read_alignment(found[0])[1]['version']
    # Anchored heads are given their center, then learn from the first success on.
    assert name == 'quick' or version == STEPS - WARMUP
    assert version > 0
    assert_same_checkpoints(*found)


@pytest.mark.campaign
@pytest.mark.parametrize('first', [300, 333], ids=['between episodes', 'within an episode'])
def test_a_finished_run_that_goes_on_is_the_run_that_never_ended(tmp_path, first):
    short = {'deterministic': True, 'seed': 5}

    def run(name, **changes):
        with launch(new_domain(), tmp_path, **short | changes) as graph:
            assert_clean(graph, processes=4)
        return checkpoints(tmp_path / name)[-1]

    whole = run('whole', total_steps=500, run_folder=tmp_path / 'whole')
    run('parts', total_steps=first, run_folder=tmp_path / 'parts')
    parts = run('parts', total_steps=500, resume=tmp_path / 'parts')
    assert_same_checkpoints(whole, parts)
