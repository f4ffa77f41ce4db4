# SPDX-License-Identifier: Apache-2.0
"""A physical arm as a source of the graph: its topics become observations, actions its commands.

The executor's thread only receives. The main thread does everything else: it takes in what came,
and at a fixed rate senses, judges the episode and moves the arm, if it may.
"""

import contextlib
import os
import reprlib
import sys
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future
from std_msgs.msg import Bool, Empty, String
from std_srvs.srv import SetBool, Trigger

from furl_interfaces.msg import Action, FrameScore, Observation, SourceInfo
from furl_interfaces.srv import Reset
from furl_ros.bridge.arm_commands import ArmCommands
from furl_ros.bridge.arm_sensing import subscribe
from furl_ros.bridge.config import ArmNodeConfig
from furl_ros.bridge.convert import NANOSECONDS, check_stamp, to_float_field, to_ns, to_time
from furl_ros.bridge.inbox import Inbox
from furl_ros.bridge.join import NO_ACTION, Sensed
from furl_ros.bridge.node import ERROR, OK, FurlNode, run
from furl_ros.bridge.parameters import declare
from furl_ros.bridge.qos import ALIGNED, EVENTS, LATCHED, LOCKSTEP, SENSOR
from furl_ros.bridge.serving import Serving
from furl_ros.bridge.sockets import only_sockets
from furl_ros.bridge.steps import to_observation
from furl_ros.core.arm.action import ActionMap
from furl_ros.core.arm.episodes import FAILURE, SUCCESS, Episodes, Outcome, Phase, ResetStep
from furl_ros.core.arm.judge import Judge
from furl_ros.core.arm.limits import ArmState, Limits
from furl_ros.core.arm.profile import CALL_SERVICE, MOVE, WAIT_FOR_READY
from furl_ros.core.arm.profile_reading import read_profile
from furl_ros.core.arm.safety import Safety, State
from furl_ros.core.arm.sensing import FieldError, Layout, read_fields
from furl_ros.core.health import Level
from sim.config import MINUS_ONE_ZERO

ACTION, POSITIONS, OPERATOR = 'action', 'joint positions', 'operator'
LET_GO_S = 0.3  # seconds after which an operator who says nothing has let go
ANSWERED = 8  # newest observations that an action may still answer
AHEAD_S = 1.0  # seconds that stamps of others may be ahead of our clock
LEAVING_S = 2.0  # seconds that the executor's thread waits for the arm to stand still
JITTERS = 2_000  # newest control steps whose jitter the diagnostics tell
ARM_NICE = -10  # where this user may: what learns beside the arm does not keep it waiting
SWITCH_S = 0.0005  # seconds that a thread of ours may keep the others from running
MOST_WAITING = 2_000  # messages that may wait for the control loop; a second of a busy robot
SILENT_S = 0.001  # seconds: by then who had to speak is too late
FAREWELLS, FAREWELL_S = 5, 0.02  # how often a leaving node sends the hold, seconds apart


