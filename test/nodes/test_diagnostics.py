# SPDX-License-Identifier: Apache-2.0
"""Diagnostics of running nodes: warnings come with their causes, and go with them."""

import re

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from graph_support import Probe, new_domain, run_node

from furl_interfaces.msg import Action
from furl_ros.bridge import node as bridge_node
from furl_ros.bridge.qos import LOCKSTEP
from furl_ros.bridge.steps import to_action
from furl_ros.core.health import EVERYWHERE, RULES, WINDOW_S

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
LEARNING = ('sim_node', 'reward_node', 'alignment_node', 'learner_node')


def test_counts_that_grow_and_values_beyond_their_limits_warn_for_a_while(monkeypatch, clock):
    # The node's time stands still until it is put forward; ten times as often as usual it tells
    # about itself.
    monkeypatch.setattr(bridge_node, 'time', clock)
    for name, usual in (('DIAGNOSTICS_PERIOD', 1.0), ('WINDOW_S', WINDOW_S)):
        monkeypatch.setattr(bridge_node, name, usual / 10)
    domain = new_domain()
    with Probe(domain) as probe, run_node(domain, 'sim_node', task='drawer-close-v3') as command:
        probe.command = command
        probe.wait_for_level('sim_node', OK)
        assert 'bad actions' not in probe.diagnostics['sim_node']
        actions = probe.node.create_publisher(Action, 'action', LOCKSTEP)
        probe.wait(actions.get_subscription_count)
        actions.publish(to_action(1, np.full(4, np.nan, np.float32), 'test'))
        probe.wait_for_level('sim_node', WARN, '1 bad actions in ')
        # As if it had been stopped for so long, and then went on.
        clock.now += WINDOW_S / 2
        probe.wait_for_level('sim_node', WARN, 'lag_s is ')
        assert re.search(r'\[WARN\].*lag_s is \S+, over 1\n', command.output)
        clock.now += WINDOW_S / 2
        probe.wait_for_level('sim_node', OK)
        assert probe.statuses['sim_node'].message == 'waiting for reset'
        told = probe.diagnostics['sim_node']
        assert (told['bad actions'], float(told['lag_s'])) == ('1', 0.0)


@pytest.mark.parametrize('node', LEARNING)
def test_a_training_tells_every_value_that_has_a_limit(train_run, node):
    told = [s for message in train_run.diagnostics for s in message.status if s.name == node]
    values = {pair.key for status in told for pair in status.values}
    assert {rule.value for rule in (*EVERYWHERE, *RULES[node])} <= values
    # Whatever this machine is short of, nothing has failed.
    assert 'not_finite' not in ' '.join(status.message for status in told)
