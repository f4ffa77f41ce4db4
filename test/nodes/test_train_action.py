# SPDX-License-Identifier: Apache-2.0
"""A learner that trains when told to: action, triggers, and bad messages meanwhile."""

import re

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from graph_support import (
    HostedGraph,
    Probe,
    checkpoints,
    new_domain,
    read_alignment,
    read_trainer,
)
from rclpy.action import ActionClient
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from furl_interfaces.action import Train
from furl_interfaces.msg import Action, FrameScore, Observation, RewardHeads, TrainingStatus
from furl_ros.bridge.convert import to_float_field, to_time
from furl_ros.bridge.qos import LATCHED, LOCKSTEP

STEPS, WARMUP, ENDLESS = 150, 60, 100_000
SECOND = 1_000_000_000


class Trainee:
    """The graph, and how a client of it sees it."""

    def __init__(self, probe, graph, folder):
        self.probe, self.graph, self.folder = probe, graph, folder
        self.statuses = probe.record(TrainingStatus, 'training_status')
        self.observations = probe.record(Observation, 'observation')
        self.feedback = []
        self.client = ActionClient(probe.node, Train, 'train')
        probe.wait(self.client.server_is_ready, 'the action server')

    @property
    def steps(self):
        return self.statuses[-1].total_steps if self.statuses else 0

    def send(self, total_steps):
        """Send a goal; returns its handle."""
        self.feedback.clear()
        return self.probe.send_goal(
            self.client,
            Train.Goal(total_steps=total_steps),
            feedback_callback=lambda message: self.feedback.append(message.feedback.status),
        )

    def result(self, handle):
        """Wait for the result of a goal: (status, result)."""
        future = handle.get_result_async()
        self.probe.wait(future.done, 'the result of the goal')
        return future.result().status, future.result().result

    def trigger(self, name):
        return self.probe.call(Trigger, f'learner_node/{name}')

    def wait_until_idle(self):
        """Wait until a new goal would be accepted."""
        self.probe.wait(lambda: not self.trigger('cancel').success, 'an idle learner')


@pytest.fixture(scope='module')
def trainee(tmp_path_factory):
    folder = tmp_path_factory.mktemp('action')
    domain = new_domain()
    arguments = {'autostart': False, 'exit_when_done': False, 'run_folder': folder / 'run'}
    arguments |= {'warmup_steps': WARMUP}
    with Probe(domain) as probe, HostedGraph(domain, folder, **arguments) as graph:
        probe.command = graph
        yield Trainee(probe, graph, folder / 'run')
        probe.command = None
        graph.interrupt()
        assert graph.finish() == 0, graph.output
        assert 'Traceback' not in graph.output


def test_a_goal_is_reached_with_feedback_and_a_second_one_refused(trainee):
    handle = trainee.send(STEPS)
    assert handle.accepted
    assert not trainee.send(2 * STEPS).accepted
    status, result = trainee.result(handle)
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert (result.error_code, result.error_msg) == (Train.Result.OK, '')
    assert result.total_steps == STEPS
    assert result.run_folder == str(trainee.folder)
    assert read_trainer(checkpoints(trainee.folder)[-1])[1]['steps'] == STEPS
    assert trainee.statuses[-1].state == TrainingStatus.FINISHED


def test_a_later_goal_goes_on_and_can_be_cancelled(trainee):
    start = trainee.steps
    handle = trainee.send(ENDLESS)
    trainee.probe.wait(
        lambda: any(status.total_steps > start for status in trainee.feedback), 'feedback'
    )
    assert trainee.feedback[-1].target_steps == ENDLESS
    cancelled = handle.cancel_goal_async()
    trainee.probe.wait(cancelled.done, 'the answer to the cancel')
    status, result = trainee.result(handle)
    assert status == GoalStatus.STATUS_CANCELED
    assert result.error_code == Train.Result.CANCELLED
    assert start < result.total_steps < ENDLESS
    assert read_trainer(checkpoints(trainee.folder)[-1])[1]['steps'] == result.total_steps