class ArmNode(FurlNode):
    """See the module's docstring; docs/real-robot.md has topics, services and the states."""

    def __init__(self, **options: Any) -> None:
        super().__init__('arm_node', **options)
        self.config = declare(self, ArmNodeConfig)
        self.profile = read_profile(yaml.safe_load(self.config.robot) or {})
        self.period = 1 / self.profile.control_rate
        self.inbox = Inbox(MOST_WAITING)
        self.serving = Serving(self)
        self.safety = Safety(self.profile.watched(), self.profile.watchdogs.loop_s)
        self.safety.pause(ACTION)
        self.layouts = {
            'observation': Layout(self.profile.observation),
            'state': Layout(self.profile.state_sources()),
        }
        self.limits, self.actions = Limits(self.profile), ActionMap(self.profile)
        self.episodes = Episodes(self.profile.episode)
        self.judge = Judge(self.profile.episode.judge)
        self.commands = ArmCommands(self, self.profile, self.show if self.config.dry_run else None)

        self.asked: tuple[Reset.Response, Future, bool] | None = None
        self.carried_out: ResetStep | None = None  # the step of the reset that is under way
        self.episode = -1
        self.evaluation = False  # what the episode is for
        self.now: Sensed | None = None
        self.answerable: deque[int] = deque(maxlen=ANSWERED)
        self.action: np.ndarray | None = None  # the newest one, not carried out yet
        self.done = np.zeros(self.actions.size, np.float32)  # what the last step carried out
        self.asked_action = NO_ACTION  # and what it had been asked for
        self.driven: tuple[np.ndarray, float] | None = None  # the operator's action, and its time
        self.intervened = False  # the last step carried out an action of his
        self.newest = 0  # stamp of the newest observation
        self.on_its_way = False  # to where episodes begin
        self.moving = False  # commands were sent that a hold has not followed yet
        self.shown: tuple[State, str] | None = None
        self.left = threading.Event()
        self.cut: dict[str, int] = {}
        self.jitters: deque[float] = deque(maxlen=JITTERS)

        self.info_publisher = self.create_publisher(SourceInfo, 'source_info', LATCHED)
        self.observation_publisher = self.create_publisher(Observation, 'observation', ALIGNED)
        self.state_publisher = self.create_publisher(String, '~/state', LATCHED)
        sources = {'observation': self.profile.observation, 'state': self.profile.state_sources()}
        subscribe(self, sources, lambda places, m: self.inbox.put(self.on_sensed, places, m))
        self.listen(Action, 'action', self.on_action, LOCKSTEP)
        self.listen(DiagnosticArray, '/diagnostics', self.on_diagnostics, EVENTS)
        self.listen(String, 'camera_seen', self.on_camera, EVENTS)
        self.listen(Action, 'operator_action', self.on_operator, EVENTS)
        if self.judge.is_asked:
            self.listen(FrameScore, 'frame_score', self.on_score, ALIGNED)
        self.listen(Empty, 'operator_heartbeat', self.on_heartbeat, EVENTS)
        # However it is sent: kept for who comes late, reliably, or neither.
        for kind in (LATCHED, EVENTS, SENSOR):
            self.create_subscription(
                Bool, 'estop', lambda m: self.inbox.put_first(self.on_estop, m), kind
            )
        episode = self.profile.episode
        for label, topic, service in (
            (SUCCESS, episode.success_topic, episode.success_service),
            (FAILURE, episode.failure_topic, episode.failure_service),
        ):
            if topic:
                self.listen(Bool, topic, lambda m, label=label: self.on_level(label, m), EVENTS)
            for name in {f'~/{label}', service} - {''}:
                self.serve(name, lambda label=label: self.say(label))
        self.serve('~/arm', self.try_to_arm)
        self.serve('~/disarm', self.disarm)
        self.serve('~/clear', lambda: self.safety.clear(time.monotonic()))
        self.serve('~/estop', self.press)
        self.serve('~/ready', self.say_ready)
        self.serve('~/end', lambda: self.end(discard=False))
        self.serve('~/rerecord', lambda: self.end(discard=True))
        self.pause_client = None
        if self.profile.command.pause_service and not self.config.dry_run:
            self.pause_client = self.create_client(SetBool, self.profile.command.pause_service)
        self.reset_client = None
        if CALL_SERVICE in episode.reset.kinds and not self.config.dry_run:
            self.reset_client = self.create_client(Trigger, episode.reset.service)
        self.create_service(Reset, 'reset', self.on_reset, callback_group=ReentrantCallbackGroup())
        self.introduce()
        self.show_state()

    def introduce(self) -> None:
        """Tell (latched) what the arm senses and accepts."""
        ones = np.ones(self.actions.size, np.float32)
        message = SourceInfo(
            run=self.run_id,
            task=self.profile.name,
            state_size=self.layouts['observation'].size,
            proprioception=array('I', self.layouts['observation'].proprioception),
            action_low=to_float_field(-ones),
            action_high=to_float_field(ones),
            control_period=self.period,
            lockstep=False,
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self.info_publisher.publish(message)

    # In the executor's thread

    def listen(self, kind: type, topic: str, handler: Callable[[Any], None], qos: Any) -> None:
        """Subscribe; the main thread handles what comes."""
        self.create_subscription(kind, topic, lambda m: self.inbox.put(handler, m), qos)

    def serve(self, name: str, act: Callable[[], str]) -> None:
        """Offer a Trigger that the main thread carries out; ``act`` returns '' or why not."""

        def answer(future: Future) -> None:
            future.set_result(act())
            self.executor.wake()

        async def call(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            future = Future(executor=self.executor)
            self.inbox.put_first(answer, future)
            response.message = await future
            response.success = not response.message
            return response

        self.create_service(Trigger, name, call, callback_group=ReentrantCallbackGroup())

    async def on_reset(self, request: Reset.Request, response: Reset.Response) -> Reset.Response:
        """Answered when the episode has begun, which may take a person's time."""
        future = Future(executor=self.executor)
        self.inbox.put_first(self.ask, request, response, future)
        return await future

    # In the main thread: what came

    def on_sensed(self, places: list[tuple[str, str]], message: Any) -> None:
        """Values of the observation vector, or of the state that limits need."""
        now, bad = time.monotonic(), ''
        try:
            self.check_time(message)
        except ValueError as error:
            self.count_bad('bad values', f'{places[0][1]}: {error}')
            return
        for layout, name in places:
            source = self.source(layout, name)
            try:
                refused = self.layouts[layout].put(name, read_fields(source, message), now)
            except FieldError as error:
                refused = str(error)
            if refused:
                bad = f'{name}: {refused}'
            elif layout == 'observation':
                self.safety.heard(f'observation {name}', now)
            elif name == 'position':
                self.safety.heard(POSITIONS, now)
        if bad:
            self.count_bad('bad values', bad)

    def check_time(self, message: Any) -> None:
        """Look at a stamp: values are as old as their arrival tells, but people should know.

        Raises:
            ValueError: it is none.
        """
        if not hasattr(message, 'header'):
            return
        stamp = message.header.stamp
        check_stamp(stamp)
        ahead = (to_ns(stamp) - self.get_clock().now().nanoseconds) / NANOSECONDS
        if abs(ahead) > AHEAD_S:
            text = f'{type(message).__name__}: {ahead:.1f} s ahead; taken as of its arrival'
            self.count_bad('stamps far from the clock', text)

    def source(self, layout: str, name: str) -> Any:
        """A source of the profile."""
        if layout == 'observation':
            return self.profile.observation[name]
        return self.profile.state_sources()[name]

    def on_action(self, message: Action) -> None:
        """The learner answers an observation of this episode."""
        if message.run != self.serving.run:
            self.count_bad('actions of another run', message.run or 'without a name')
            return
        action = np.asarray(message.action, np.float32)
        if action.shape != (self.actions.size,) or not np.isfinite(action).all():
            shown = reprlib.repr(action.tolist()[: self.actions.size + 1])
            text = f'{action.size} values, {shown}; accepted: {self.actions.size} finite ones'
            self.count_bad('bad actions', text)
            return
        stamp = to_ns(message.header.stamp)
        if stamp not in self.answerable:
            self.counts['actions for another observation'] += 1
            return
        while self.answerable[0] <= stamp:
            self.answerable.popleft()
            if not self.answerable:
                break
        self.action = action
        self.safety.heard(ACTION, time.monotonic())

    def on_diagnostics(self, message: DiagnosticArray) -> None:
        """Nodes that are watched speak once a second."""
        now, own = time.monotonic(), self.get_namespace().strip('/')
        for status in message.status:
            name = status.name.removeprefix(f'{own}/' if own else '')
            self.safety.heard(f'node {name}', now)

    def on_camera(self, message: String) -> None:
        """camera_node had a new picture of a camera."""
        if message.data not in self.profile.used_cameras:
            self.count_bad('unknown cameras', message.data)
            return
        self.safety.heard(f'camera {message.data}', time.monotonic())

    def on_estop(self, message: Bool) -> None:
        """Level of the e-stop's topic: true is pressed."""
        self.safety.estop_input('estop', message.data, time.monotonic())

    def on_level(self, label: str, message: Bool) -> None:
        """Level of the topic that tells success or failure."""
        self.episodes.level(label, message.data)

    def say(self, label: str) -> str:
        """Somebody calls it a success, or a failure."""
        return '' if self.episodes.label(label) else f'{label} does not count now'

    def end(self, discard: bool) -> str:
        """~/end, ~/rerecord."""
        return '' if self.episodes.end(discard) else 'no episode runs'

    def on_score(self, message: FrameScore) -> None:
        """What the reward says of a frame."""
        if message.run != self.serving.run or message.status != FrameScore.OK:
            return
        solved = self.judge.see(to_ns(message.header.stamp), message.reward)
        if solved and self.judge.ends_episodes:
            self.episodes.label(SUCCESS, judged=True)

    def on_heartbeat(self, _: Empty) -> None:
        """The operator is there."""
        self.safety.heard(OPERATOR, time.monotonic())

    def on_operator(self, message: Action) -> None:
        """The operator drives; with an empty action he lets go."""
        action = np.asarray(message.action, np.float32)
        if not action.size:
            self.driven = None
            return
        if action.shape != (self.actions.size,) or not np.isfinite(action).all():
            text = f'{action.size} values; accepted: {self.actions.size} finite ones, or none'
            self.count_bad("bad operator's actions", text)
            return
        self.driven = action, time.monotonic()

    def wanted(self, now: float) -> tuple[np.ndarray | None, bool]:
        """The action to be carried out, if there is one, and whether it is the operator's."""
        action, self.action = self.action, None
        if self.driven is not None and now - self.driven[1] <= LET_GO_S:
            return self.driven[0], True
        self.driven = None
        return action, False

    def say_ready(self) -> str:
        """The person has put everything in its place."""
        return '' if self.episodes.ready(time.monotonic()) else 'nobody waits for that now'

    def try_to_arm(self) -> str:
        """~/arm: nothing else lets it move."""
        refusal = self.arm()
        if refusal:
            self.get_logger().warning(f'not armed: {refusal}')
        return refusal

    def arm(self) -> str:
        """Arm it, where all is there that it needs; '' when it is armed, else why not."""
        unheard = self.commands.unheard()
        if unheard:
            return f'nobody listens to {unheard}'
        for client in (self.pause_client, self.reset_client):
            if client is not None and not client.service_is_ready():
                return f'there is no service {client.srv_name}'
        return self.safety.arm(time.monotonic())

    def disarm(self) -> str:
        """~/disarm."""
        if self.safety.disarm(time.monotonic()):
            return ''
        return f'it is stopped by an e-stop ({self.safety.reason}): clear it first'

    def press(self) -> str:
        """~/estop."""
        self.safety.estop('e-stop service', time.monotonic())
        return ''

    def ask(self, request: Reset.Request, response: Reset.Response, future: Future) -> None:
        """The learner wants an episode."""
        refusal = self.serving.refusal(request.run)
        code = Reset.Response.OTHER_RUN
        if not refusal:
            refusal, code = self.bad_stamp(request), Reset.Response.FAILED
        if refusal:
            response.error_code, response.error_msg = code, refusal
            self.count_bad('resets refused', refusal)
            self.answer(response, future)
            return
        self.serving.run = request.run
        self.newest = max(self.newest, to_ns(request.after))
        if self.asked is not None:
            before, waiting, _ = self.asked
            before.error_code = Reset.Response.FAILED
            before.error_msg = 'another episode was asked for meanwhile'
            self.answer(before, waiting)
        self.asked = response, future, request.evaluation
        if self.episodes.phase is Phase.RUNNING:
            self.episodes.abort('another episode was asked for')
        self.end_episode()

    def bad_stamp(self, request: Reset.Request) -> str:
        """Why stamps of this arm cannot follow the learner's; '' when they can."""
        try:
            check_stamp(request.after)
        except ValueError as error:
            return f'after is wrong: {error}'
        ahead = (to_ns(request.after) - self.get_clock().now().nanoseconds) / NANOSECONDS
        # Stamps that follow it would find no picture: cameras go by the clock.
        return f'after is {ahead:.1f} s ahead of the clock here' if ahead > AHEAD_S else ''

    def answer(self, response: Reset.Response, future: Future) -> None:
        """Let a call of reset have its answer."""
        future.set_result(response)
        self.executor.wake()

    # In the main thread: the control loop

    def work(self, stop: threading.Event) -> int:
        """Control the arm until stopped; it stands still before we leave, whatever happens."""
        due = time.monotonic()
        try:
            while not stop.is_set():
                due += self.period
                late = time.monotonic() - due
                if late > self.period:
                    missed = int(late / self.period)
                    self.counts['control steps missed'] += missed
                    due += missed * self.period
                while (left := due - time.monotonic()) > 0:
                    left = min(left, self.safety.patience(time.monotonic()) + SILENT_S)
                    self.inbox.drain(left, left)
                    self.stop_in_time(time.monotonic())
                self.inbox.drain(limit=self.period / 4)
                now = time.monotonic()
                self.jitters.append(now - due)
                with self.stages('step'):
                    self.step(now)
        finally:
            self.farewell()
            self.left.set()
        return 0

    def stop_in_time(self, now: float) -> None:
        """Between two control steps: an arm whose watchdog runs out does not wait for the next."""
        watched = self.moving and self.safety.state is State.ARMED
        if watched and self.safety.check(now) is not State.ARMED:
            self.hold(now)

    def close(self) -> None:
        # Publishers are about to go, also where the executor has failed: first the arm stands.
        self.left.wait(LEAVING_S)

    def step(self, now: float) -> None:
        """One control step."""
        armed = self.safety.check(now) is State.ARMED
        if self.episodes.phase is Phase.RESETTING:
            self.go_on_resetting(armed, now)
        error = self.episodes.take_error()
        if error:
            self.get_logger().error(f'no reset: {error}')
            # A person has to look: the arm would try again for ever.
            self.safety.stop(f'no reset: {error}', now)
        elif self.episodes.phase is Phase.RUNNING:
            if armed and self.now is None:
                self.begin_episode(now)
            else:
                self.run_episode(armed, now)
        elif self.episodes.phase is Phase.WAITING and self.asked is not None and armed:
            self.episodes.reset(now)
        state, phase = self.safety.check(now), self.episodes.phase
        if state is State.ARMED and phase is Phase.RUNNING:
            self.move(now)
        elif state is State.STOPPED or (
            self.moving and not (state is State.ARMED and phase is Phase.RESETTING)
        ):
            self.hold(now)
        if (state, self.safety.reason) != self.shown:
            self.show_state()

    def run_episode(self, armed: bool, now: float) -> None:
        """Sense, and see whether the episode is over."""
        outcome = self.episodes.tick(now)
        if outcome is None and not armed:
            outcome = self.episodes.abort(self.safety.reason or self.safety.state.value)
        if self.now is not None:
            self.observe(outcome, now)
        if outcome is not None:
            if outcome.terminated and not outcome.judged:
                self.judge.compare(outcome.success)
            self.get_logger().info(f'episode {self.episode}: {outcome.reason}')
            self.end_episode()

    def end_episode(self) -> None:
        """Nobody has to act any more, and no action counts."""
        self.safety.pause(ACTION)
        self.action = self.now = None
        self.answerable.clear()

    def go_on_resetting(self, armed: bool, now: float) -> None:
        """Carry out the steps between two episodes."""
        positions = self.layouts['state'].get('position', now)
        if not armed:
            self.episodes.abort(self.safety.reason or 'it is not armed')
        elif positions is not None:
            self.episodes.at(positions, now)
        self.episodes.tick(now)
        if self.episodes.step not in (None, self.carried_out):
            self.carried_out = self.episodes.step
            self.carry_out(self.carried_out, now)

    def carry_out(self, step: ResetStep, now: float) -> None:
        """Begin a step of the reset."""
        reset = self.profile.episode.reset
        # What was commanded before says nothing of where it goes now.
        self.limits.restart()
        self.moving = step.kind != WAIT_FOR_READY
        if self.config.dry_run and self.moving:
            self.get_logger().info(f'would send: reset: {step.kind}')
            self.episodes.step_done(step, now)
        elif step.kind == MOVE:
            self.on_its_way = True
            self.commands.move(reset.positions, reset.move_s)
        elif step.kind == WAIT_FOR_READY:
            self.get_logger().info(f'waiting for {self.get_name()}/ready: is everything in place?')
        else:
            future = self.reset_client.call_async(Trigger.Request())
            future.add_done_callback(
                lambda done: self.inbox.put_first(self.on_step_done, step, done)
            )

    def on_step_done(self, step: ResetStep, done: Future) -> None:
        """The robot's own reset has answered."""
        result = done.result()
        if result is not None and result.success:
            self.episodes.step_done(step, time.monotonic())
        else:
            self.episodes.step_failed(step, result.message if result else 'no answer')

    def begin_episode(self, now: float) -> None:
        """The arm is where an episode begins: its first observation, and the learner's answer."""
        self.limits.restart()
        self.on_its_way = False
        self.layouts['observation'].restart()
        self.end_episode()
        self.done, self.asked_action = np.zeros(self.actions.size, np.float32), NO_ACTION
        self.intervened = False
        self.episode += 1
        self.evaluation = self.asked is not None and self.asked[2]
        self.safety.resume(ACTION, now)
        self.observe(None, now)
        if self.now is not None:
            self.judge.begin(self.now.stamp)
        if self.now is None or self.asked is None:
            self.safety.stop('nothing is sensed', now)
            return
        response, future, _ = self.asked
        self.asked = None
        response.stamp, response.episode = to_time(self.now.stamp), self.episode
        self.answer(response, future)

    def observe(self, outcome: Outcome | None, now: float) -> None:
        """Publish what is sensed now, and what the last step carried out."""
        values = self.layouts['observation'].read(now).values
        if values is None:
            if outcome is None:
                self.counts['steps without an observation'] += 1
                return
            values = self.now.state  # the last one of an episode that had to end
        success = outcome is not None and outcome.success
        stamp = self.newest = max(self.get_clock().now().nanoseconds, self.newest + 1)
        if self.now is None:
            previous, step, action, wanted = stamp, 0, NO_ACTION, NO_ACTION
        else:
            previous, step = self.now.stamp, self.now.step + 1
            action, wanted = self.done, self.asked_action
        reward = float(success) - (self.config.success_reward == MINUS_ONE_ZERO)
        self.now = Sensed(
            stamp,
            previous,
            self.episode,
            step,
            values,
            action,
            reward if step else 0.0,
            success,
            outcome is not None and outcome.terminated,
            outcome is not None and outcome.truncated,
            self.evaluation,
            outcome is not None and outcome.discarded,
            self.intervened and step > 0,
            outcome is not None and outcome.judged,
            wanted,
        )
        message = to_observation(self.now, self.profile.workspace.frame, 0)
        message.run = self.serving.run
        self.observation_publisher.publish(message)
        self.answerable.append(stamp)

    def move(self, now: float) -> None:
        """Carry out the newest action, once: without a new one the arm is asked to stand."""
        state = self.arm_state(now)
        if state is None:
            return
        action, self.intervened = self.wanted(now)
        if action is None and self.now.step > 0:
            self.counts['steps without a fresh action'] += 1
        wanted = np.zeros(self.actions.size) if action is None else action
        command = self.actions.command(wanted, self.limits.reference(state))
        if action is None:
            command = command._replace(gripper=None)
        limited = self.limits.apply(command, state, now)
        for name in limited.cut:
            self.cut[name] = self.cut.get(name, 0) + 1
        if limited.stop:
            self.safety.stop(limited.stop, now)
        if limited.command is not None:
            self.done = self.actions.carried_out(limited.command)
            self.asked_action = np.clip(wanted, -1, 1).astype(np.float32)
            self.layouts['observation'].acted(self.done)
            self.moving = True
            self.commands.send(limited.command)

    def arm_state(self, now: float) -> ArmState | None:
        """What limits need to know; None while positions are not known."""
        state = self.layouts['state']
        positions = state.get('position', now)
        if positions is None:
            return None
        tool = state.get('tool', now) if self.profile.has_workspace else None
        return ArmState(positions, tool)

    def hold(self, now: float) -> None:
        """Have the arm stand where it is."""
        self.moving = False
        positions = self.layouts['state'].get('position', now)
        unknown = np.full(len(self.profile.joints.names), np.nan)
        if self.on_its_way and positions is not None:
            self.commands.stay(positions)
            self.on_its_way = False
        command = self.limits.hold(ArmState(unknown if positions is None else positions))
        if command is not None:
            self.commands.send(command)

    def farewell(self) -> None:
        """Leave an arm that stands still."""
        if self.safety.state is State.DISARMED and not self.moving:
            return
        self.safety.stop('the node ends', time.monotonic())
        self.hold(time.monotonic())
        self.show_state()
        for _ in range(FAREWELLS):
            time.sleep(FAREWELL_S)
            self.hold(time.monotonic())

    def show(self, text: str) -> None:
        """Dry run: what would be sent."""
        self.get_logger().info(f'would send: {text}', throttle_duration_sec=1.0)

    def show_state(self) -> None:
        """Tell (latched), in the log and to the controller, whether the arm may move."""
        state, reason = self.safety.state, self.safety.reason
        was_armed = self.shown is not None and self.shown[0] is State.ARMED
        self.shown = state, reason
        text = f'{state.value}: {reason}' if reason else state.value
        self.state_publisher.publish(String(data=text))
        self.get_logger().info(f'the arm is {text}')
        if state is State.DISARMED:
            # Somebody may move it by hand now.
            self.limits.restart()
        armed = state is State.ARMED
        if self.pause_client is not None and armed is not was_armed:
            self.pause_client.call_async(SetBool.Request(data=not armed))

    def diagnose(self) -> tuple[Level, str, dict[str, object]]:
        state = self.safety.state
        level = ERROR if state is State.STOPPED else OK
        jitters = sorted(self.jitters.copy())
        values = {
            'state': state.value,
            'reason': self.safety.reason,
            'episode': self.episode,
            'phase': self.episodes.phase.value,
            'messages_waiting': self.inbox.waiting,
            **{f'cut by {name}': count for name, count in list(self.cut.items())},
        }
        if self.judge.is_asked:
            values['judge/agreement'] = round(self.judge.agreement, 3)
            values |= {f'judge/{name}': n for name, n in list(self.judge.counts.items())}
        if jitters:
            late = jitters[len(jitters) * 99 // 100]
            values['jitter_p50_ms'] = round(1e3 * jitters[len(jitters) // 2], 3)
            values['jitter_p99_ms'] = round(1e3 * late, 3)
            values['jitter_share'] = round(late / self.period, 3)
        return level, f'{state.value}, {self.episodes.phase.value}', values

    def totals(self) -> dict[str, int]:
        counts = dict(self.counts) | {'messages dropped': self.inbox.dropped}
        counts |= {f'labels/{name}': n for name, n in list(self.episodes.counts.items())}
        for name, layout in self.layouts.items():
            counts |= {f'{name}/{what}': n for what, n in list(layout.counts.items())}
        return counts


def main() -> None:
    """Entry point of ``ros2 run furl_ros arm_node``."""
    # Python's default, 5 ms, is what a control step would wait for messages to be received.
    sys.setswitchinterval(SWITCH_S)
    with contextlib.suppress(PermissionError):
        os.nice(ARM_NICE)
    with only_sockets():
        sys.exit(run(ArmNode))


if __name__ == '__main__':
    main()
