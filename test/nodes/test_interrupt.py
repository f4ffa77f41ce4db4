# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, a killed node, and how a run goes on afterwards."""

import os
import re
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from graph_support import (
    Probe,
    assert_clean,
    checkpoints,
    launch,
    new_domain,
    read_alignment,
    read_table,
    read_trainer,
)

from furl_interfaces.msg import TrainingStatus
from furl_ros.bridge.config import LearnerNodeConfig

WARMUP = 150
ENDLESS = 100_000


def steps_of(checkpoint):
    return int(checkpoint.name.removeprefix('step_'))


def assert_whole(folder):
    """Every checkpoint can be read, and nothing half-written lies beside it."""
    assert not list(folder.glob('**/*.tmp'))
    for path in checkpoints(folder):
        replay, trainer = read_trainer(path)
        _, alignment = read_alignment(path)
        assert trainer['steps'] == len(replay['stamp']) == steps_of(path)
        # Frames that had been scored when the learner left belong to no finished episode.
        early = alignment['transitions'] - trainer['steps']
        assert 0 <= early <= LearnerNodeConfig().max_in_flight + 1


def assert_goes_on(folder, before, after):
    """The later checkpoint has all that the earlier one has, and more."""
    old, old_meta = read_trainer(before)
    new, new_meta = read_trainer(after)
    count = len(old['stamp'])
    assert new_meta['steps'] == len(new['stamp']) > count
    for name in set(old) - {'written'}:
        np.testing.assert_array_equal(new[name][:count], old[name], name)
    assert (np.diff(new['stamp']) > 0).all()
    assert new_meta['updates'] >= new_meta['steps'] - WARMUP - 1
    assert new_meta['episodes'] >= old_meta['episodes']
    assert new['episode'][count] > old['episode'][-1]
    assert new['step'][count] == 1
    for table in ('episodes.csv', 'curves.csv'):
        steps = [int(row['total_steps']) for row in read_table(folder / table)]
        assert steps == sorted(set(steps)), table


@pytest.fixture(scope='module')
def interrupted(tmp_path_factory):
    """A run that Ctrl-C ended while it learned."""
    folder = tmp_path_factory.mktemp('interrupted')
    with launch(new_domain(), folder, total_steps=ENDLESS, run_folder=folder / 'run') as graph:
        graph.wait_for(r'step 2\d\d of')
        graph.interrupt()
        graph.finish()
    found = checkpoints(folder / 'run')
    return SimpleNamespace(folder=folder / 'run', graph=graph, last=found[-1], found=found)


@pytest.fixture(scope='module')
def killed(interrupted, tmp_path_factory):
    """The same run, gone on with until the kernel killed a node."""
    folder = tmp_path_factory.mktemp('killed')
    # Read before they are overwritten or pruned.
    before = SimpleNamespace(path=interrupted.last, steps=steps_of(interrupted.last))
    with launch(
        new_domain(), folder, resume=interrupted.folder, checkpoint_every=100, keep_checkpoints=9
    ) as graph:
        graph.wait_for(r'checkpoint: ')
        os.kill(graph.pid_of('reward_node'), signal.SIGKILL)
        code = graph.finish()
    found = checkpoints(interrupted.folder)
    return SimpleNamespace(graph=graph, code=code, before=before, found=found, last=found[-1])


def test_ctrl_c_ends_every_process_cleanly(interrupted):
    assert_clean(interrupted.graph, processes=4)


def test_ctrl_c_leaves_one_whole_checkpoint(interrupted):
    assert len(interrupted.found) == 1
    assert steps_of(interrupted.last) >= 200
    assert_whole(interrupted.folder)
    assert (interrupted.folder / 'vlm_agent.zip').is_file()


def test_a_resumed_run_goes_on_where_it_stopped(interrupted, killed):
    first = int(re.search(r'step ([\d,]+) of', killed.graph.output)[1].replace(',', ''))
    assert first == killed.before.steps
    assert_goes_on(interrupted.folder, killed.before.path, killed.last)


def test_a_killed_node_ends_the_launch_with_an_error(killed):
    assert killed.code != 0
    assert re.search(r'reward_node-\d+ ended with exit code -9', killed.graph.output)
    assert killed.graph.output.count('process has finished cleanly') == 3, killed.graph.output
    assert 'Traceback' not in killed.graph.output


def test_the_last_checkpoint_before_a_kill_is_usable(interrupted, killed, tmp_path):
    assert_whole(interrupted.folder)
    steps = steps_of(killed.last)
    total = steps + 60
    with launch(new_domain(), tmp_path, resume=interrupted.folder, total_steps=total) as graph:
        assert_clean(graph, processes=4)
    last = checkpoints(interrupted.folder)[-1]
    assert steps_of(last) == total
    assert_goes_on(interrupted.folder, killed.last, last)


def test_a_node_that_is_killed_after_ctrl_c_makes_the_launch_fail(tmp_path):
    with launch(new_domain(), tmp_path, method='sac', total_steps=ENDLESS) as graph:
        graph.wait_for(r'step 2\d\d of')
        learner = graph.pid_of('learner_node')
        # It cannot answer Ctrl-C, as if it hung.
        os.kill(learner, signal.SIGSTOP)
        graph.interrupt()
        graph.wait_for(r'\[sim_node-\d+\]: process has finished cleanly')
        os.kill(learner, signal.SIGKILL)
        assert graph.finish() == 1
    assert re.search(r'learner_node-\d+ ended with exit code -9', graph.output)
    assert 'Traceback' not in graph.output


def test_ctrl_c_while_the_nodes_wait_for_each_other(tmp_path):
    with launch(new_domain(), tmp_path, total_steps=ENDLESS) as graph:
        # The first of them; the others still import.
        graph.wait_for(r'\[sim_node\]: drawer-close-v3')
        graph.interrupt()
        assert_clean(graph, processes=4)


def test_ctrl_c_during_an_evaluation(tmp_path):
    domain = new_domain()
    arguments = {'eval_every': 100, 'eval_episodes': 1000, 'run_folder': tmp_path / 'run'}
    with Probe(domain) as probe, launch(domain, tmp_path, **arguments) as graph:
        probe.command = graph
        statuses = probe.record(TrainingStatus, 'training_status')
        probe.wait(
            lambda: statuses and statuses[-1].state == TrainingStatus.EVALUATING, 'an evaluation'
        )
        graph.interrupt()
        assert_clean(graph, processes=5)
    assert [path.name for path in checkpoints(tmp_path / 'run')] == ['step_000000100']
    assert_whole(tmp_path / 'run')
    assert not read_table(tmp_path / 'run' / 'evaluations.csv')
