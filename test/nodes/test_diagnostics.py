# SPDX-License-Identifier: Apache-2.0
"""Diagnostics of running nodes: warnings come with their causes, and go with them."""

import contextlib
import os
import signal
import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from graph_support import Probe, new_domain, run_node

from furl_interfaces.msg import Action
from furl_ros.bridge.qos import LOCKSTEP
from furl_ros.bridge.steps import to_action
from furl_ros.core.health import EVERYWHERE, RULES

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
LEARNING = ('sim_node', 'reward_node', 'alignment_node', 'learner_node')


@contextlib.contextmanager
def simulator():
    domain = new_domain()
    with Probe(domain) as probe, run_node(domain, 'sim_node', task='drawer-close-v3') as command:
        probe.command = command
        probe.wait_for_level('sim_node', OK)
        yield probe


def test_a_count_warns_while_it_grows_and_its_total_stays():
    with simulator() as probe:
        assert 'bad actions' not in probe.diagnostics['sim_node']
        actions = probe.node.create_publisher(Action, 'action', LOCKSTEP)
        probe.wait(actions.get_subscription_count)
        actions.publish(to_action(1, np.full(4, np.nan, np.float32), 'test'))
        probe.wait_for_level('sim_node', WARN, '1 bad actions in 10 s')
        probe.wait_for_level('sim_node', OK)
        assert probe.diagnostics['sim_node']['bad actions'] == '1'
        assert probe.statuses['sim_node'].message == 'waiting for reset'


def test_a_value_warns_while_it_is_beyond_its_limit_and_the_log_says_so():
    with simulator() as probe:
        os.killpg(probe.command.process.pid, signal.SIGSTOP)
        again = time.monotonic() + 3
        probe.wait(lambda: time.monotonic() > again, 'the end of the stop')
        os.killpg(probe.command.process.pid, signal.SIGCONT)
        probe.wait_for_level('sim_node', WARN, 'lag_s is ')
        probe.command.wait_for(r'\[WARN\].*lag_s is \S+, over 1\n')
        probe.wait_for_level('sim_node', OK)
        assert float(probe.diagnostics['sim_node']['lag_s']) < 1


@pytest.mark.parametrize('node', LEARNING)
def test_a_training_tells_every_value_that_has_a_limit(train_run, node):
    told = [s for message in train_run.diagnostics for s in message.status if s.name == node]
    values = {pair.key for status in told for pair in status.values}
    assert {rule.value for rule in (*EVERYWHERE, *RULES[node])} <= values
    # Whatever this machine is short of, nothing has failed.
    assert 'not_finite' not in ' '.join(status.message for status in told)
