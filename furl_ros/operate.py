# SPDX-License-Identifier: Apache-2.0
"""The operator beside the arm: keys, a joystick or a twist, and where the run stands in one line.

Arrows drive in x and y, Page Up and Page Down in z, [ and ] move the gripper, or the next value of
the action; whoever lets go hands back at once. What the keys say is asked of the services of
arm_node and learner_node.
"""

import argparse
import contextlib
import os
import select
import shutil
import sys
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml
from geometry_msgs.msg import TwistStamped
from sensor_msgs.msg import Joy
from std_msgs.msg import Empty, String
from std_srvs.srv import Trigger

from furl_interfaces.msg import Action, EpisodeResult, FrameScore, SourceInfo, TrainingStatus
from furl_ros.bridge.convert import to_float_field
from furl_ros.bridge.onlooker import Onlooker
from furl_ros.bridge.qos import EVENTS, LATCHED, SENSOR, WATCHED
from furl_ros.core.arm.joystick import Joystick, Mapping, from_twist
from furl_ros.core.settings import SettingError, from_mapping

SIGINT_CODE = 130
HEARTBEAT_S = 0.2
DRAW_S = 0.2
KEY_HOLD_S = 0.15  # seconds that a key drives: terminals repeat one that is held faster than this
FIRST_HOLD_S = 0.4  # but begin to repeat only after so long
RESULT_S = 3.0  # seconds that the answer of a service is shown
PAUSE = 'pause'
KEYS = {
    's': 'success',
    'f': 'failure',
    'r': 'rerecord',
    'e': 'end',
    'p': PAUSE,
    ' ': 'estop',
    'c': 'clear',
    'a': 'arm',
    'd': 'disarm',
    'y': 'ready',
    'k': 'save_checkpoint',
}
QUIT = 'q'
# What keys drive: the value of the action, and which way.
DRIVES = {
    '\x1b[A': (0, 1),
    '\x1b[B': (0, -1),
    '\x1b[D': (1, 1),
    '\x1b[C': (1, -1),
    '\x1b[5~': (2, 1),
    '\x1b[6~': (2, -1),
    ']': (3, 1),
    '[': (3, -1),
}
OF_LEARNER = ('pause', 'resume', 'save_checkpoint')
HELP = (
    's success  f failure  r re-record  e end  p pause/go on  space E-STOP  c clear  a arm'
    '  d disarm  y ready  k save  arrows, PgUp, PgDn, [ ] drive  q quit'
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser('operator', description=__doc__)
    add = parser.add_argument
    add('--namespace', default='', help='Namespace of the graph.')
    add('--mapping', type=Path, help='YAML file: what axes and buttons of a joystick mean.')
    add('--joy', default='joy', help='Topic of sensor_msgs/Joy. Default: joy.')
    add('--twist', default='operator_twist', help='Topic of TwistStamped. Default: operator_twist.')
    add('--speed', type=float, default=0.5, help='Share of the largest action. Default: 0.5.')
    return parser


def read_mapping(path: Path | None) -> Mapping:
    """The mapping of a file, or the default one.

    Raises:
        SettingError: the file cannot be read, or a value is not accepted.
    """
    if path is None:
        return Mapping()
    try:
        return from_mapping(Mapping, yaml.safe_load(path.expanduser().read_text()) or {})
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"mapping is '{path}': {' '.join(str(error).split())}") from None


