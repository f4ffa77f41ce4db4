# SPDX-License-Identifier: Apache-2.0
"""A learner that is asked to evaluate on its only robot: between two episodes, or before them."""

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from graph_support import checkpoints, read_table, read_trainer, run_node
from learner_stage import LENGTH, SEED, Robot, Scored, learner
from rclpy.action import ActionClient
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future
from std_srvs.srv import Trigger

from furl_interfaces.action import Evaluate, Train
from furl_interfaces.msg import TrainingStatus
from furl_ros.core.reporting import Reporter
from furl_ros.core.seeds import episode_seed, evaluation_seeds
from furl_ros.core.success import wilson
from furl_ros.core.trainer import Trainer

FULL = OSError(28, 'No space left on device')


class Aligned(Scored):
    """The alignment keeps up with the robot, too."""

    def score(self):
        super().score()
        if len(self.robot.sent) % 20 == 0:
            self.publish_heads(newest=[self.robot.now.stamp])


class Client:
    """Asks a learner for evaluations."""

    def __init__(self, probe):
        self.probe, self.feedback = probe, []
        self.statuses = probe.record(TrainingStatus, 'training_status')
        self.client = ActionClient(probe.node, Evaluate, 'evaluate')
        self.trains = ActionClient(probe.node, Train, 'train')
        for client in (self.client, self.trains):
            probe.wait(client.server_is_ready, 'the action server')

    def train(self):
        return self.probe.send_goal(self.trains, Train.Goal())

    def send(self, **goal):
        return self.probe.send_goal(
            self.client,
            Evaluate.Goal(**goal),
            feedback_callback=lambda message: self.feedback.append(message.feedback),
        )

    def result(self, handle):
        future = handle.get_result_async()
        self.probe.wait(future.done, 'the result')
        return future.result().status, future.result().result

    def call(self, name):
        return self.probe.call(Trigger, f'learner_node/{name}')


def test_an_evaluation_before_the_training_then_the_training(tmp_path):
    settings = {'autostart': False, 'exit_when_done': False, 'total_steps': 40}
    with learner(tmp_path, **settings) as (probe, robot, command):
        client = Client(probe)
        assert not client.send(episodes=100_000).accepted
        assert not client.send(seed=2**40).accepted
        status, result = client.result(client.send(episodes=3, seed=70))
        assert status == GoalStatus.STATUS_SUCCEEDED
        assert (result.error_code, result.error_msg) == (Evaluate.Result.OK, '')
        assert robot.seeds == [70, 71, 72]
        assert [e.length for e in result.episodes] == [LENGTH] * 3
        assert {e.phase for e in result.episodes} == {'eval'}
        rewards = -0.25 * np.arange(1, LENGTH + 1)
        assert result.episodes[0].task_return == pytest.approx(rewards.sum())
        assert result.success_any_step == result.success_last_step == 0
        assert result.success_any_step_high == pytest.approx(wilson(0, 3)[1])
        assert {a.agent for a in robot.answered} == {'eval'}
        # The configured number, with the seeds of the evaluations.
        robot.seeds.clear()
        assert client.call('evaluate').success
        probe.wait(lambda: robot.seeds == evaluation_seeds(SEED, 1), 'the evaluation')
        command.wait_for(r'evaluation at step 0: success 0.00 .*, 1 episodes')
        robot.seeds.clear()
        assert client.call('start').success
        probe.wait(lambda: client.statuses[-1].state == TrainingStatus.FINISHED, 'the training')
        assert robot.seeds == [episode_seed(SEED, 0, number) for number in range(4)]
    replay, _ = read_trainer(checkpoints(tmp_path / 'run')[-1])
    assert replay['stamp'].tolist() == [s.stamp for s in robot.sent if not s.evaluation]
    rows = read_table(tmp_path / 'run' / 'evaluations.csv')
    assert [row['episodes'] for row in rows] == ['3', '1']


def test_an_evaluation_on_the_robot_that_is_trained_on_is_between_two_episodes(tmp_path):
    settings = {'method': 'vlm', 'total_steps': 10_000, 'exit_when_done': False}
    with learner(tmp_path, **settings) as (probe, robot, command):
        Aligned(probe, robot, scoring='cosine')
        client = Client(probe)
        probe.wait(lambda: len(robot.sent) > 45, 'some steps')
        handles = [client.send(episodes=2), client.send(episodes=2)]
        assert [handle.accepted for handle in handles] == [True, False]
        status, result = client.result(handles[0])
        assert status == GoalStatus.STATUS_SUCCEEDED, result.error_msg
        assert len(result.episodes) == 2
        steps = client.statuses[-1].total_steps
        probe.wait(lambda: client.statuses[-1].total_steps > steps + 50, 'the training')
        # One that is cancelled, in the middle of a pause.
        assert client.call('pause').success
        probe.wait(lambda: client.statuses[-1].state == TrainingStatus.PAUSED, 'the pause')
        handle = client.send(episodes=1_000)
        cancelled = handle.cancel_goal_async()
        probe.wait(cancelled.done, 'the answer to the cancel')
        assert client.call('resume').success
        status, result = client.result(handle)
        assert status == GoalStatus.STATUS_CANCELED
        assert result.error_code == Evaluate.Result.CANCELLED
        steps = client.statuses[-1].total_steps
        probe.wait(lambda: client.statuses[-1].total_steps > steps + 50, 'the training')
        command.end()
    assert 'could not be scored' not in command.output
    replay, _ = read_trainer(checkpoints(tmp_path / 'run')[-1])
    learned = replay['stamp'].tolist()
    assert learned == [s.stamp for s in robot.sent if not s.evaluation][: len(learned)]
    tried = evaluation_seeds(SEED, 2)
    trained = [seed for seed in robot.seeds if seed not in evaluation_seeds(SEED, 1_000)]
    assert trained == [episode_seed(SEED, 0, number) for number in range(len(trained))]
    assert [seed for seed in robot.seeds if seed in tried][:2] == tried
    lengths = [int(row['length']) for row in read_table(tmp_path / 'run' / 'episodes.csv')]
    assert set(lengths) == {LENGTH}