def test_the_triggers_start_save_and_cancel(trainee):
    assert not trainee.trigger('cancel').success
    assert not trainee.trigger('save_checkpoint').success
    assert trainee.trigger('start').success
    answer = trainee.trigger('start')
    assert (answer.success, answer.message) == (False, 'already training')
    before = checkpoints(trainee.folder)
    trainee.probe.wait(lambda: trainee.trigger('save_checkpoint').success, 'the begin')
    trainee.probe.wait(lambda: checkpoints(trainee.folder)[-1:] > before[-1:], 'a checkpoint')
    assert trainee.trigger('cancel').success
    trainee.wait_until_idle()


def test_bad_messages_are_counted_and_survived(trainee):
    probe, node = trainee.probe, trainee.probe.node
    publishers = {
        kind: node.create_publisher(kind, topic, qos)
        for kind, topic, qos in (
            (Observation, 'observation', LOCKSTEP),
            (FrameScore, 'frame_score', LOCKSTEP),
            (RewardHeads, 'reward_heads', LATCHED),
            (Action, 'action', LOCKSTEP),
            (Image, 'camera/image_raw', LOCKSTEP),
        )
    }
    handle = trainee.send(ENDLESS)
    probe.wait(lambda: trainee.feedback and trainee.observations, 'feedback')

    def send(message, stamp=None):
        if stamp is not None:
            message.header.stamp = to_time(stamp)
        if not isinstance(message, Image):
            message.run = trainee.statuses[-1].run
        publishers[type(message)].publish(message)

    newest = trainee.observations[-1]
    now = newest.header.stamp.sec * SECOND
    state, action = np.zeros(39, np.float32), np.zeros(4, np.float32)
    future, past = now + 3_600 * SECOND, now - 3_600 * SECOND
    good = {'state': to_float_field(state), 'action': to_float_field(action), 'step': 1}
    for changed in (
        {'state': to_float_field(np.full(39, np.nan))},
        {'state': to_float_field(state[:7])},
        {'action': to_float_field(action[:2])},
        {'asked_action': to_float_field(action[:2])},
        {'task_reward': float('inf')},
    ):
        send(Observation(**good | changed), future)
    send(Observation(**good), past)
    for width, value in ((7, 0.0), (256, 0.0), (256, np.nan)):
        embedding = to_float_field(np.full(width, value))
        send(FrameScore(embedding=embedding), past)
        send(FrameScore(embedding=embedding), future)
    for sizes in ([256], [256, 0, 64], [256, 256, 64], [64, 256, 64], [256, 2**32 - 1, 2**32 - 1]):
        send(RewardHeads(layer_sizes=sizes, image_head=[0.0] * 9, version=ENDLESS))
    send(Action(action=to_float_field(action[:3])), now)
    send(Action(action=to_float_field(np.full(4, np.nan))), now)
    send(Action(action=to_float_field(action)), past)
    send(Image(height=2, width=2, step=6, encoding='rgb9', data=bytes(12)), past)
    send(Image(height=2, width=2, step=6, encoding='rgb8', data=bytes(5)), past)
    send(Image(height=0, width=0, encoding='rgb8'), past)

    def count_of(name, count):
        return trainee.graph.nodes[name].counts[count]

    for name, counts in {
        'sim_node': ('bad actions', 'actions for another observation'),
        'reward_node': ('bad frames', 'heads refused'),
        'alignment_node': (
            'bad observations',
            'bad embeddings',
            'steps without their predecessor',
            'scores in the past',
        ),
        'learner_node': (
            'bad observations',
            'bad embeddings',
            'bad heads',
            'observations that nobody asked for',
            'scores in the past',
        ),
    }.items():
        for count in counts:
            probe.wait(lambda name=name, count=count: count_of(name, count), f'{count} of {name}')

    steps = trainee.steps
    probe.wait(lambda: trainee.steps >= steps + STEPS, 'further steps')
    handle.cancel_goal_async()
    status, result = trainee.result(handle)
    assert status == GoalStatus.STATUS_CANCELED, result.error_msg
    replay, trainer = read_trainer(checkpoints(trainee.folder)[-1])
    assert read_alignment(checkpoints(trainee.folder)[-1])[1]['transitions'] >= trainer['steps']
    assert np.isfinite(replay['next_state']).all()
    assert (np.diff(replay['stamp']) > 0).all()
    assert not re.search('nothing heard of', trainee.graph.output)
