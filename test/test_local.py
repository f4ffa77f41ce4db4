# SPDX-License-Identifier: Apache-2.0
"""The local runner: the whole method in one process."""

import csv
import functools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from local_support import settings
from PIL import Image
from safetensors.torch import save_file
from stable_baselines3 import SAC

from furl_ros import local
from furl_ros.bridge import graph
from furl_ros.core.config import VlmConfig
from furl_ros.core.policy_input import PolicyInput
from furl_ros.core.run import TRAINER_FILE, find_checkpoint
from furl_ros.core.scorings import PAIRED
from furl_ros.core.seeds import episode_seed
from furl_ros.core.settings import SettingError
from furl_ros.core.storage import load_tree
from furl_ros.core.vlm import load_vlm
from furl_ros.core.vlm.open_clip_library import open_clip
from furl_ros.local import LocalRun, main, train

ROOT = Path(__file__).parents[1]


def replay(folder):
    arrays, meta = load_tree(find_checkpoint(folder) / TRAINER_FILE)
    return arrays['replay'], meta


@pytest.fixture(scope='module', autouse=True)
def made_once():
    """Models and goal images that several runs ask for: they follow from the settings alone."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ('load_vlm', 'goal_image'):
            patch.setattr(local, name, functools.cache(getattr(local, name)))
        yield


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp('local') / 'run'
    given = {'total_steps': '200', 'eval_every': '100', 'checkpoint_every': '100'}
    return train(settings(folder, **given), log_every=50)


def test_a_run_leaves_its_whole_folder(finished):
    names = {path.name for path in finished.iterdir()}
    assert {
        'config.yaml',
        'curves.csv',
        'episodes.csv',
        'evaluations.csv',
        'checkpoints',
        'tensorboard',
        'vlm_agent.zip',
        'sac_agent.zip',
    } <= names
    with open(finished / 'episodes.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [int(row['total_steps']) for row in rows] == list(range(25, 201, 25))
    assert {row['phase'] for row in rows} == {'random', 'relay'}
    with open(finished / 'evaluations.csv', newline='') as file:
        assert [int(row['total_steps']) for row in csv.DictReader(file)] == [100, 200]
    SAC.load(finished / 'vlm_agent.zip', device='cpu')


def test_every_step_is_stored_once_with_its_own_frame(finished):
    arrays, meta = replay(finished)
    assert meta['steps'] == 200
    assert meta['updates'] == 150
    # The counter's state and picture carry the same number: equal states, equal embeddings.
    assert len(np.unique(arrays['next_state'], axis=0)) == 200
    assert len(np.unique(arrays['embedding'], axis=0)) == 200
    inner = arrays['step'][1:] > 1
    np.testing.assert_array_equal(arrays['state'][1:][inner], arrays['next_state'][:-1][inner])


def test_a_resumed_run_is_the_run_that_was_never_broken_off(tmp_path):
    given = {'task': 'drawer-close-v3', 'scoring': 'potential', 'warmup_steps': '25'}
    whole = train(settings(tmp_path / 'whole', **given, total_steps='75'))
    part = train(settings(tmp_path / 'part', **given, total_steps='50'))
    train(graph.settings_of_run({'resume': str(part), 'total_steps': '75'}, ''))
    one, other = replay(whole), replay(part)
    assert one[1] == other[1]
    for name, array in one[0].items():
        np.testing.assert_array_equal(array, other[0][name], err_msg=name)
    policies = [SAC.load(folder / 'vlm_agent.zip', device='cpu').policy for folder in (whole, part)]
    for mine, its in zip(*(policy.parameters() for policy in policies), strict=True):
        np.testing.assert_array_equal(mine.detach(), its.detach())


def test_an_episode_that_the_end_of_a_run_broke_off_is_neither_success_nor_failure(tmp_path):
    folder = train(settings(tmp_path, horizon='20', total_steps='30'))
    run = LocalRun(graph.settings_of_run({'resume': str(folder), 'total_steps': '70'}, ''))
    try:
        list(run.steps())
        # Episodes of 20 steps: one, half of one, two more.
        assert len(run.aligner.positives) + len(run.aligner.negatives) == 60
        assert not run.aligner.episodes
    finally:
        run.close()


def test_a_finished_run_that_is_resumed_stays_as_it_is(finished):
    names = ('episodes.csv', 'evaluations.csv', 'curves.csv', 'vlm_agent.zip')
    before = {name: (finished / name).read_bytes() for name in names}
    train(graph.settings_of_run({'resume': str(finished)}, ''))
    assert {name: (finished / name).read_bytes() for name in names} == before


@pytest.mark.parametrize('method', ['sac', 'vlm', 'vlm-proj', 'relay', 'furl-nogoal'])
def test_every_method_trains(method, tmp_path):
    run = LocalRun(settings(tmp_path, total_steps='80', method=method))
    try:
        assert list(run.steps()) == list(range(1, 81))
        assert run.trainer.updates == 30
        assert (run.scorer is None) == (method == 'sac')
    finally:
        run.close()


@pytest.mark.parametrize(
    ('method', 'scoring'),
    [
        ('vlm', 'goal_baseline'),
        ('relay', 'goal_image'),
        ('vlm-proj', 'potential'),
        ('furl', 'progress'),
    ],
)
def test_every_scoring_trains(method, scoring, tmp_path):
    given = {'task': 'drawer-close-v3', 'total_steps': '60', 'method': method, 'scoring': scoring}
    run = LocalRun(settings(tmp_path, **given))
    try:
        assert list(run.steps()) == list(range(1, 61))
        trainer = run.trainer
        assert trainer.updates == 10
        assert np.isfinite(trainer.vlm_reward_mean)
        assert all(np.isfinite(value) for value in trainer.figures().values())
        if scoring in PAIRED:
            rows = np.arange(60)
            previous = trainer.replay._previous_embeddings(rows).numpy()
            inner = np.flatnonzero(trainer.replay.arrays['step'] > 1)
            embeddings = trainer.replay.arrays['embedding'].astype(np.float32)
            np.testing.assert_array_equal(previous[inner], embeddings[inner - 1])
            assert sorted(trainer.replay._apart) == [0, 25, 50]
            reset = run.encode(run.env.reset(episode_seed(0, 0, 2))).astype(np.float16)
            np.testing.assert_array_equal(previous[50], reset.astype(np.float32))
    finally:
        run.close()


def test_a_wrong_model_is_told_before_anything_is_made(monkeypatch, tmp_path):
    monkeypatch.delattr(local, 'make')
    with pytest.raises(SettingError, match="vlm is 'nothing'"):
        LocalRun(settings(tmp_path, vlm='nothing'))


def test_a_task_whose_goal_image_cannot_be_drawn_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(local, 'goal_image', lambda config: None)
    given = {'task': 'drawer-close-v3', 'method': 'vlm', 'scoring': 'goal_image'}
    with pytest.raises(SettingError, match=r"^scoring is 'goal_image', but no scripted policy sol"):
        LocalRun(settings(tmp_path, **given))
    assert not (tmp_path / 'config.yaml').exists()


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (['gama:=0.9'], "no argument 'gama'"),
        (['gamma:=3'], 'gamma is 3'),
        (['gamma'], "'gamma' is no setting"),
        (['task:=nowhere-v3'], 'task is'),
        (['vlm:=open_clip:nothing/random'], 'nothing'),
    ],
)
def test_a_wrong_setting_is_one_line(arguments, text, tmp_path):
    with pytest.raises(SystemExit) as left:
        main([*arguments, f'run_folder:={tmp_path}'])
    message = str(left.value)
    assert message.startswith('error: ')
    assert text in message
    assert '\n' not in message


def test_a_policy_that_sees_trains(tmp_path):
    """The counter draws its number into the picture: who sees knows it."""
    values = settings(
        tmp_path / 'run',
        observe='both',
        warmup_steps='25',
        total_steps='55',
        eval_every='50',
        normalize_states='true',
    )
    run = train(values, log_every=50)
    stored, _ = replay(run)
    width = 3 + stored['embedding'].shape[1]
    agent = SAC.load(run / 'vlm_agent.zip', device='cpu')
    assert agent.observation_space.shape == (width,)
    with open(run / 'evaluations.csv', newline='') as file:
        assert [row['total_steps'] for row in csv.DictReader(file)] == ['50', '55']


def test_the_example_of_the_docs_acts_as_the_run_does(tmp_path):
    """The lines of docs/learning.md, word for word, in a process of their own."""
    weights = tmp_path / 'weights.safetensors'
    torch.manual_seed(1)
    save_file(open_clip.create_model('tiny-random').state_dict(), weights)
    vlm = f'open_clip:tiny-random/{weights}'
    run = train(
        settings(
            tmp_path / 'run',
            observe='embedding',
            warmup_steps='25',
            total_steps='55',
            normalize_states='true',
            vlm=vlm,
            image_size='112',
        )
    )
    page = (ROOT / 'docs' / 'learning.md').read_text()
    (example,) = re.findall(r'```python\n(import numpy.*?def act.*?)```', page, re.DOTALL)
    rng = np.random.default_rng(0)
    state = rng.normal(size=3).astype(np.float32)
    frame = np.asarray(
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((112, 112))
    )
    np.savez(run / 'given.npz', state=state, frame=frame)
    # The tiny model is known to open_clip by this import alone; any other needs none of furl_ros.
    program = f"""
import furl_ros.core.vlm.open_clip_library
MODEL, WEIGHTS = 'tiny-random', {str(weights)!r}
{example}
from PIL import Image
given = np.load('given.npz')
np.save('action.npy', act(given['state'], Image.fromarray(given['frame'])))
"""
    subprocess.run([sys.executable, '-c', program], cwd=run, check=True)
    embedding = load_vlm(VlmConfig(vlm=vlm, device='cpu')).encode_images(frame[None])[0]
    given = PolicyInput('embedding', 3, (), len(embedding)).one(state, embedding)
    policy = SAC.load(run / 'vlm_agent.zip', device='cpu')
    np.testing.assert_allclose(
        np.load(run / 'action.npy'), policy.predict(given, deterministic=True)[0], atol=1e-3
    )
