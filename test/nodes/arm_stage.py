# SPDX-License-Identifier: Apache-2.0
"""arm_node before the stand-in arm; a test plays the rest, and passes on what both say."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped, TwistStamped
from graph_support import RECORDER, Command, HostedNode, Probe, hosted, run_node, run_process
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from furl_interfaces.msg import Action, Observation
from furl_interfaces.srv import Reset
from furl_ros.bridge.convert import check_stamp, to_ns
from furl_ros.bridge.qos import EVENTS, LATCHED, LOCKSTEP, SENSOR
from furl_ros.bridge.steps import to_action

HOME = (2.8, -1.8306, 2.0048, -1.745, -1.5708, -0.3416)
JOINTS = (
    'shoulder_pan_joint',
    'shoulder_lift_joint',
    'elbow_joint',
    'wrist_1_joint',
    'wrist_2_joint',
    'wrist_3_joint',
)
PATIENCE_S = 60.0  # a machine that is busy with other things stops nothing
POSE = {
    'topic': 'relayed/tool_pose',
    'type': 'geometry_msgs/msg/PoseStamped',
    'fields': ['pose.position.x', 'pose.position.y', 'pose.position.z'],
    'stale_s': PATIENCE_S,
}
COMMANDS = {
    'joint_trajectory': {
        'kind': 'joint_trajectory',
        'topic': 'sent/joint_trajectory',
        'scale': 0.02,
    },
    'twist': {
        'kind': 'twist',
        'topic': 'sent/twist',
        'scale': 0.1,
        'frame_id': 'base_link',
        'twist_units': [0.4, 0.8],
        'pause_service': 'pause_servo',
    },
}
COMPANION = 'companion'


SILENCES = {
    'action': 'action',
    'joint_states': 'joint positions',
    'tool_pose': 'observation tool',
    'camera': 'camera table',
    'node': f'node {COMPANION}',
}
"""What arm_node calls those that a ``Stage`` may have fall silent."""


def robot(
    kind: str = 'joint_trajectory', watchdogs: Mapping[str, float] | None = None, **episode: Any
) -> dict[str, Any]:
    """The stand-in arm as a profile.

    Args:
        kind: of its commands.
        watchdogs: seconds that some of ``SILENCES`` may last; else far more than a test needs.
        episode: what is special in it.
    """
    patience = dict.fromkeys(SILENCES, PATIENCE_S) | (watchdogs or {})
    return {
        'name': 'mock',
        'control_rate': 20,
        'joints': {
            'names': list(JOINTS),
            'topic': 'relayed/joint_states',
            'lower': [-6.2] * len(JOINTS),
            'upper': [6.2] * len(JOINTS),
            'max_velocity': 1.0,
            'max_acceleration': 5.0,
            'stale_s': patience['joint_states'],
        },
        'command': COMMANDS[kind] | {'max_step': 0.2},
        'observation': {'tool': POSE, 'action': {'type': 'last_action'}},
        'workspace': {'frame': 'base_link', 'low': [0.1, -0.5, 0], 'high': [0.8, 0.5, 1]}
        | {'pose': POSE},
        'episode': {
            'time_limit_s': 100.0,
            'success_topic': 'success',
            'failure_topic': 'failure',
            'reset': {
                'kinds': ['trajectory'],
                'trajectory_topic': 'sent/joint_trajectory',
                'positions': list(HOME),
                'move_s': 0.5,
                'timeout_s': PATIENCE_S,
            },
        }
        | episode,
        'cameras': {'table': {'topic': 'camera/image_raw'}},
        'watchdogs': {
            'action_s': patience['action'],
            'observation_s': patience['tool_pose'],
            'camera_s': patience['camera'],
            'nodes_s': patience['node'],
            'nodes': [COMPANION],
            'loop_s': PATIENCE_S,
        },
    }


class Stage:
    """Plays learner, camera and a further node, and passes on what the arm tells, unless muted.

    Attributes:
        muted: those of ``SILENCES`` that are silent.
        policy: from the state to the action of the next step.
        observations: what arm_node has told, in order.
        actions: publisher of the learner's answers.
        commands: messages on the topic of each command.
        states: (time of arrival, text) of arm_node's state.
        joints: what the arm itself tells.
        silent_since: when each of ``muted`` spoke last.
    """

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.muted: set[str] = set()
        self.policy: Callable[[np.ndarray], np.ndarray] | None = None
        self.run = ''
        self.silent_since: dict[str, float] = {}
        self.joints = probe.record(JointState, 'joint_states', EVENTS)
        self.tools = probe.record(PoseStamped, 'tool_pose', EVENTS)
        self.commands: dict[str, list[Any]] = {'joint_trajectory': [], 'twist': []}
        self.states: list[tuple[float, str]] = []
        self.observations: list[Observation] = []
        node = probe.node
        self.actions = node.create_publisher(Action, 'action', LOCKSTEP)
        self._resets = node.create_client(Reset, 'reset')
        self._cameras = node.create_publisher(String, 'camera_seen', EVENTS)
        self._diagnostics = node.create_publisher(DiagnosticArray, '/diagnostics', EVENTS)
        self.levels = {
            name: node.create_publisher(Bool, name, LATCHED)
            for name in ('success', 'failure', 'estop')
        }
        for kind, topic in ((JointState, 'joint_states'), (PoseStamped, 'tool_pose')):
            out = node.create_publisher(kind, f'relayed/{topic}', EVENTS)
            probe.listen(kind, topic, SENSOR, lambda m, t=topic, o=out: self._say(t, o, m))
        for kind, topic in ((JointTrajectory, 'joint_trajectory'), (TwistStamped, 'twist')):
            out, heard = node.create_publisher(kind, topic, EVENTS), self.commands[topic]
            probe.listen(
                kind, f'sent/{topic}', EVENTS, lambda m, o=out, h=heard: self._pass_on(o, h, m)
            )
            probe.wait(out.get_subscription_count, topic)
        probe.listen(
            String,
            'arm_node/state',
            LATCHED,
            lambda m: self.states.append((time.monotonic(), m.data)),
        )
        probe.listen(Observation, 'observation', RECORDER, self._on_observation)
        node.create_timer(0.05, self._on_timer)

    def _say(self, what: str, publisher: Any, message: Any) -> None:
        if what not in self.muted:
            publisher.publish(message)
            self.silent_since[what] = time.monotonic()

    def _pass_on(self, publisher: Any, heard: list[Any], message: Any) -> None:
        heard.append(message)
        publisher.publish(message)

    def _on_timer(self) -> None:
        self._say('camera', self._cameras, String(data='table'))
        status = DiagnosticStatus(name=COMPANION)
        self._say('node', self._diagnostics, DiagnosticArray(status=[status]))

    def _on_observation(self, message: Observation) -> None:
        with contextlib.suppress(ValueError):  # a malformed one: those of arm_node have their tests
            check_stamp(message.header.stamp)
            self._take(message)

    def _take(self, message: Observation) -> None:
        self.observations.append(message)
        if self.policy is not None and not (message.terminated or message.truncated):
            self.act(message, self.policy(np.asarray(message.state)))

    def act(self, observation: Observation, action: np.ndarray) -> None:
        """Answer an observation."""
        message = to_action(to_ns(observation.header.stamp), np.asarray(action), 'test')
        message.run = self.run
        self._say('action', self.actions, message)

    def is_alone(self) -> bool:
        """Whether no arm_node can be reached."""
        services = dict(self.probe.node.get_service_names_and_types())
        return not self._resets.service_is_ready() and '/arm_node/arm' not in services

    def ask(self, **fields: Any) -> Any:
        """Ask for an episode; returns the future of the answer."""
        self.probe.wait(self._resets.service_is_ready, 'reset')
        return self._resets.call_async(Reset.Request(run=self.run, **fields))

    def call(self, name: str) -> Trigger.Response:
        """Call one of arm_node's services."""
        return self.probe.call(Trigger, f'arm_node/{name}')

    def arm(self) -> None:
        """Arm it, as soon as it has heard all that is watched."""
        self.probe.wait(now_and_then(lambda: self.call('arm').success), 'arming')

    def level(self, name: str, value: bool) -> None:
        """Publish a level (latched)."""
        self.levels[name].publish(Bool(data=value))

    def begin(self, action: np.ndarray) -> list[Observation]:
        """Arm it and start an episode that goes on with one action; returns its observations."""
        self.policy = lambda _: action
        before = len(self.observations)
        answer = self.ask()
        self.arm()
        self.probe.wait(answer.done, 'the episode')
        assert answer.result().error_code == Reset.Response.OK, answer.result().error_msg
        self.probe.wait(lambda: len(self.observations) > before + 5, 'observations')
        return self.observations[before:]

    def wait_for_state(self, text: str) -> float:
        """Wait until the newest state begins so; returns when it was heard."""
        self.probe.wait(lambda: self.state.startswith(text), text)
        return self.states[-1][0]

    @property
    def state(self) -> str:
        """The newest state of arm_node."""
        return self.states[-1][1] if self.states else ''

    @property
    def speed(self) -> float:
        """Of the arm's fastest joint, rad/s."""
        return float(np.abs(self.joints[-1].velocity).max())

    def stands(self) -> bool:
        """Whether the arm has not moved for half a second."""
        return all(np.abs(joints.velocity).max() < 0.01 for joints in self.joints[-60:])