class Operator:
    """One person's side of a graph.

    Args:
        options: of the command line.

    Attributes:
        said: the answer of the last service, and when it came.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.mapping, self.speed = read_mapping(options.mapping), options.speed
        self._space = f'/{options.namespace.strip("/")}'.rstrip('/')
        self._onlooker = Onlooker('furl_ros_operator')
        node = self._onlooker.node
        self.status: TrainingStatus | None = None
        self.info: SourceInfo | None = None
        self.joystick: Joystick | None = None
        self.state, self.result, self.reward, self.said = '', '', float('nan'), ('', 0.0)
        self._driving = False
        self._key: tuple[np.ndarray, float] | None = None  # what a key drives, and until when
        self._pressed = ('', 0.0)
        self._hand: np.ndarray | None = None  # what the joystick drives
        self._beat = 0.0
        self._clients = {
            name: node.create_client(Trigger, f'{self._space}/{self._server(name)}/{name}')
            for name in (*KEYS.values(), 'resume')
        }
        self._actions = node.create_publisher(Action, f'{self._space}/operator_action', EVENTS)
        self._heart = node.create_publisher(Empty, f'{self._space}/operator_heartbeat', EVENTS)
        for kind, topic, handler, qos in (
            (SourceInfo, 'source_info', self._on_info, LATCHED),
            (TrainingStatus, 'training_status', self._on_status, LATCHED),
            (String, 'arm_node/state', self._on_state, LATCHED),
            (EpisodeResult, 'episode_result', self._on_result, EVENTS),
            (FrameScore, 'frame_score', self._on_score, WATCHED),
            (Joy, options.joy, self._on_joy, SENSOR),
            (TwistStamped, options.twist, self._on_twist, SENSOR),
        ):
            name = topic if topic.startswith('/') else f'{self._space}/{topic}'
            node.create_subscription(kind, name, handler, qos)

    @staticmethod
    def _server(name: str) -> str:
        return 'learner_node' if name in OF_LEARNER else 'arm_node'

    def close(self) -> None:
        """Let go of the arm, and of the domain."""
        self.let_go()
        self._onlooker.close()

    def spin(self, seconds: float) -> None:
        """Take in what comes in the next seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._onlooker.executor.spin_once(left)
            self.look()

    def look(self) -> None:
        """What is due: the heartbeat, the driving."""
        now = time.monotonic()
        if now >= self._beat:
            self._beat = now + HEARTBEAT_S
            self._heart.publish(Empty())
        if self._key is not None and now > self._key[1]:
            self._key = None
            if self._hand is None:
                self.let_go()

    def press(self, key: str) -> None:
        """A key."""
        now = time.monotonic()
        if key in KEYS:
            self.ask(KEYS[key])
        elif key in DRIVES and self.info is not None:
            number, way = DRIVES[key]
            action = np.zeros(len(self.info.action_low), np.float32)
            if number < len(action):
                action[number] = way * self.speed
                # A terminal repeats a key that is held, the first time after a while.
                again = self._pressed[0] == key and now - self._pressed[1] < 2 * FIRST_HOLD_S
                self._pressed = key, now
                self._key = action, now + (KEY_HOLD_S if again else FIRST_HOLD_S)
                self.drive(action)

    def ask(self, event: str) -> None:
        """Ask the one who can for something."""
        if event == PAUSE and self.status and self.status.state == TrainingStatus.PAUSED:
            event = 'resume'
        client = self._clients[event]
        if not client.service_is_ready():
            self._say(f'{event}: {self._server(event)} is not there')
            return
        client.call_async(Trigger.Request()).add_done_callback(
            lambda done: self._on_answer(event, done.result())
        )

    def _on_answer(self, event: str, answer: Trigger.Response | None) -> None:
        text = 'no answer' if answer is None else answer.message
        done = answer is not None and answer.success
        self._say(f'{event}: done' if done else f'{event}: {text or "refused"}')

    def _say(self, text: str) -> None:
        self.said = text, time.monotonic()

    def drive(self, action: np.ndarray) -> None:
        """Have the arm carry out an action, float32 [A], for as long as it is repeated."""
        self._driving = True
        self._send(action)

    def let_go(self) -> None:
        """The policy acts again, from the next step on."""
        if self._driving:
            self._driving = False
            self._send(np.zeros(0, np.float32))

    def _send(self, action: np.ndarray) -> None:
        message = Action(action=to_float_field(action), agent='operator')
        message.header.stamp = self._onlooker.node.get_clock().now().to_msg()
        self._actions.publish(message)

    def _on_info(self, message: SourceInfo) -> None:
        self.info = message
        self.joystick = Joystick(self.mapping, len(message.action_low))

    def _on_status(self, message: TrainingStatus) -> None:
        self.status = message

    def _on_state(self, message: String) -> None:
        self.state = message.data

    def _on_result(self, message: EpisodeResult) -> None:
        word = 'success' if message.success_any_step else 'no success'
        self.result = f'episode {message.episode}: {word}'

    def _on_score(self, message: FrameScore) -> None:
        self.reward = message.reward

    def _on_joy(self, message: Joy) -> None:
        if self.joystick is None:
            return
        hand = self.joystick.read(message.axes, message.buttons)
        for event in hand.events:
            self.ask(event)
        self._steer(hand.action)

    def _on_twist(self, message: TwistStamped) -> None:
        if self.info is None:
            return
        linear, angular = message.twist.linear, message.twist.angular
        twist = [linear.x, linear.y, linear.z, angular.x, angular.y, angular.z]
        self._steer(from_twist(self.mapping, twist, len(self.info.action_low)))

    def _steer(self, action: np.ndarray | None) -> None:
        self._hand = action
        if action is not None:
            self.drive(action)
        elif self._key is None:
            self.let_go()

    def line(self) -> str:
        """Where the run stands."""
        parts = [self.state or 'no arm']
        status = self.status
        if status is not None:
            who = 'YOU drive' if self._driving else f'{status.agent or "nobody"} acts'
            parts += [who, f'step {status.total_steps:,}', f'success {status.success_rate:.2f}']
            if status.state == TrainingStatus.PAUSED:
                parts.append('PAUSED')
        parts.append(f'reward {self.reward:+.3f}')
        if self.result:
            parts.append(self.result)
        text, at = self.said
        if text and time.monotonic() < at + RESULT_S:
            parts.append(f'> {text}')
        return ' | '.join(parts)


