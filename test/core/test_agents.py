# SPDX-License-Identifier: Apache-2.0
"""Our agents against plain Stable-Baselines3, and their zips without us."""

import base64
import contextlib
import io
import json
import pickle
import re
import subprocess
import sys
import textwrap
import zipfile

import gymnasium
import numpy as np
import pytest
import torch
from core_support import assert_same, tensors
from stable_baselines3 import SAC

from furl_ros.core.agents import Agent
from furl_ros.core.config import TrainConfig
from furl_ros.core.relay_update import RelayUpdate
from furl_ros.core.replay import Replay, Transition
from furl_ros.core.settings import SettingError

STATES = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
ACTIONS = gymnasium.spaces.Box(
    np.array([-1, 0, -5, 2], np.float32), np.array([1, 10, -2, 3], np.float32)
)
CONFIG = TrainConfig(hidden_units=16, batch_size=32, buffer_size=1_000)


def agent(config=CONFIG, seed=0, states=STATES):
    return Agent(config, states, ACTIONS, seed)


def transitions(count):
    generator = np.random.default_rng(1)
    for number in range(count):
        yield Transition(
            generator.standard_normal(3).astype(np.float32),
            generator.uniform(-1, 1, 4).astype(np.float32),
            generator.standard_normal(3).astype(np.float32),
            float(generator.standard_normal()),
            False,
            number % 7 == 0,
            np.zeros(0),
            number,
            0,
            0,
            number,
        )


def replay(count=50):
    filled = Replay(count, 3, 4, 0)
    for transition in transitions(count):
        filled.add(transition)
    return filled


def updated(agent, count=3):
    generator, filled = np.random.default_rng(0), replay()
    update = RelayUpdate({'vlm': agent.sac})
    for _ in range(count):
        batch = filled.sample(generator, CONFIG.batch_size)
        update(batch, {'vlm': batch.task_rewards})
    return agent


def test_hyper_parameters_of_the_paper():
    sac = agent(TrainConfig()).sac
    assert (sac.gamma, sac.tau, sac.batch_size) == (0.99, 0.01, 256)
    assert sac.target_entropy == -2.0
    assert sac.log_ent_coef.item() == 0.0  # a temperature of 1.0
    for optimizer in (sac.actor.optimizer, sac.critic.optimizer, sac.ent_coef_optimizer):
        assert isinstance(optimizer, torch.optim.Adam)
        assert [group['lr'] for group in optimizer.param_groups] == [1e-4]
    for network in (sac.actor.latent_pi, sac.critic.q_networks[0]):
        layers = [type(layer).__name__ for layer in network][:4]
        assert layers == ['Linear', 'ReLU', 'Linear', 'ReLU']
        assert [network[index].out_features for index in (0, 2)] == [256, 256]
    assert len(sac.critic.q_networks) == 2


def test_actions_are_scaled_and_the_mean_action_is_that_of_sb3():
    one = updated(agent())
    state = np.array([0.3, -1, 2], np.float32)
    action = one.act(state, deterministic=True)
    assert action.shape == (4,)
    assert action.dtype == np.float32
    expected, _ = one.sac.predict(state, deterministic=True)
    np.testing.assert_allclose(
        ACTIONS.low + (action + 1) / 2 * (ACTIONS.high - ACTIONS.low), expected, atol=1e-5
    )
    drawn = np.stack([one.act(state) for _ in range(20)])
    assert np.abs(drawn).max() <= 1
    assert (drawn.std(axis=0) > 0.1).all()


def test_the_mean_action_draws_nothing():
    one = agent()
    before = torch.get_rng_state()
    one.act(np.zeros(3, np.float32), deterministic=True)
    assert torch.equal(torch.get_rng_state(), before)
    one.act(np.zeros(3, np.float32))
    assert not torch.equal(torch.get_rng_state(), before)


def test_save_and_load_restore_every_tensor(tmp_path):
    one, other = updated(agent()), agent(seed=5)
    one.save(tmp_path / 'a.zip', 123)
    other.load(tmp_path / 'a.zip')
    other.restore_counters(one.counters())
    assert other.sac._n_updates == 3
    for each in (one, other):
        torch.manual_seed(0)
        updated(each)
    assert_same(tensors(one.sac), tensors(other.sac), rtol=0, atol=0)


def test_a_zip_holds_no_more_than_its_agent(tmp_path):
    """Two agents that learn together share their tensors; their files do not."""
    one, other = agent(), agent(seed=1)
    one.save(tmp_path / 'before.zip', 0)
    batch = replay().sample(np.random.default_rng(0), CONFIG.batch_size)
    rewards = {'vlm': batch.task_rewards, 'sac': batch.task_rewards}
    RelayUpdate({'vlm': one.sac, 'sac': other.sac})(batch, rewards)
    one.save(tmp_path / 'together.zip', 0)
    updated(agent()).save(tmp_path / 'alone.zip', 0)
    sizes = {name: (tmp_path / f'{name}.zip').stat().st_size for name in ('together', 'alone')}
    assert sizes['together'] == pytest.approx(sizes['alone'], rel=0.01)


ALONE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('furl_ros', 'furl_interfaces', 'sim', 'rclpy'):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocked())
import gymnasium
import numpy as np
from stable_baselines3 import SAC

