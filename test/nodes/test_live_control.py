# SPDX-License-Identifier: Apache-2.0
"""A running graph whose settings are changed, by `ros2 param set` or whoever calls its service."""

import numpy as np
import pytest
from graph_support import Command, HostedGraph, Probe, checkpoints, new_domain, read_alignment
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from furl_interfaces.msg import PromptEmbedding, RewardHeads, TrainingStatus
from furl_ros.bridge.graph import settings_of_run
from furl_ros.core.run import config_at
from furl_ros.core.settings import SettingError

PROMPT, OTHER = 'closing a drawer', 'open the window'


class Operator:
    """Changes parameters of a graph, and listens to it."""

    def __init__(self, probe, folder):
        self.probe, self.folder = probe, folder
        self.statuses = probe.record(TrainingStatus, 'training_status')
        self.prompts = probe.record(PromptEmbedding, 'prompt_embedding')
        self.heads = probe.record(RewardHeads, 'reward_heads')

    def set(self, node, **values):
        """Set parameters; returns why they were refused, '' where they were not."""
        parameters = [
            Parameter(name, value=value).to_parameter_msg() for name, value in values.items()
        ]
        answer = self.probe.call(SetParameters, f'{node}/set_parameters', parameters=parameters)
        return ' '.join(result.reason for result in answer.results if not result.successful)

    def go_on(self, steps=60):
        """Wait for so many further steps."""
        until = self.statuses[-1].total_steps + steps
        self.probe.wait(lambda: self.statuses[-1].total_steps >= until, 'further steps')


@pytest.fixture(scope='module')
def operator(tmp_path_factory):
    folder = tmp_path_factory.mktemp('live')
    domain = new_domain()
    arguments = {'run_folder': folder / 'run', 'total_steps': 100_000, 'prompt': PROMPT}
    arguments |= {'warmup_steps': 50}
    with Probe(domain) as probe, HostedGraph(domain, folder, **arguments) as graph:
        probe.command = graph
        one = Operator(probe, folder / 'run')
        probe.wait(lambda: one.statuses and one.statuses[-1].updates > 0, 'the first updates')
        yield one
        graph.end()


@pytest.mark.parametrize(
    ('node', 'values', 'reason'),
    [
        ('learner_node', {'rho': -1.0}, 'rho is -1.0; accepted: 0 to 1000.0'),
        ('learner_node', {'rho': 'much'}, "rho is 'much'; accepted: a value of type float"),
        ('learner_node', {'gamma': 0.5}, 'gamma is read at the start: end the node or its graph'),
        ('learner_node', {'method': 'sac'}, 'method is the same for a whole run: what was learned'),
        ('learner_node', {'use_sim_time': True}, 'use_sim_time is read at the start'),
        ('learner_node', {'eval_every': 100}, 'started without a robot to evaluate on'),
        ('reward_node', {'prompt': ' '}, "prompt is ' '; accepted: the task in words"),
        ('reward_node', {'vlm': 'tiny-random'}, 'vlm is the same for a whole run'),
        ('alignment_node', {'margin': 0.5}, 'margin is read at the start'),
        ('sim_node', {'task': 'drawer-open-v3'}, 'task is the same for a whole run'),
    ],
)
def test_what_cannot_be_changed_is_refused_with_its_reason(operator, node, values, reason):
    assert reason in operator.set(node, **values)
    (name,) = values
    described = operator.probe.call(
        DescribeParameters, f'{node}/describe_parameters', names=[name]
    ).descriptors[0]
    assert described.read_only is (name not in ('rho', 'prompt', 'eval_every'))


def test_rho_and_prompt_are_changed_and_a_resumed_run_has_them_again(operator):
    probe = operator.probe
    # As a person does it; an integer stands for a float.
    arguments = ['ros2', 'param', 'set', '/learner_node', 'rho', '2']
    with Command(arguments, probe.domain) as command:
        command.expect_end()
    probe.wait(lambda: operator.statuses[-1].rho == 2.0, 'the new rho')
    assert operator.set('learner_node', rho=0.5, keep_checkpoints=3) == ''
    probe.wait(lambda: operator.statuses[-1].rho == 0.5, 'the newer rho')

    probe.wait(lambda: operator.heads[-1].negatives > 0, 'frames in the rings')
    kept = operator.heads[-1].negatives
    assert operator.prompts[-1].prompt == PROMPT
    goal = operator.prompts[-1].goal_embedding
    assert operator.set('reward_node', prompt=OTHER) == ''
    probe.wait(lambda: operator.prompts[-1].prompt == OTHER, 'the new prompt')
    first, last = operator.prompts[0], operator.prompts[-1]
    assert not np.allclose(first.text_embedding, last.text_embedding)
    assert last.goal_embedding == goal
    probe.command.wait_for(rf"prompt is '{OTHER}' from now on")
    operator.go_on()
    assert operator.heads[-1].negatives >= kept
    assert not any('bad' in name for name in probe.diagnostics['learner_node'])

    assert probe.call(Trigger, 'learner_node/save_checkpoint').success
    probe.wait(lambda: checkpoints(operator.folder), 'the checkpoint')
    checkpoint = checkpoints(operator.folder)[-1]
    changed = {'rho': 0.5, 'keep_checkpoints': 3, 'prompt': OTHER}
    assert changed.items() <= config_at(checkpoint).items()
    assert read_alignment(checkpoint)[1]['transitions'] > 0
    settings = settings_of_run({'resume': str(checkpoint)}, '')
    assert changed.items() <= settings.items()
    with pytest.raises(SettingError, match=f"accepted: '{OTHER}'"):
        settings_of_run({'resume': str(checkpoint), 'prompt': PROMPT}, '')
