# SPDX-License-Identifier: Apache-2.0
"""Bad input gets one line that names the value and what is accepted, and an exit code.

What is refused is in test/bridge/test_graph.py and beside the cores. Here: that launch files and
nodes look at it, and do so before anything is started.
"""

import re

import pytest
from graph_support import new_domain, run_node
from launch_support import describe
from learner_stage import learner

from furl_ros.core.settings import SettingError


@pytest.mark.parametrize('file', ['train.launch.py', 'sim.launch.py'])
@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        ({'gama': 0.9}, "no argument 'gama'; accepted: .*gamma"),
        ({'gamma': 1.5}, 'gamma is 1.5; accepted: 0 to 1'),
        ({'params_file': '/nowhere.yaml'}, "params_file is '/nowhere.yaml'; accepted: a YAML file"),
        ({'resume': '/nowhere'}, "resume is '/nowhere'; accepted: a run folder"),
        ({'namespace': 'a b'}, "namespace is 'a b'; accepted: a ROS name"),
    ],
)
def test_a_launch_refuses_wrong_settings(file, arguments, text):
    index = {'index': 0} if file == 'sim.launch.py' else {}
    with pytest.raises(SettingError, match=text) as caught:
        describe(file, **index, **arguments)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('file', 'arguments', 'text'),
    [
        ('train', {'vlm': 'nothing'}, "vlm is 'nothing'; accepted: 'furl-tiny', "),
        ('sim', {'index': 2, 'num_sims': 2}, "index is '2'; accepted: 0 to 1 with num_sims:=2"),
        ('evaluate', {'checkpoint': 'nowhere'}, "checkpoint is 'nowhere'; accepted: a run folder"),
        ('evaluate', {'checkpoint': 'nowhere', 'episodes': 'many'}, "episodes is 'many'; accepted"),
        ('monitor', {'viewer': 'tv'}, "viewer is 'tv'; accepted: rviz, web"),
        ('mock_arm', {'joint_noise': 5}, 'joint_noise is 5.0; accepted: 0 to 0.1'),
        ('mock_arm', {'jont_noise': 0}, "no argument 'jont_noise'; accepted: .*joint_noise"),
    ],
)
def test_a_launch_refuses_wrong_settings_of_its_own(file, arguments, text):
    with pytest.raises(SettingError, match=text):
        describe(f'{file}.launch.py', **arguments)


GOAL = {'prompt': 'x', 'scoring': 'goal_image'}
BASELINE = {'prompt': 'x', 'scoring': 'goal_baseline', 'method': 'vlm', 'baseline_prompt': 'X'}
NOT_WITH_FURL = "scoring is 'goal_image'; accepted with method furl: cosine, potential, progress"


@pytest.mark.parametrize(
    ('name', 'arguments', 'text'),
    [
        ('sim_node', {'task': 'lift-v3'}, "task is 'lift-v3'.*accepted: .*reach-v3"),
        ('alignment_node', {'margin': 3.5}, 'margin is 3.5; accepted: 0 to 2'),
        ('learner_node', {'gamma': 1.5}, 'gamma is 1.5; accepted: 0 to 1'),
        ('learner_node', {'method': 'furl', 'scoring': 'goal_image'}, NOT_WITH_FURL),
        ('reward_node', {'prompt': "''"}, "prompt is ''; accepted: "),
        ('reward_node', GOAL, NOT_WITH_FURL),
        ('reward_node', BASELINE, "baseline_prompt is 'X'; accepted with scoring goal_baseline: "),
        ('reward_node', {'prompt': 'x', 'vlm': 'nonsense'}, "vlm is 'nonsense'; accepted: "),
        ('record_node', {'run_folder': "''"}, "run_folder is ''; accepted: the folder of the run"),
        ('record_node', {'record_topics': "'['"}, r"record_topics is '\['; accepted: a regular"),
        ('video_node', {'run_folder': "''"}, "run_folder is ''; accepted: the folder of the run"),
        ('mock_arm_node', {'late_share': 0.7, 'dropped_share': 0.7}, 'late_share'),
    ],
)
def test_a_node_refuses_wrong_settings(name, arguments, text):
    if name == 'reward_node':
        arguments = arguments | {'device': 'cpu'}
    with run_node(new_domain(), name, **arguments) as node:
        node.expect_end(2)
    assert re.fullmatch(f'error: {text}.*\n', node.output), node.output


def test_a_checkpoint_that_cannot_be_read_ends_a_run(tmp_path):
    broken = tmp_path / 'run' / 'checkpoints' / 'step_000000400'
    broken.mkdir(parents=True)
    (broken / 'trainer.safetensors').write_bytes(b'not a checkpoint')
    with learner(tmp_path, resume=broken) as (_, _, node):
        node.expect_end(2)
    assert re.search(r'^error: .*trainer.safetensors is not a readable', node.output, re.MULTILINE)


def test_a_run_folder_that_cannot_be_made_ends_a_run(tmp_path):
    (tmp_path / 'file').write_text('no folder')
    with learner(tmp_path, run_folder=tmp_path / 'file') as (_, _, node):
        node.expect_end(2)
    text = r"^error: run_folder is '.*'; accepted: a folder that can be made"
    assert re.search(text, node.output, re.MULTILINE)
