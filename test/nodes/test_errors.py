# SPDX-License-Identifier: Apache-2.0
"""Bad input gets one line that names the value and what is accepted, and an exit code.

What is refused is in test/bridge/test_graph.py and beside the cores. Here: that launch files and
nodes look at it, and do so before anything is started.
"""

import re

import pytest
from graph_support import new_domain, run_node
from learner_stage import learner
from run_support import describe

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


def test_a_launch_refuses_a_model_that_there_is_not():
    with pytest.raises(SettingError, match="vlm is 'nothing'; accepted: 'furl-tiny', "):
        describe(vlm='nothing')


def test_a_simulator_of_another_number_than_there_are_is_refused():
    with pytest.raises(SettingError, match="index is '2'; accepted: 0 to 1 with num_sims:=2"):
        describe('sim.launch.py', index=2, num_sims=2)


@pytest.mark.parametrize(
    ('name', 'arguments', 'text'),
    [
        ('sim_node', {'task': 'lift-v3'}, "task is 'lift-v3'.*accepted: .*reach-v3"),
        ('alignment_node', {'margin': 3.5}, 'margin is 3.5; accepted: 0 to 2'),
        ('learner_node', {'gamma': 1.5}, 'gamma is 1.5; accepted: 0 to 1'),
    ],
)
def test_a_node_refuses_wrong_settings(name, arguments, text):
    with run_node(new_domain(), name, **arguments) as node:
        assert node.finish() == 2, node.output
    assert re.fullmatch(f'error: {text}.*\n', node.output), node.output


def test_a_checkpoint_that_cannot_be_read_ends_a_run(tmp_path):
    broken = tmp_path / 'run' / 'checkpoints' / 'step_000000400'
    broken.mkdir(parents=True)
    (broken / 'trainer.safetensors').write_bytes(b'not a checkpoint')
    with learner(tmp_path, resume=broken) as (probe, _, node):
        probe.command = None
        assert node.finish() == 2, node.output
    assert re.search(r'^error: .*trainer.safetensors is not a readable', node.output, re.MULTILINE)
    assert 'Traceback' not in node.output


def test_a_run_folder_that_cannot_be_made_ends_a_run(tmp_path):
    (tmp_path / 'file').write_text('no folder')
    with learner(tmp_path, run_folder=tmp_path / 'file') as (probe, _, node):
        probe.command = None
        assert node.finish() == 2, node.output
    text = r"^error: run_folder is '.*'; accepted: a folder that can be made"
    assert re.search(text, node.output, re.MULTILINE)
    assert 'Traceback' not in node.output
