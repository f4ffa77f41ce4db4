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
AGENTS = ('vlm_agent', 'sac_agent')


def assert_same(one, other, path=''):
    """Two trees of arrays are equal bit for bit."""
    assert set(one) == set(other)
    for name, value in one.items():
        if isinstance(value, dict):
            assert_same(value, other[name], f'{path}{name}/')
        else:
            assert value.dtype == other[name].dtype
            np.testing.assert_array_equal(value, other[name], f'{path}{name}')


def assert_same_policies(one, other, name):
    """The nets of an agent are equal bit for bit in two checkpoints."""
    first, second = (SAC.load(path / f'{name}.zip', device='cpu').policy for path in (one, other))
    state = second.state_dict()
    assert set(first.state_dict()) == set(state)
    for key, value in first.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), state[key].numpy(), key)


def assert_same_checkpoints(one, other):
    """Everything in two checkpoints is equal bit for bit."""
    for read in (read_trainer, read_alignment):
        first, second = read(one), read(other)
        assert_same(first[0], second[0])
        assert first[1] == second[1]
    for name in AGENTS:
        assert_same_policies(one, other, name)


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
            assert graph.finish() == 0, graph.newest
        return checkpoints(folder)[-1]

    whole = run('whole', 220)
    first = run('parts', 133)
    parts = run('parts', 220, resume=first)
    replay, trainer = read_trainer(whole)
    assert len(replay['stamp']) == 220
    assert trainer['updates'] == 120
    assert read_alignment(whole)[1]['version'] > 0
    assert_same_checkpoints(whole, parts)


@pytest.fixture(scope='module', params=['paper', 'quick'])
def settings(request):
    """Name of the file of settings."""
    return request.param


@pytest.fixture(scope='module')
def runs(tmp_path_factory, settings):
    """Checkpoints of two launched runs with the same seed."""
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


@pytest.mark.campaign
class TestTwoRuns:
    """Two launches with the same seed."""

    def test_the_replays_are_equal(self, runs):
        first, second = map(read_trainer, runs)
        assert len(first[0]['stamp']) == STEPS
        assert_same(first[0], second[0])

    def test_the_counters_and_generators_are_equal(self, runs):
        first, second = map(read_trainer, runs)
        assert first[1]['updates'] == STEPS - WARMUP
        assert first[1] == second[1]

    def test_heads_and_rings_are_equal(self, runs, settings):
        first, second = map(read_alignment, runs)
        # Anchored heads are given their center, then learn from the first success on.
        assert settings == 'quick' or first[1]['version'] == STEPS - WARMUP
        assert first[1]['version'] > 0
        assert_same(first[0], second[0])
        assert first[1] == second[1]

    @pytest.mark.parametrize('name', AGENTS)
    def test_the_policies_are_equal(self, runs, name):
        assert_same_policies(*runs, name)


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
