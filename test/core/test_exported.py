# SPDX-License-Identifier: Apache-2.0
"""Policies as ONNX: what they say is what the agents say, and what is no policy is refused."""

import gymnasium
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from furl_ros.core.agents import Agent, unscaled
from furl_ros.core.config import TrainConfig
from furl_ros.core.exported import OnnxPolicy, to_onnx
from furl_ros.core.settings import SettingError

STATES = gymnasium.spaces.Box(-np.inf, np.inf, (5,), np.float32)
ACTIONS = gymnasium.spaces.Box(np.array([-1, 0, -5], np.float32), np.array([1, 10, -2], np.float32))
NORMALIZER = (
    np.array([0.5, -2, 0, 100, 1e-3], np.float32),
    np.array([0.1, 3, 1, 20, 0.02], np.float32),
)


@pytest.fixture
def agent():
    return Agent(TrainConfig(hidden_units=32), STATES, ACTIONS, seed=3)


def written(path, agent, normalizer=None, about=()):
    low, high = ACTIONS.low, ACTIONS.high
    path.write_bytes(to_onnx(agent.policy_layers(normalizer), low, high, dict(about)))
    return path


@pytest.mark.parametrize('normalizer', [None, NORMALIZER], ids=('plain', 'scaled'))
def test_it_acts_as_the_agent_does(tmp_path, agent, normalizer):
    policy = OnnxPolicy(written(tmp_path / 'policy.onnx', agent, normalizer))
    mean, scale = normalizer or (0, 1)
    states = np.random.default_rng(0).normal(mean, 2 * np.ones(5) * scale, (500, 5))
    for state in states.astype(np.float32):
        seen = ((state - mean) / scale).astype(np.float32)
        expected = unscaled(ACTIONS, agent.act(seen, deterministic=True))
        action = policy(state)
        assert action.dtype == np.float32
        assert np.abs(action - expected).max() < 1e-5 * (ACTIONS.high - ACTIONS.low).max()
    assert (policy.state_size, policy.action_size) == (5, 3)


def test_the_file_says_what_it_is(tmp_path, agent):
    path = written(tmp_path / 'policy.onnx', agent, about={'method': 'furl'})
    model = onnx.load(path)
    assert model.producer_name == 'furl_ros'
    assert {p.key: p.value for p in model.metadata_props} == {'method': 'furl'}
    assert [o.version for o in model.opset_import] == [17]


def test_the_same_policy_is_the_same_file(tmp_path, agent):
    first, second = (written(tmp_path / name, agent).read_bytes() for name in 'ab')
    assert first == second


def test_no_policy(tmp_path):
    with pytest.raises(SettingError, match=r'policy is .*none\.onnx.*accepted: a policy as ONNX'):
        OnnxPolicy(tmp_path / 'none.onnx')
    path = tmp_path / 'policy.onnx'
    path.write_bytes(b'nonsense')
    with pytest.raises(SettingError, match='accepted: a policy as ONNX'):
        OnnxPolicy(path)
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ['batch', 2]) for n in 'xy']
    graph = helper.make_graph([helper.make_node('Tanh', ['x'], ['y'])], 'g', value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(SettingError, match="with input 'x' and output 'y'; accepted: 'state'"):
        OnnxPolicy(path)
