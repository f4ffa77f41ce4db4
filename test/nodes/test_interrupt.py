# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C at awkward moments; a running graph's is in test_faults.py."""

import os
import re
import signal
import time

import pytest
from graph_support import (
    HostedGraph,
    Probe,
    assert_clean,
    checkpoints,
    launch,
    new_domain,
    read_table,
    run_process,
)
from run_support import ENDLESS, assert_whole

from furl_interfaces.msg import TrainingStatus


def test_ctrl_c_during_an_evaluation(tmp_path):
    domain = new_domain()
    arguments = {'eval_every': 100, 'eval_episodes': 1000, 'run_folder': tmp_path / 'run'}
    with Probe(domain) as probe, HostedGraph(domain, tmp_path, **arguments) as graph:
        probe.command = graph
        statuses = probe.record(TrainingStatus, 'training_status')
        probe.wait(
            lambda: statuses and statuses[-1].state == TrainingStatus.EVALUATING, 'an evaluation'
        )
        graph.end()
    assert [path.name for path in checkpoints(tmp_path / 'run')] == ['step_000000100']
    assert_whole(tmp_path / 'run')
    assert not read_table(tmp_path / 'run' / 'evaluations.csv')


@pytest.mark.parametrize(
    'name',
    [
        'reward_node',
        *(
            pytest.param(name, marks=pytest.mark.campaign)
            for name in ('learner_node', 'sim_node', 'alignment_node')
        ),
    ],
)
def test_a_signal_that_comes_when_a_wait_is_over_ends_the_node(name):
    """Where it interrupts the main thread, a SimpleQueue of Python 3.11 waits for ever."""
    settings = {'reward_node': {'prompt': 'x', 'device': 'cpu'}, 'learner_node': {'method': 'sac'}}
    domain = new_domain()
    with Probe(domain) as probe, run_process(domain, name, **settings.get(name, {})) as command:
        probe.command = command
        probe.wait(lambda: name in probe.diagnostics, 'the node')
        pid = command.process.pid
        # Interrupted, and not on the processor again before the wait is over.
        os.killpg(pid, signal.SIGINT)
        os.killpg(pid, signal.SIGSTOP)
        time.sleep(0.5)
        os.killpg(pid, signal.SIGCONT)
        command.expect_end()


@pytest.mark.campaign
def test_a_node_that_is_killed_after_ctrl_c_makes_the_launch_fail(tmp_path):
    domain = new_domain()
    with (
        Probe(domain) as probe,
        launch(domain, tmp_path, method='sac', total_steps=ENDLESS) as graph,
    ):
        statuses = probe.record(TrainingStatus, 'training_status')
        probe.wait(lambda: statuses and statuses[-1].total_steps > 200, 'the first updates')
        learner = graph.pid_of('learner_node')
        # It cannot answer Ctrl-C, as if it hung.
        os.kill(learner, signal.SIGSTOP)
        graph.interrupt()
        graph.wait_for(r'\[sim_node-\d+\]: process has finished cleanly')
        os.kill(learner, signal.SIGKILL)
        graph.expect_end(1)
    assert re.search(r'learner_node-\d+ ended with exit code -9', graph.output)


@pytest.mark.campaign
def test_ctrl_c_while_the_nodes_wait_for_each_other(tmp_path):
    with launch(new_domain(), tmp_path, total_steps=ENDLESS) as graph:
        # The first of them; the others still import.
        graph.wait_for(r'\[sim_node\]: drawer-close-v3')
        graph.interrupt()
        assert_clean(graph, processes=4)
