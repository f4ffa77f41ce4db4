# SPDX-License-Identifier: Apache-2.0
"""The learner alone; the test plays the robot."""

import re

import gymnasium
import numpy as np
import pytest
import torch
from action_msgs.msg import GoalStatus
from graph_support import checkpoints, hosted, read_table, read_trainer, run_node
from learner_stage import (
    HIGH,
    LENGTH,
    LOW,
    SEED,
    SETTINGS,
    STALL_S,
    WARMUP,
    WIDTH,
    Robot,
    Scored,
    learner,
)
from rclpy.action import ActionClient
from torch.utils._pytree import tree_leaves

from furl_interfaces.action import Evaluate, Train
from furl_interfaces.msg import (
    FrameScore,
    PromptEmbedding,
    SourceInfo,
    TrainingStatus,
)
from furl_ros.bridge.convert import to_float_field, to_time
from furl_ros.bridge.qos import LATCHED
from furl_ros.bridge.source import RETRY_S, SILENCE_S
from furl_ros.core.agents import Agent
from furl_ros.core.config import TrainConfig
from furl_ros.core.seeds import episode_seed


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A run by a Train goal after which the node exits; returns what there is to check."""
    folder = tmp_path_factory.mktemp('learner')
    with learner(folder, autostart=False) as (probe, robot, command):
        client = ActionClient(probe.node, Train, 'train')
        probe.wait(client.server_is_ready, 'the action server')
        answer = probe.send_goal(client, Train.Goal(total_steps=75)).get_result_async()
        # The node leaves by itself, but not before it has told the result.
        probe.wait(answer.done, 'the result')
        probe.command = None
        code = command.finish()
    return folder / 'run', robot, answer.result(), code, command.output


def test_the_result_arrives_before_the_node_exits(run):
    folder, _, answer, code, output = run
    assert code == 0, output
    assert answer.status == GoalStatus.STATUS_SUCCEEDED
    assert answer.result.total_steps == 75
    assert answer.result.run_folder == str(folder)


def test_the_replay_is_what_the_robot_sent(run):
    """And its actions are in the units of the robot, its episodes reset with their own seeds."""
    folder, robot, *_ = run
    replay, trainer = read_trainer(checkpoints(folder)[-1])
    assert trainer['updates'] == 75 - WARMUP
    assert len(robot.sent) == 75
    for name, wanted in {
        'stamp': [s.stamp for s in robot.sent],
        'next_state': [s.state for s in robot.sent],
        'task_reward': [s.task_reward for s in robot.sent],
        'terminated': [s.terminated for s in robot.sent],
        'step': [s.step for s in robot.sent],
        'episode': [s.episode for s in robot.sent],
    }.items():
        np.testing.assert_array_equal(replay[name], wanted, name)
    scaled = [2 * (s.action - LOW) / (HIGH - LOW) - 1 for s in robot.sent]
    np.testing.assert_allclose(replay['action'], scaled, atol=1e-6)
    assert replay['terminated'].sum() == 2
    assert replay['embedding'].shape == (75, 0)
    actions = np.array([message.action for message in robot.answered])
    assert (actions >= LOW).all()
    assert (actions <= HIGH).all()
    assert np.ptp(actions[:WARMUP], axis=0) == pytest.approx(HIGH - LOW, rel=0.3)
    assert robot.seeds == [episode_seed(SEED, 0, number) for number in range(8)]
    assert len(set(robot.seeds)) == 8


@pytest.mark.parametrize('restarts', [False, True])
def test_a_robot_that_falls_silent_or_restarts_is_asked_for_a_new_episode(
    tmp_path, clock, restarts
):
    with learner(tmp_path, total_steps=60) as (probe, robot, command):
        robot.deaf_to = {15}
        probe.wait(lambda: len(robot.answered) >= 16, 'the silence')
        source = command.node.sources[0]
        if restarts:
            before = source.info
            robot.introduce()
            probe.wait(lambda: source.info is not before, 'the introduction')
        clock.now += 2 * (SILENCE_S if restarts else STALL_S)
        command.expect_end()
    assert ('has restarted' in command.output) == restarts
    assert ('nothing heard of the source for' in command.output) != restarts
    replay, trainer = read_trainer(checkpoints(tmp_path / 'run')[-1])
    assert trainer['steps'] == 60
    assert replay['stamp'].tolist() == [s.stamp for s in robot.sent][:60]
    lengths = [int(row['length']) for row in read_table(tmp_path / 'run' / 'episodes.csv')]
    assert set(lengths) == {LENGTH}


class Senseless(Robot):
    """What it says of its actions cannot be."""

    def special(self):
        return {'action_low': [1.0], 'action_high': [-1.0]}


class Stuck(Robot):
    """It cannot reset."""

    fails = True


@pytest.mark.parametrize(
    ('kind', 'robot', 'code', 'text'),
    [
        (Train, Stuck, 1, 'the arm is stuck'),
        (Train, Senseless, 2, 'error: source_info cannot be used: '),
        (Evaluate, Senseless, 2, 'error: source_info cannot be used: '),
    ],
)
def test_a_robot_that_is_of_no_use_ends_goal_and_run_with_its_reason(
    tmp_path, kind, robot, code, text
):
    settings = {'autostart': False, 'exit_when_done': False}
    with learner(tmp_path, robot, **settings) as (probe, _, command):
        client = ActionClient(probe.node, kind, kind.__name__.lower())
        probe.wait(client.server_is_ready, 'the action server')
        answer = probe.send_goal(client, kind.Goal()).get_result_async()
        probe.command = None
        probe.wait(answer.done, 'the result')
        assert answer.result().status == GoalStatus.STATUS_ABORTED
        assert answer.result().result.error_code == kind.Result.FAILED
        command.expect_end(code)
    assert answer.result().result.error_msg in command.output
    assert text in command.output


def test_potentials_have_the_frame_before_of_every_step(tmp_path):
    """Those of resets too; a step whose frame before has no score is left out."""
    settings = {'method': 'vlm', 'scoring': 'potential', 'gamma': 0.9, 'total_steps': 40}
    with learner(tmp_path, **settings) as (probe, robot, command):
        scored = Scored(probe, robot, scoring='potential')
        # The first stamps are known: a reset at 1,007, then a step every 7.
        scored.bad = {1_007 + 3 * 7}
        command.expect_end()
    replay, trainer = read_trainer(checkpoints(tmp_path / 'run')[-1])
    assert trainer['steps'] == 40
    # The bad frame's own step, and the one after it.
    kept = [s for s in robot.sent if s.step > 0 and not {s.stamp, s.previous_stamp} & scored.bad]
    assert replay['stamp'].tolist() == [s.stamp for s in kept][:40]
    assert replay['step'].tolist()[:4] == [1, 2, 5, 6]
    before = {s.stamp: s.previous_stamp for s in robot.sent}
    apart = dict(zip(replay['apart_slots'].tolist(), replay['apart_embeddings'], strict=True))
    for row, stamp in enumerate(replay['stamp'].tolist()):
        previous = apart.get(row, replay['embedding'][row - 1])
        expected = scored.embedding(before[stamp]).astype(np.float16)
        np.testing.assert_array_equal(previous, expected)
    steps = replay['step']
    assert sorted(apart) == [row for row in range(40) if steps[row] == 1 or row == 2]
    episode = read_table(tmp_path / 'run' / 'episodes.csv')[1]
    rewards = [
        0.9 * scored.reward(s.stamp) - scored.reward(s.previous_stamp)
        for s in robot.sent
        if s.episode == 1
    ]
    assert float(episode['vlm_return']) == pytest.approx(sum(rewards), abs=1e-3)


def assert_nothing_was_dropped(folder, robot, command, steps):
    """Every episode that was asked for was learned, from its first step on."""
    command.expect_end()
    assert robot.seeds == [episode_seed(SEED, 0, number) for number in range(steps // LENGTH)]
    replay, trainer = read_trainer(checkpoints(folder / 'run')[-1])
    assert trainer['steps'] == steps
    assert replay['stamp'].tolist() == [s.stamp for s in robot.sent]


@pytest.mark.parametrize('deterministic', [False, True])
def test_a_start_that_takes_longer_than_the_stall_timeout_is_no_stall(
    tmp_path, clock, deterministic
):
    """First the robot is late, then the reward node."""
    more = {'run_folder': tmp_path / 'run', 'method': 'vlm', 'total_steps': 20}
    parameters = SETTINGS | more | {'deterministic': deterministic}
    with hosted('learner_node', **parameters) as probe:
        command = probe.command

        def wait_longer_than_the_timeout(name):
            probe.wait(lambda: detail_of(command).startswith(f'waiting for {name}'), name)
            clock.now += 2 * STALL_S

        wait_longer_than_the_timeout('source_info')
        robot = Robot(probe)
        wait_longer_than_the_timeout('prompt_embedding')
        Scored(probe, robot, scoring='cosine')
        probe.command = None
        assert_nothing_was_dropped(tmp_path, robot, command, steps=20)
    assert 'nothing heard of' not in command.output


def detail_of(command):
    """What a learner says that it is about."""
    return command.node.status.detail if command.node is not None else ''


def test_bit_for_bit_an_answer_and_a_score_that_are_late_are_waited_for(tmp_path, clock):
    class Late(Scored):
        late = 1_007 + 3 * 7  # a stamp: that of the third step

        def score(self):
            if self.robot.now.stamp != self.late:
                self.send_score(self.robot.now.stamp)

    settings = {'method': 'vlm', 'deterministic': True, 'total_steps': 20}
    with learner(tmp_path, **settings) as (probe, robot, command):
        robot.deaf_to = {0}
        scored = Late(probe, robot, scoring='cosine')

        def is_waited_for(name):
            clock.now += 2 * STALL_S
            return re.match(rf'nothing heard of {name} for \d+ s: waiting', detail_of(command))

        probe.wait(lambda: is_waited_for('the source'), 'the first wait')
        robot.sense(1, np.asarray(robot.answered[0].action, np.float32))
        probe.wait(lambda: is_waited_for('the reward node'), 'the second wait')
        scored.send_score(scored.late)
        probe.command = None
        assert_nothing_was_dropped(tmp_path, robot, command, steps=20)


def test_a_loss_that_is_not_a_number_ends_the_run_with_one_line(tmp_path):
    """The last checkpoint is whole, and knows nothing of that update."""
    # What is accepted and cannot go well: the temperature grows by the factor e in every update.
    settings = {'learning_rate': 1.0, 'gamma': 1.0, 'checkpoint_every': 10, 'total_steps': 400}
    with learner(tmp_path, **settings) as (probe, _, command):
        statuses = probe.record(TrainingStatus, 'training_status')
        probe.command = None
        command.expect_end(1)
        probe.wait(lambda: statuses[-1].state == TrainingStatus.FAILED, 'the last status')
    assert command.output.count('not finite') == 1, command.output
    assert 'losses of vlm are not finite' in statuses[-1].detail
    newest = checkpoints(tmp_path / 'run')[-1]
    replay, trainer = read_trainer(newest)
    assert WARMUP < trainer['steps'] <= statuses[-1].total_steps < 400
    assert len(replay['stamp']) == trainer['steps']
    assert 0 < trainer['updates'] <= statuses[-1].updates
    agent = Agent(
        TrainConfig(hidden_units=SETTINGS['hidden_units']),
        gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32),
        gymnasium.spaces.Box(LOW, HIGH),
        seed=0,
    )
    agent.load(newest / 'vlm_agent.zip')
    for parameters in agent.sac.get_parameters().values():
        for value in tree_leaves(parameters):
            assert not isinstance(value, torch.Tensor) or value.isfinite().all()


def test_an_episode_whose_last_frame_cannot_be_scored_is_followed_by_the_next(tmp_path):
    settings = {'method': 'vlm', 'scoring': 'cosine', 'total_steps': 30}
    with learner(tmp_path, **settings) as (probe, robot, command):
        scored = Scored(probe, robot, scoring='cosine')
        scored.bad = {1_007 + LENGTH * 7}
        command.expect_end()
    replay, _ = read_trainer(checkpoints(tmp_path / 'run')[-1])
    assert replay['step'].tolist()[: 2 * LENGTH - 1] == [*range(1, LENGTH), *range(1, LENGTH + 1)]


def test_a_scoring_that_is_not_the_reward_nodes_is_one_line(tmp_path):
    with learner(tmp_path, method='vlm', scoring='goal_image') as (probe, robot, command):
        Scored(probe, robot, scoring='cosine')
        command.expect_end(2)
    text = "error: scoring is 'goal_image', but the reward node's 'cosine'; accepted: the same"
    assert text in command.output
    assert not (tmp_path / 'run').exists()


def test_a_prompt_without_the_goal_image_that_is_needed_is_waited_over(tmp_path):
    settings = {'method': 'vlm', 'scoring': 'goal_image', 'total_steps': 20}
    with learner(tmp_path, **settings) as (probe, robot, command):
        scored = Scored(probe, robot, scoring='goal_image')
        probe.wait_for_count('learner_node', 'bad prompt embeddings', 1)
        command.wait_for('scoring goal_image needs the embedding of a goal image')
        scored.prompts.publish(
            PromptEmbedding(
                text_embedding=scored.embedding(0).tolist(),
                goal_embedding=scored.embedding(1).tolist(),
                scoring='goal_image',
            )
        )
        command.expect_end()


def test_ctrl_c_while_it_waits_alone(tmp_path):
    with hosted('learner_node', run_folder=tmp_path / 'run') as probe:
        waits = 'waiting for source_info'
        probe.wait(lambda: detail_of(probe.command).startswith(waits), 'its wait')
    assert not (tmp_path / 'run').exists()


class Interference:
    """After each step: messages of another run, and such as do not belong to the episode."""

    def __init__(self, scored, probe):
        self.scored, self.robot = scored, scored.robot
        self.statuses = probe.node.create_publisher(TrainingStatus, 'training_status', LATCHED)
        self.score = self.robot.on_sense
        self.robot.on_sense = self.interfere

    def interfere(self):
        robot, now = self.robot, self.robot.now
        later = 10**15 + now.stamp
        next_one = now._replace(stamp=now.stamp + 7, previous_stamp=now.stamp, step=now.step + 1)
        robot.send(next_one._replace(action=np.zeros(2, np.float32)), run='theirs')
        self.send_score(now.stamp, 'theirs', np.ones(WIDTH))
        self.send_score(now.stamp + 7, 'theirs', np.ones(WIDTH))
        self.score()
        robot.send(now._replace(stamp=later, previous_stamp=later, step=0))
        robot.send(now._replace(stamp=later + 1, previous_stamp=later - 5))
        robot.send(now._replace(state=now.state * np.float32(1e30)))
        self.send_score(later + 2, robot.run, np.ones(WIDTH))
        self.send_score(later + 3, robot.run, np.full(WIDTH, 1e30))
        # Of what is latched the newest replaces the others.
        infos = [lambda: self.introduce('theirs'), lambda: self.introduce('ours'), robot.introduce]
        infos[len(robot.sent) % 3]()
        # As of a run that began before, but there is no second learner.
        self.statuses.publish(TrainingStatus(run='earlier'))
        heads = [{'run': 'theirs'}, {'factor': 1e30}, {'transitions': 2**63}]
        self.scored.publish_heads(**heads[len(robot.sent) % 3])

    def introduce(self, run):
        """As a robot that senses something else."""
        self.robot.infos.publish(SourceInfo(run=run, state_size=5, action_low=[0.0], lockstep=True))

    def send_score(self, stamp, run, embedding):
        message = FrameScore(run=run, embedding=to_float_field(embedding))
        message.header.stamp = to_time(stamp)
        self.scored.scores.publish(message)


def test_only_what_belongs_to_the_episode_is_learned(tmp_path, clock):
    settings = {'method': 'furl', 'heads': 'paper', 'run_id': 'ours', 'total_steps': 60}
    settings |= {'exit_when_done': False}  # until all that is left alone has come
    with learner(tmp_path, **settings) as (probe, robot, command):
        robot.run = 'ours'
        scored = Scored(probe, robot, run='ours', scoring='cosine')
        interference = Interference(scored, probe)
        command.wait_for('checkpoint: step 60')
        interference.introduce('ours')
        for name in (
            'messages of another run',
            'observations that nobody asked for',
            'sources that changed their shape',
            'bad heads',
            'bad embeddings',
        ):
            probe.wait(lambda name=name: command.counts[name], name)
        command.end()
    for run in ('theirs', 'earlier'):
        assert command.output.count(f'of another run ({run}) in this domain: left alone') == 1
    assert 'has restarted' not in command.output
    assert len(robot.seeds) == 6
    replay, trainer = read_trainer(checkpoints(tmp_path / 'run')[-1])
    assert trainer['steps'] == 60
    assert replay['stamp'].tolist() == [s.stamp for s in robot.sent][:60]
    for stamp, embedding in zip(replay['stamp'].tolist(), replay['embedding'], strict=True):
        np.testing.assert_array_equal(embedding, scored.embedding(stamp).astype(np.float16))
    assert all(request.run == 'ours' for request in (*robot.resets, *robot.answered))


def test_a_robot_that_serves_another_run_is_asked_again(tmp_path, clock):
    with learner(tmp_path, total_steps=20) as (probe, robot, command):
        robot.refusals = 2

        def is_asked_again():
            clock.now += 2 * RETRY_S
            return len(robot.resets) >= 3

        probe.wait(is_asked_again, 'the last question')
        command.expect_end()
    assert 'it serves others; asking again' in command.output
    assert len(robot.resets) == 4


def test_the_later_one_of_two_learners_with_one_name_leaves(tmp_path):
    settings = {'run_id': 'r1', 'autostart': False, 'exit_when_done': False}
    with learner(tmp_path, **settings) as (probe, _, command):
        statuses = probe.record(TrainingStatus, 'training_status')
        probe.wait(lambda: statuses, 'the first one')
        later = SETTINGS | {'run_id': 'r2', 'run_folder': tmp_path / 'later'}
        with run_node(probe.domain, 'learner_node', **later) as other:
            other.expect_end(2)
            assert 'another graph has these names in this ROS domain (run r1' in other.output
        assert command.returncode is None


def test_a_goal_of_fewer_steps_than_are_done_is_aborted(tmp_path):
    with learner(tmp_path, autostart=False, exit_when_done=False) as (probe, *_):
        client = ActionClient(probe.node, Train, 'train')
        probe.wait(client.server_is_ready, 'the action server')
        results = []
        for steps in (40, 30):
            answer = probe.send_goal(client, Train.Goal(total_steps=steps)).get_result_async()
            probe.wait(answer.done, 'the result')
            results.append(answer.result())
    assert [r.status for r in results] == [
        GoalStatus.STATUS_SUCCEEDED,
        GoalStatus.STATUS_ABORTED,
    ]
    assert 'total_steps is 30; accepted: at least 40' in results[1].result.error_msg