def test_with_deterministic_the_robot_that_is_trained_on_is_not_evaluated_on(tmp_path):
    settings = {'deterministic': True, 'autostart': False, 'exit_when_done': False}
    with learner(tmp_path, **settings) as (probe, _, _):
        client = Client(probe)
        assert not client.send().accepted
        answer = client.call('evaluate')
        assert not answer.success
        assert 'nothing would repeat the run' in answer.message


def fail(monkeypatch, owner, name, error):
    """Have a method raise an error."""

    def raises(*_, **__):
        raise error

    monkeypatch.setattr(owner, name, raises)


@pytest.mark.parametrize(
    ('owner', 'name', 'error', 'has_traceback'),
    [
        (Reporter, 'evaluation', FULL, False),
        (Trainer, 'evaluate', ValueError('a fault of ours'), True),
    ],
)
@pytest.mark.parametrize('training', [False, True])
def test_who_asked_hears_what_ended_the_node(
    tmp_path, monkeypatch, training, owner, name, error, has_traceback
):
    fail(monkeypatch, owner, name, error)
    settings = {'autostart': False, 'exit_when_done': False, 'total_steps': 10_000}
    with learner(tmp_path, **settings) as (probe, robot, command):
        client = Client(probe)
        trained = client.train() if training else None
        if training:
            probe.wait(lambda: len(robot.sent) > 3, 'some steps')
        evaluated = client.send(episodes=1)
        # It ends as soon as it has told.
        probe.command = None
        for handle, kind in ((evaluated, Evaluate), (trained, Train)):
            if handle is not None:
                status, result = client.result(handle)
                assert status == GoalStatus.STATUS_ABORTED
                assert (result.error_code, result.error_msg) == (kind.Result.FAILED, str(error))
        assert command.finish() == 1, command.output
        if training:
            probe.wait(lambda: client.statuses[-1].state == TrainingStatus.FAILED, 'the last word')
    assert command.output.count(str(error)) == 1, command.output
    assert ('Traceback' in command.output) == has_traceback
    assert read_table(tmp_path / 'run' / 'evaluations.csv') == []


def test_who_waits_hears_what_ended_the_node_before_his_turn(tmp_path, monkeypatch):
    fail(monkeypatch, Reporter, 'evaluation', FULL)
    settings = {'autostart': False, 'exit_when_done': False}
    with learner(tmp_path, **settings) as (probe, robot, command):
        client = Client(probe)
        robot.deaf_to = {3}
        handle = client.send(episodes=1)
        probe.wait(lambda: len(robot.answered) > 3, 'the middle of the evaluation')
        waiting = client.train()
        assert waiting.accepted
        probe.command = None
        robot.sense(robot.now.step + 1, np.asarray(robot.answered[-1].action, np.float32))
        assert client.result(handle)[0] == GoalStatus.STATUS_ABORTED
        status, result = client.result(waiting)
        assert status == GoalStatus.STATUS_ABORTED
        assert (result.error_code, result.error_msg) == (Train.Result.CANCELLED, str(FULL))
        command.expect_end(1)


def test_ctrl_c_in_an_evaluation(tmp_path):
    settings = {'autostart': False, 'exit_when_done': False}
    with learner(tmp_path, **settings) as (probe, robot, command):
        client = Client(probe)
        robot.deaf_to = {3}
        handle = client.send(episodes=1)
        probe.wait(lambda: len(robot.answered) > 3, 'the middle of the evaluation')
        probe.command = None
        command.interrupt()
        status, result = client.result(handle)
        assert status == GoalStatus.STATUS_ABORTED
        assert result.error_code == Evaluate.Result.CANCELLED
        command.expect_end()


def test_a_table_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / 'file').touch()
    output = tmp_path / 'file' / 'evaluation'
    with (
        learner(tmp_path, autostart=False, exit_when_done=False) as (probe, _, _),
        run_node(probe.domain, 'evaluate_node', episodes=1, output=output) as node,
    ):
        node.expect_end(1)
    assert node.output.count('not written: ') == 1


class Hesitant(Robot):
    """Answers a reset when it is told to."""

    group = ReentrantCallbackGroup()  # what waits would keep the others of its group waiting

    def __init__(self, probe):
        self.told, self.asked = Future(), 0
        super().__init__(probe)

    async def on_reset(self, request, response):
        self.asked += 1
        await self.told
        return super().on_reset(request, response)


def test_a_reset_that_fails_when_nobody_waits_for_it_any_more_is_one_line(tmp_path):
    settings = {'autostart': False, 'exit_when_done': False}
    with learner(tmp_path, Hesitant, **settings) as (probe, robot, command):
        client = Client(probe)
        handle = client.send(episodes=1)
        probe.wait(lambda: robot.asked, 'the reset')
        probe.wait(handle.cancel_goal_async().done, 'the answer to the cancel')
        assert client.result(handle)[0] == GoalStatus.STATUS_CANCELED
        robot.fails = True
        probe.command = None
        robot.told.set_result(None)
        probe.executor.wake()
        command.expect_end(1)
    assert command.output.count('the arm is stuck') == 1
