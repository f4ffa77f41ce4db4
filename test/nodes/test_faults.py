# SPDX-License-Identifier: Apache-2.0
"""Stopped and killed processes, graphs that meet: nothing is lost, and nobody learns of others."""

import os
import signal
import time

import numpy as np
import pytest
from graph_support import (
    Command,
    Probe,
    assert_clean,
    checkpoints,
    launch,
    new_domain,
    read_alignment,
    read_trainer,
)

from furl_interfaces.msg import RewardHeads, TrainingStatus

NODES = ('sim_node', 'reward_node', 'alignment_node', 'learner_node')


def alive(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


@pytest.mark.parametrize('name', ['alignment_node', 'reward_node'])
def test_a_node_that_stands_still_is_waited_for(tmp_path, name):
    """The learner goes as far ahead as the queues hold, then waits, and says so."""
    domain = new_domain()
    settings = {'total_steps': 1_500, 'checkpoint_every': 300, 'run_folder': tmp_path / 'run'}
    # Nobody succeeds by accident: after a success that was lost again the rings keep no frames.
    settings['task'] = 'peg-insert-side-v3'
    with Probe(domain) as probe, launch(domain, tmp_path, **settings) as graph:
        probe.command = graph
        statuses = probe.record(TrainingStatus, 'training_status')
        probe.wait(lambda: statuses and statuses[-1].total_steps > 350, 'the first steps')
        pid = graph.pid_of(name)
        os.kill(pid, signal.SIGSTOP)
        probe.wait(lambda: len({s.total_steps for s in statuses[-4:]}) == 1, 'the learner to wait')
        # The alignment is waited for in the end, whatever the learner was doing.
        told = name == 'reward_node' or graph.wait_for('waiting for alignment_node')
        os.kill(pid, signal.SIGCONT)
        probe.command = None
        assert_clean(graph, processes=4)
    assert told
    replay, trainer = read_trainer(checkpoints(tmp_path / 'run')[-1])
    heads, meta = read_alignment(checkpoints(tmp_path / 'run')[-1])
    assert trainer['steps'] == meta['transitions'] == 1_500
    assert len(np.unique(replay['stamp'])) == 1_500
    assert len(heads['positives']['embeddings']) == 0
    aligned, replayed = heads['negatives']['embeddings'], replay['embedding']
    np.testing.assert_array_equal(np.unique(aligned, axis=0), np.unique(replayed, axis=0))


def test_a_killed_launch_takes_its_nodes_with_it(tmp_path):
    """They save what there is, and the run can go on."""
    domain = new_domain()
    settings = {'total_steps': 100_000, 'run_folder': tmp_path / 'run'}
    with Probe(domain) as probe, launch(domain, tmp_path, **settings) as graph:
        # The learner's own word: the alignment may be ahead of it.
        statuses = probe.record(TrainingStatus, 'training_status')
        probe.command = graph
        probe.wait(lambda: statuses and statuses[-1].total_steps >= 200, 'the first steps')
        pids = [graph.pid_of(name) for name in NODES]
        probe.command = None
        os.kill(graph.process.pid, signal.SIGKILL)
        probe.wait(lambda: not any(map(alive, pids)), 'the end of the nodes')
    steps = read_trainer(checkpoints(tmp_path / 'run')[-1])[1]['steps']
    assert steps >= 200
    more = {'resume': tmp_path / 'run', 'total_steps': steps + 100}
    with launch(new_domain(), tmp_path, small=False, **more) as graph:
        assert_clean(graph, processes=4)
    assert read_trainer(checkpoints(tmp_path / 'run')[-1])[1]['steps'] == steps + 100


def test_graphs_keep_out_of_each_others_way(tmp_path):
    """A second one under the same names ends at once; in a namespace both learn for themselves."""
    domain = new_domain()
    tasks = {'first': 'drawer-close-v3', 'second': 'window-open-v3'}
    settings = {'total_steps': 100_000, 'pin_learner': False, 'deterministic': True}
    with Probe(domain) as probe:
        folder = tmp_path / 'first'
        first = launch(domain, tmp_path, task=tasks['first'], run_folder=folder, **settings)
        with first:
            probe.command = first
            heads = probe.record(RewardHeads, 'reward_heads')
            probe.wait(lambda: heads, 'the first graph')
            began = time.monotonic()
            with launch(domain, tmp_path, task=tasks['second'], **settings) as same:
                assert same.finish() == 1
            assert time.monotonic() < began + 60
            assert f'another graph has these names in ROS domain {domain}:' in same.output
            assert f'_node (it writes to {folder})' in same.output
            assert 'ROS_DOMAIN_ID=<number>) or a namespace (namespace:=<name>)' in same.output
            assert 'process started' not in same.output
            with launch(domain, tmp_path, run_folder=folder) as resumed:
                assert resumed.finish() == 1
            writer = first.pid_of('learner_node')
            assert f'process {writer} on ' in resumed.output
            other = settings | {'total_steps': 300, 'run_folder': tmp_path / 'second'}
            with launch(domain, tmp_path, task=tasks['second'], namespace='apart', **other) as more:
                assert_clean(more, processes=4)
            assert 'of another run' not in more.output
            first.interrupt()
            assert first.finish() == 0, first.output
            assert 'of another run' not in first.output
    with launch(new_domain(), tmp_path, task=tasks['second'], **other | alone(tmp_path)) as graph:
        assert_clean(graph, processes=4)
    apart, by_itself = (
        read_trainer(checkpoints(tmp_path / name)[-1])[0] for name in ('second', 'alone')
    )
    for name, array in apart.items():
        np.testing.assert_array_equal(array, by_itself[name], err_msg=name)


def alone(folder):
    """Where the run that nobody disturbs is written to."""
    return {'run_folder': folder / 'alone'}


def test_the_launch_finds_its_names_taken_by_a_single_node(tmp_path):
    domain = new_domain()
    with Command(['ros2', 'run', 'furl_ros', 'sim_node'], domain) as sim:
        sim.wait_for('drawer-close-v3')
        with launch(domain, tmp_path, method='sac') as graph:
            assert graph.finish() == 1
    assert f'another graph has these names in ROS domain {domain}: /sim_node' in graph.output