@contextlib.contextmanager
def stand_in_arm(**settings: Any) -> Iterator[Stage]:
    """The stand-in arm, once for all tests of a module, and those who speak with it."""
    with hosted('mock_arm_node', **settings) as probe:
        stage = Stage(probe)
        probe.wait(lambda: len(stage.joints) > 60, 'the arm')
        yield stage


def now_and_then(act: Callable[[], Any]) -> Callable[[], Any]:
    """A predicate that does something five times a second, if it is asked so often."""
    due = 0.0

    def predicate() -> Any:
        nonlocal due
        if time.monotonic() < due:
            return False
        done = act()
        due = time.monotonic() + 0.2
        return done

    return predicate


def trajectory(message: JointTrajectory) -> np.ndarray:
    """Where a trajectory leads, in the order of ``JOINTS``."""
    place = {name: i for i, name in enumerate(message.joint_names)}
    return np.array([message.points[-1].positions[place[name]] for name in JOINTS])


@contextlib.contextmanager
def arm_node(
    stage: Stage, profile: dict[str, Any], process: bool = False, **parameters: Any
) -> Iterator[HostedNode | Command]:
    """Run the node, maybe as a process; at the end it is interrupted, and ends well."""
    stage.muted.clear()
    stage.policy = None
    stage.states.clear()
    stage.observations.clear()
    stage.probe.diagnostics.clear()
    for heard in stage.commands.values():
        heard.clear()
    for name in stage.levels:
        stage.level(name, False)
    text, run = json.dumps(json.dumps(profile)), run_process if process else run_node
    with run(stage.probe.domain, 'arm_node', robot=text, **parameters) as node:
        before, stage.probe.command = stage.probe.command, node
        stage.probe.wait(lambda: stage.states, 'arm_node')
        try:
            yield node
        finally:
            stage.probe.command = before
        if node.returncode is None:
            node.interrupt()
        node.expect_end()
        # The next one is not to be taken for this one.
        stage.probe.wait(stage.is_alone, 'the end of arm_node')
