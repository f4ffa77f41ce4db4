# SPDX-License-Identifier: Apache-2.0
"""deterministic:=true repeats a run bit for bit."""

import numpy as np
import pytest
from graph_support import (
    CONFIG,
    assert_clean,
    checkpoints,
    launch,
    new_domain,
    read_alignment,
    read_trainer,
)
from stable_baselines3 import SAC

STEPS, WARMUP = 450, 200


@pytest.fixture(scope='module', params=['paper', 'quick'])
def settings(request):
    """Name of the file of settings."""
    return request.param


@pytest.fixture(scope='module')
def runs(tmp_path_factory, settings):
    """Checkpoints of two runs with the same seed."""
    found = []
    for name in ('first', 'second'):
        folder = tmp_path_factory.mktemp(name)
        graph = launch(
            new_domain(),
            folder,
            params_file=CONFIG / f'{settings}.yaml',
            deterministic=True,
            seed=3,
            total_steps=STEPS,
            warmup_steps=WARMUP,
            run_folder=folder / 'run',
        )
        with graph:
            assert_clean(graph, processes=4)
        found.append(checkpoints(folder / 'run')[-1])
    return found


def assert_same(one, other, path=''):
    """Two trees of arrays are equal bit for bit."""
    assert set(one) == set(other)
    for name, value in one.items():
        if isinstance(value, dict):
            assert_same(value, other[name], f'{path}{name}/')
        else:
            assert value.dtype == other[name].dtype
            np.testing.assert_array_equal(value, other[name], f'{path}{name}')


def test_the_replays_are_equal(runs):
    first, second = map(read_trainer, runs)
    assert len(first[0]['stamp']) == STEPS
    assert_same(first[0], second[0])


def test_the_counters_and_generators_are_equal(runs):
    first, second = map(read_trainer, runs)
    assert first[1]['updates'] == STEPS - WARMUP
    assert first[1] == second[1]


def test_heads_and_rings_are_equal(runs, settings):
    first, second = map(read_alignment, runs)
    # Anchored heads are given their center, then learn from the first success on.
    assert settings == 'quick' or first[1]['version'] == STEPS - WARMUP
    assert first[1]['version'] > 0
    assert_same(first[0], second[0])
    assert first[1] == second[1]


@pytest.mark.parametrize('name', ['vlm_agent', 'sac_agent'])
def test_the_policies_are_equal(runs, name):
    first, second = (SAC.load(path / f'{name}.zip', device='cpu').policy for path in runs)
    state = second.state_dict()
    for key, value in first.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), state[key].numpy(), key)


def test_another_seed_gives_another_run(runs, train_run):
    replay, _ = read_trainer(runs[0])
    other, _ = read_trainer(checkpoints(train_run.folder)[-1])
    assert (replay['action'][:100] != other['action'][:100]).all(axis=1).all()


@pytest.mark.parametrize('first', [300, 333], ids=['between episodes', 'within an episode'])
def test_a_finished_run_that_goes_on_is_the_run_that_never_ended(tmp_path, first):
    short = {'deterministic': True, 'seed': 5, 'checkpoint_every': 0}

    def run(name, **changes):
        with launch(new_domain(), tmp_path, **short | changes) as graph:
            assert_clean(graph, processes=4)
        return checkpoints(tmp_path / name)[-1]

    whole = run('whole', total_steps=500, run_folder=tmp_path / 'whole')
    run('parts', total_steps=first, run_folder=tmp_path / 'parts')
    parts = run('parts', total_steps=500, resume=tmp_path / 'parts')
    for read in (read_trainer, read_alignment):
        one, other = read(whole), read(parts)
        assert_same(one[0], other[0])
        assert one[1] == other[1]
    for name in ('vlm_agent', 'sac_agent'):
        policies = [
            SAC.load(folder / f'{name}.zip', device='cpu').policy for folder in (whole, parts)
        ]
        for one, other in zip(*(policy.parameters() for policy in policies), strict=True):
            np.testing.assert_array_equal(one.detach(), other.detach())
