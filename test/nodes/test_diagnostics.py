# SPDX-License-Identifier: Apache-2.0
"""Diagnostics of running nodes: warnings come with their causes, and go with them."""

import contextlib
import os
import signal
import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from graph_support import Probe, new_domain, run_node

from furl_interfaces.msg import Action
from furl_ros.bridge.qos import EVENTS, LOCKSTEP
from furl_ros.bridge.steps import to_action
from furl_ros.core.health import EVERYWHERE, RULES

LEARNING = ('sim_node', 'reward_node', 'alignment_node', 'learner_node')


class Heard:
    """A running sim_node, and the newest that it said of itself."""

    def __init__(self, probe, command):
        self.probe, self.command = probe, command
        self.at = time.monotonic()
        self.status = DiagnosticStatus(level=DiagnosticStatus.STALE)
        probe.listen(DiagnosticArray, '/diagnostics', EVENTS, self.on_diagnostics)
        self.wait_for(DiagnosticStatus.OK)

    def on_diagnostics(self, message):
        (self.status,), self.at = message.status, time.monotonic()

    @property
    def values(self):
        return {pair.key: pair.value for pair in self.status.values}

    def wait_for(self, level, text=''):
        """Wait until the node says so."""
        self.probe.wait(
            lambda: self.status.level == level and text in self.status.message,
            f'{level} {text!r}; the newest is {self.status}',
        )


@contextlib.contextmanager
def simulator():
    domain = new_domain()
    with Probe(domain) as probe, run_node(domain, 'sim_node', task='drawer-close-v3') as command:
        probe.command = command
        yield Heard(probe, command)


def test_a_count_warns_while_it_grows_and_its_total_stays():
    with simulator() as heard:
        assert 'bad actions' not in heard.values
        actions = heard.probe.node.create_publisher(Action, 'action', LOCKSTEP)
        heard.probe.wait(actions.get_subscription_count)
        actions.publish(to_action(1, np.full(4, np.nan, np.float32), 'test'))
        heard.wait_for(DiagnosticStatus.WARN, '1 bad actions in 10 s')
        heard.wait_for(DiagnosticStatus.OK)
        assert heard.values['bad actions'] == '1'
        assert heard.status.message == 'waiting for reset'


def test_a_value_warns_while_it_is_beyond_its_limit_and_the_log_says_so():
    with simulator() as heard:
        os.killpg(heard.command.process.pid, signal.SIGSTOP)
        heard.probe.wait(lambda: time.monotonic() > heard.at + 3, 'silence')
        os.killpg(heard.command.process.pid, signal.SIGCONT)
        heard.wait_for(DiagnosticStatus.WARN, 'lag_s is ')
        heard.command.wait_for(r'\[WARN\].*lag_s is \S+, over 1\n')
        heard.wait_for(DiagnosticStatus.OK)
        assert float(heard.values['lag_s']) < 1


@pytest.mark.parametrize('node', LEARNING)
def test_a_training_tells_every_value_that_has_a_limit(train_run, node):
    told = [s for message in train_run.diagnostics for s in message.status if s.name == node]
    values = {pair.key for status in told for pair in status.values}
    assert {rule.value for rule in (*EVERYWHERE, *RULES[node])} <= values
    # Whatever this machine is short of, nothing has failed.
    assert 'not_finite' not in ' '.join(status.message for status in told)
