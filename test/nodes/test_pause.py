# SPDX-License-Identifier: Apache-2.0
"""A learner that is asked to wait: nothing is lost, nothing changes, and it goes on."""

import numpy as np
from graph_support import checkpoints, read_table, read_trainer
from learner_stage import LENGTH, SEED, STALL_S, Robot, learner
from std_srvs.srv import Trigger
from torch.utils._pytree import tree_leaves

from furl_interfaces.msg import TrainingStatus
from furl_ros.core.seeds import episode_seed

STEPS = 75


class Client:
    """Asks a learner for pauses, and watches how it takes them."""

    def __init__(self, probe):
        self.probe = probe
        self.statuses = probe.record(TrainingStatus, 'training_status')

    def call(self, name):
        return self.probe.call(Trigger, f'learner_node/{name}')

    def pause(self):
        """Pause, and wait until that has come about."""
        assert self.call('pause').success
        self.probe.wait(lambda: self.state == TrainingStatus.PAUSED, 'the pause')

    def stay(self):
        """Wait until the learner, which speaks once a second, has spoken since."""
        heard = len(self.statuses)
        self.probe.wait(lambda: len(self.statuses) > heard + 1, 'the time to pass')

    @property
    def state(self):
        return self.statuses[-1].state if self.statuses else None


def test_a_pause_changes_nothing_of_what_is_learned(tmp_path):
    """Of two runs that repeat each other bit for bit one is paused in the middle of a step."""
    ends = []
    for paused in (False, True):
        folder = tmp_path / str(paused)
        settings = {'total_steps': STEPS, 'deterministic': True, 'autostart': False}
        with learner(folder, **settings) as (probe, robot, command):
            client = Client(probe)
            assert not client.call('pause').success
            if paused:
                # So it does not go on before it is paused.
                robot.deaf_to = {33}
            assert client.call('start').success
            if paused:
                probe.wait(
                    lambda robot=robot: len(robot.answered) == 34, 'the middle of an episode'
                )
                client.pause()
                assert not client.call('pause').success
                robot.sense(robot.now.step + 1, np.asarray(robot.answered[-1].action, np.float32))
                client.stay()
                assert len(robot.answered) == 34
                assert client.statuses[-1].detail == 'paused'
                assert client.call('save_checkpoint').success
                probe.wait(lambda folder=folder: checkpoints(folder / 'run'), 'the checkpoint')
                assert client.state == TrainingStatus.PAUSED
                assert client.call('resume').success
                assert not client.call('resume').success
            command.expect_end()
        assert robot.seeds == [episode_seed(SEED, 0, number) for number in range(len(robot.seeds))]
        ends.append((robot.sent, *read_trainer(checkpoints(folder / 'run')[-1])))
    for one, other in zip(*(tree_leaves(end) for end in ends), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_paused_learner_ends_by_cancel_and_by_a_signal(tmp_path):
    with learner(tmp_path, total_steps=10_000, exit_when_done=False) as (probe, robot, command):
        client = Client(probe)
        probe.wait(lambda: len(robot.answered) > 3, 'some steps')
        client.pause()
        assert client.call('cancel').success
        probe.wait(lambda: client.state == TrainingStatus.WAITING, 'the end of the training')
        assert checkpoints(tmp_path / 'run')
        assert client.call('start').success
        count = len(robot.answered)
        probe.wait(lambda: len(robot.answered) > count, 'a training that is not paused')
        client.pause()
        command.end()


class Restless(Robot):
    """Goes on by itself, fifty times a second."""

    def special(self):
        return {'control_period': 0.02, 'lockstep': False}

    def __init__(self, probe):
        self.newest = np.zeros(2, np.float32)
        super().__init__(probe)
        probe.node.create_timer(0.02, self.go_on)

    def on_action(self, message):
        self.answered.append(message)
        self.newest = np.asarray(message.action, np.float32)

    def go_on(self):
        if self.now is not None and not self.now.last:
            self.sense(self.now.step + 1, self.newest)


def test_a_robot_that_does_not_wait_is_left_alone_between_two_episodes(tmp_path, clock):
    """For longer than the time of a stall; then it gets its next episode."""
    settings = {'total_steps': 10_000, 'exit_when_done': False}
    with learner(tmp_path, Restless, **settings) as (probe, robot, command):
        client = Client(probe)
        probe.wait(lambda: robot.now is not None and 1 < robot.now.step < 6, 'an episode')
        client.pause()
        episodes, ended = len(robot.seeds), robot.now
        assert ended.last
        clock.now += 2 * STALL_S
        client.stay()
        assert robot.now is ended
        assert len(robot.seeds) == episodes
        assert client.call('resume').success
        probe.wait(lambda: len(robot.seeds) == episodes + 2, 'further episodes')
        command.end()
    assert 'nothing heard of' not in command.output
    assert 'could not be scored' not in command.output
    replay, _ = read_trainer(checkpoints(tmp_path / 'run')[-1])
    learned = replay['stamp'].tolist()
    assert learned == [s.stamp for s in robot.sent][: len(learned)]
    lengths = [int(row['length']) for row in read_table(tmp_path / 'run' / 'episodes.csv')]
    assert len(lengths) > episodes
    assert set(lengths) == {LENGTH}