@contextlib.contextmanager
def keyboard() -> Iterator[bool]:
    """Have keys come one by one; yields whether there is a keyboard."""
    if not sys.stdin.isatty():
        yield False
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield True
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def read_keys() -> list[str]:
    """The keys that were pressed; those of several characters as one."""
    if not select.select([sys.stdin], [], [], 0)[0]:
        return []
    text = os.read(sys.stdin.fileno(), 1024).decode(errors='ignore')
    keys = []
    while text:
        length = next((len(key) for key in DRIVES if text.startswith(key)), 1)
        keys.append(text[:length])
        text = text[length:]
    return keys


def run(options: argparse.Namespace) -> int:
    """Serve the operator until he quits; returns the exit code.

    Raises:
        SettingError: the mapping is not accepted.
    """
    if not 0 < options.speed <= 1:
        raise SettingError(f'speed is {options.speed}; accepted: above 0, up to 1')
    operator, shown, drawn = Operator(options), '', 0.0
    try:
        with keyboard() as has_keys:
            print(HELP if has_keys else 'no keyboard: joystick and twist alone', flush=True)
            while True:
                operator.spin(0.02)
                for key in read_keys() if has_keys else ():
                    if key == QUIT:
                        return 0
                    operator.press(key)
                line = operator.line()
                if time.monotonic() < drawn + DRAW_S or line == shown:
                    continue
                shown, drawn = line, time.monotonic()
                if sys.stdout.isatty():
                    width = shutil.get_terminal_size().columns - 1
                    print(f'\r\x1b[2K{line[:width]}', end='', flush=True)
                else:
                    print(line, flush=True)
    finally:
        operator.close()
        if sys.stdout.isatty():
            print()


def main(arguments: list[str] | None = None) -> int:
    """Entry point of ``ros2 run furl_ros operator``; returns the exit code, 2 for bad input."""
    options = _parser().parse_args(arguments)
    try:
        return run(options)
    except SettingError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return SIGINT_CODE