class Still(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gymnasium.spaces.Box(
        np.array([-1, 0, -5, 2], np.float32), np.array([1, 10, -2, 3], np.float32)
    )

    def reset(self, seed=None, options=None):
        return np.zeros(3, np.float32), {}

    def step(self, action):
        return np.ones(3, np.float32), 0.0, False, False, {}

sac = SAC.load(sys.argv[1], device='cpu')
action, _ = sac.predict(np.array([0.3, -1, 2], np.float32), deterministic=True)
print(*(float(value).hex() for value in action))
print(sac.num_timesteps, sac.buffer_size, sac.target_entropy)
sac.set_env(Still())
sac.learn(103, log_interval=None)
print(sac._n_updates)
"""


def test_the_zip_is_plain_sb3(tmp_path):
    """Loads, acts the same and goes on learning in a process that cannot import furl_ros."""
    one = updated(agent())
    one.save(tmp_path / 'vlm_agent.zip', 4321)
    action, _ = one.sac.predict(np.array([0.3, -1, 2], np.float32), deterministic=True)
    done = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(ALONE), tmp_path / 'vlm_agent.zip'],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert first.split() == [float(value).hex() for value in action]
    assert second == '4321 1000 -2.0'
    assert int(third) > 3


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), 'w'))


def repack(path, target, change):
    """Copy a zip with some members replaced."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, 'w') as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
def test_no_code_of_a_zip_is_executed(tmp_path):
    one, mark = updated(agent()), tmp_path / 'executed'
    one.save(tmp_path / 'a.zip', 0)
    evil = pickle.dumps(Evil(mark))

    def in_data(name, content):
        if name != 'data':
            return content
        data = json.loads(content)
        data['policy_class'] = {
            ':type:': 'x',
            ':serialized:': base64.b64encode(evil).decode(),
        }
        return json.dumps(data)

    repack(tmp_path / 'a.zip', tmp_path / 'data.zip', in_data)
    repack(
        tmp_path / 'a.zip', tmp_path / 'tensors.zip', lambda n, c: evil if n == 'policy.pth' else c
    )
    other = agent(seed=5)
    other.load(tmp_path / 'data.zip')
    assert_same(tensors(one.sac), tensors(other.sac), rtol=0, atol=0)
    with pytest.raises(SettingError, match=r'tensors\.zip does not fit'):
        other.load(tmp_path / 'tensors.zip')
    assert not mark.exists()
    # SB3's own way of loading would execute it.
    with contextlib.suppress(Exception):
        SAC.load(tmp_path / 'data.zip', device='cpu')
    assert mark.exists()


@pytest.mark.parametrize(
    ('spoil', 'reason'),
    [
        ('absent', 'No such file'),
        ('no zip', 'File is not a zip file'),
        ('empty zip', r'it lacks policy\.pth, pytorch_variables\.pth'),
        ('torn', 'File is not a zip file'),
        # What is left ends in one of its members, which is a zip by itself.
        ('torn within', r'it lacks policy\.pth, pytorch_variables\.pth'),
        ('flipped', r'policy\.pth in it is damaged|Bad CRC'),
        ('code', r'reading it would run code: (_io|io)\.open'),
        ('pickle', 'it is no file of plain tensors'),
        ('no tensors', 'it is no file of plain tensors'),
        ('no policy', r'it lacks policy\.pth'),
        ('no temperature', r'it lacks pytorch_variables\.pth'),
        ('list', 'list'),
        ('units', 'size mismatch'),
        ('states', 'size mismatch'),
    ],
)
@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
def test_a_zip_that_does_not_fit_is_told_in_one_line(tmp_path, spoil, reason):
    path, one = tmp_path / 'a.zip', updated(agent())
    if spoil == 'units':
        one = agent(TrainConfig(hidden_units=17))
    elif spoil == 'states':
        one = agent(states=gymnasium.spaces.Box(-1, 1, (5,), np.float32))
    one.save(tmp_path / 'good.zip', 0)
    whole = (tmp_path / 'good.zip').read_bytes()
    evil = Evil(tmp_path / 'executed')
    policies = {
        'code': torch_bytes(evil),
        'pickle': pickle.dumps(evil),
        'list': torch_bytes([1, 2]),
        'no tensors': b'no tensors',
    }
    raw = {
        'no zip': b'PK no zip',
        'torn': whole[:100],
        'torn within': whole[:-400],
        'flipped': flipped(tmp_path / 'good.zip', 'policy.pth'),
    }
    if spoil in policies:
        content = policies[spoil]
        repack(tmp_path / 'good.zip', path, lambda n, c: content if n == 'policy.pth' else c)
    elif spoil in raw:
        path.write_bytes(raw[spoil])
    elif spoil != 'absent':
        missing = {
            'empty zip': lambda name: True,
            'no policy': lambda name: name == 'policy.pth',
            'no temperature': lambda name: name == 'pytorch_variables.pth',
        }.get(spoil, lambda name: False)
        repack(tmp_path / 'good.zip', path, lambda n, c: None if missing(n) else c)
    with pytest.raises(SettingError, match='does not fit; accepted: an SB3 zip') as caught:
        agent().load(path)
    text = str(caught.value)
    assert str(path) in text
    assert re.search(reason, text), text
    assert '\n' not in text
    # How to run the code of a file all the same is what torch says about it.
    assert 'weights_only' not in text
    assert not (tmp_path / 'executed').exists()


def torch_bytes(value):
    """What torch.save writes."""
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def flipped(path, name):
    """Bytes of a zip with one bit changed in the middle of a member."""
    with zipfile.ZipFile(path) as file:
        member = file.getinfo(name)
    content = bytearray(path.read_bytes())
    content[member.header_offset + member.compress_size // 2] ^= 1
    return bytes(content)
