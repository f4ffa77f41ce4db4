# SPDX-License-Identifier: Apache-2.0
"""The learner: acts, keeps the replay, trains both agents, evaluates, saves.

The executor's thread only receives; the main thread does everything else in one loop: answer
observations, take in complete steps, make the updates they call for.
"""

import queue
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future
from std_msgs.msg import Float64
from std_srvs.srv import Trigger

from furl_interfaces.action import Train
from furl_interfaces.msg import EpisodeResult, PromptEmbedding, RewardHeads, TrainingStatus
from furl_interfaces.srv import SaveCheckpoint
from furl_ros.bridge.config import LearnerNodeConfig
from furl_ros.bridge.convert import from_heads_msg, from_prompt_msg, to_ns, to_time
from furl_ros.bridge.inbox import Inbox
from furl_ros.bridge.join import Joined, Sensed
from furl_ros.bridge.limits import ALIGNED_DEPTH, alignment_lead
from furl_ros.bridge.node import ERROR, OK, WARN, FurlNode, run
from furl_ros.bridge.parameters import declare
from furl_ros.bridge.qos import EVENTS, LATCHED
from furl_ros.bridge.source import NO_SCORE, Score, Source, SourceError
from furl_ros.bridge.steps import spaces_of
from furl_ros.core.config import ScoringConfig, TrainConfig
from furl_ros.core.heads import RewardHeads as Heads
from furl_ros.core.methods import METHODS
from furl_ros.core.pacing import Due, Pace, Pacing
from furl_ros.core.replay import Transition
from furl_ros.core.reporting import Reporter
from furl_ros.core.reward import check_targets
from furl_ros.core.run import RunFolder, find_checkpoint
from furl_ros.core.scorings import PAIRED, check_scoring
from furl_ros.core.seeds import episode_seed, evaluation_seeds
from furl_ros.core.settings import SettingError
from furl_ros.core.trainer import Trainer

ALIGNMENT_WAIT_S = 10.0  # seconds that a checkpoint waits for the alignment's part, at least
RESULT_WAIT_S = 0.5  # seconds that the middleware has to deliver the result of a Train goal
SAY_AGAIN_S = 5.0  # seconds between two lines about the same wait


class LearnerNode(FurlNode):
    """See the module's docstring; topics, services and the action are listed in docs/topics.md."""

    def __init__(self) -> None:
        super().__init__('learner_node')
        self.config = declare(self, LearnerNodeConfig)
        self.train_config = declare(self, TrainConfig)
        self.scoring = declare(self, ScoringConfig)
        self.method = METHODS[self.train_config.method]
        check_scoring(self.train_config.method, self.scoring.scoring)
        if self.config.deterministic and len(self.config.sources) > 1:
            raise SettingError(
                f'deterministic is True with {len(self.config.sources)} sources; accepted: one'
                ' source (num_sims 1), since the order of several is not fixed'
            )
        torch.set_num_threads(self.config.torch_threads)
        self.checkpoint = find_checkpoint(self.config.resume) if self.config.resume else None

        self.inbox, self.eval_inbox = Inbox(), Inbox()
        self.sources = [
            Source(
                self,
                self.inbox,
                index,
                name,
                scored=self.method.vlm,
                in_pairs=self.method.vlm and self.scoring.scoring in PAIRED,
            )
            for index, name in enumerate(self.config.sources)
        ]
        self.eval_source = None
        if self.config.eval_source and self.train_config.eval_every:
            self.eval_source = Source(self, self.eval_inbox, 0, self.config.eval_source, False)
        self.trainer: Trainer | None = None
        self.pacing: Pacing | None = None
        self.reporter: Reporter | None = None
        self.folder: RunFolder | None = None
        self.goal_done: Future | None = None
        self.prompt: PromptEmbedding | None = None
        self.heads: dict[int, tuple[Heads, int]] = {}
        self.stage = 0
        self.state, self.detail = TrainingStatus.WAITING, 'starting'
        self.target = self.train_config.total_steps
        self.orders: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.busy = self.save_asked = False
        self.stop, self.cancel = threading.Event(), threading.Event()
        self.goal: ServerGoalHandle | None = None
        self.outcome: Train.Result | None = None
        # Newest observation of each source that was learned from.
        self.learned = dict.fromkeys(range(len(self.sources)), 0)
        self.waited = float('-inf')  # when the last wait was told in detail
        self.due_line = 0.0
        self.reported = 0
        self.episodes: dict[int, int] = {}

        put = self.inbox.put
        for kind, topic, handler in (
            (PromptEmbedding, 'prompt_embedding', self.on_prompt),
            (RewardHeads, 'reward_heads', self.on_heads),
        ):
            self.create_subscription(kind, topic, lambda m, h=handler: put(h, m), LATCHED)
        # Another learner under our names: the later one leaves.
        self.create_subscription(
            TrainingStatus, 'training_status', lambda m: put(self.on_status, m), LATCHED
        )
        self.save_client = self.create_client(
            SaveCheckpoint, f'{self.config.alignment}/save_checkpoint'
        )
        self.status_publisher = self.create_publisher(TrainingStatus, 'training_status', LATCHED)
        self.result_publisher = self.create_publisher(EpisodeResult, 'episode_result', EVENTS)
        self.rate_publisher = self.create_publisher(Float64, 'success_rate', EVENTS)
        self.create_service(Trigger, '~/start', self.on_start)
        self.create_service(Trigger, '~/cancel', self.on_cancel)
        self.create_service(Trigger, '~/save_checkpoint', self.on_save)
        self.action = ActionServer(
            self,
            Train,
            'train',
            execute_callback=self.on_goal,
            goal_callback=self.on_goal_request,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            # A goal that is being awaited would block the other callbacks of its group.
            callback_group=ReentrantCallbackGroup(),
        )
        self.create_timer(1.0, self.publish_status, clock=self.steady_clock)

    # Messages, in the main thread (through the inbox).

    def on_prompt(self, message: PromptEmbedding) -> None:
        """The fixed side of the reward: tells the width of the embeddings.

        Raises:
            SettingError: the reward node scores in another way, and training has not begun.
        """
        if not self.method.vlm or not self.is_ours(message, 'prompt_embedding'):
            return
        if message.scoring != self.scoring.scoring:
            text = f"scoring is {self.scoring.scoring!r}, but the reward node's {message.scoring!r}"
            if self.trainer is None:
                raise SettingError(f'{text}; accepted: the same in both')
            self.count_bad('bad prompt embeddings', text)
            return
        try:
            text, goal, baseline = from_prompt_msg(message)
            check_targets(self.scoring, goal, baseline)
            if self.trainer is not None and len(text) != len(self.trainer.text):
                raise ValueError(f'{len(text)} values; accepted: {len(self.trainer.text)}')
        except ValueError as error:
            self.count_bad('bad prompt embeddings', str(error))
            return
        self.prompt = message
        for source in self.sources:
            source.embedding_width = len(text)
        if self.trainer is not None and goal is not None:
            self.trainer.set_goal(goal)

    def on_heads(self, message: RewardHeads) -> None:
        """A version of the heads: used from the next update on."""
        if not self.is_ours(message, 'reward_heads'):
            return
        try:
            heads = Heads.from_flat(**from_heads_msg(message))
            if message.transitions > self.most_transitions:
                raise ValueError(
                    f'{message.transitions} transitions; accepted: at most'
                    f' {self.most_transitions}, since no more have begun'
                )
            if self.prompt is not None and heads.layer_sizes[0] != len(self.prompt.text_embedding):
                raise ValueError(
                    f'heads take {heads.layer_sizes[0]} values; accepted:'
                    f' {len(self.prompt.text_embedding)}, the width of the embeddings'
                )
        except ValueError as error:
            self.count_bad('bad heads', str(error))
            return
        self.stage = message.stage
        self.heads[message.transitions] = (heads, message.version)
        for source, stamp in zip(self.sources, message.newest, strict=False):
            source.aligned(to_ns(stamp))
        if self.trainer is not None and not self.config.deterministic:
            self.use_heads(message.transitions)

    @property
    def most_transitions(self) -> float:
        """Transitions that the alignment can have seen; it may be ahead of us."""
        if self.trainer is None:
            return float('inf')
        begun = self.trainer.steps + sum(source.in_flight for source in self.sources)
        return begun + ALIGNED_DEPTH

    def on_status(self, message: TrainingStatus) -> None:
        """Another learner speaks under our names.

        Raises:
            SettingError: it was there before us.
        """
        if message.run == self.run_id or message.state in (
            TrainingStatus.FINISHED,
            TrainingStatus.FAILED,
        ):
            return
        # Run ids begin with their time: of two that started at once one knows that it is the later.
        if message.run < self.run_id and self.has_twin:
            raise SettingError(
                f'another graph has these names in this ROS domain (run {message.run or "by hand"}'
                f' in {message.run_folder or "a folder not made yet"}); choose another domain'
                ' (ROS_DOMAIN_ID=<number>) or a namespace (namespace:=<name>)'
            )
        self.is_ours(message, 'training_status')

    @property
    def has_twin(self) -> bool:
        """Whether another node with our name publishes its status; anybody else may only say so."""
        mine = self.get_name(), self.get_namespace()
        found = self.get_publishers_info_by_topic('training_status')
        return sum((one.node_name, one.node_namespace) == mine for one in found) > 1

    def use_heads(self, transitions: int) -> None:
        """Give the trainer the heads that have seen so much, and forget the older ones."""
        self.trainer.set_heads(*self.heads[transitions], transitions)
        self.heads = {seen: heads for seen, heads in self.heads.items() if seen >= transitions}

    # Work, in the main thread.

    def work(self, stop: threading.Event) -> int:
        """Train when asked to, until stopped."""
        self.stop = stop
        if self.config.autostart:
            self.order(self.train_config.total_steps)
        while not stop.is_set():
            try:
                target = self.orders.get(timeout=0.2)
            except queue.Empty:
                self.inbox.drain()
                continue
            failed = self.train(target) == Train.Result.FAILED
            if failed or self.config.exit_when_done:
                self.await_result_sent()
                return int(failed)
        return 0

    @property
    def stopped(self) -> bool:
        """The work is to end now: the node stops, or the training was cancelled."""
        return self.stop.is_set() or self.cancel.is_set()

    def await_result_sent(self) -> None:
        """Before leaving: let the client of a Train goal hear how it ended."""
        while self.goal is not None and not self.stop.wait(0.1):
            pass
        if self.goal_done is not None:
            self.stop.wait(RESULT_WAIT_S)

    def order(self, target: int) -> None:
        """Have the main thread train until ``target`` environment steps."""
        self.busy, self.outcome = True, None
        self.cancel.clear()
        self.orders.put(target)

    def train(self, target: int) -> int:
        """Train until ``target`` steps, a stop or a cancel; always saves. Returns an error_code."""
        self.target = target
        code, text = Train.Result.OK, ''
        try:
            if self.trainer is None and not self.prepare():
                code, text = Train.Result.CANCELLED, 'stopped before the start'
            elif self.trainer.steps > target:
                code = Train.Result.FAILED
                text = (
                    f'total_steps is {target}; accepted: at least {self.trainer.steps}, the steps'
                    ' that are done'
                )
                self.get_logger().error(text)
            else:
                self.loop(target)
                if self.trainer.steps < target:
                    code, text = Train.Result.CANCELLED, 'stopped'
                else:
                    self.evaluate()
                self.finish()
        except SettingError:
            raise
        except (SourceError, OSError, RuntimeError) as error:
            code, text = Train.Result.FAILED, str(error)
            self.get_logger().error(text)
        self.state = {
            Train.Result.OK: TrainingStatus.FINISHED,
            Train.Result.FAILED: TrainingStatus.FAILED,
        }.get(code, TrainingStatus.WAITING)
        self.detail = text or 'done'
        self.publish_status()
        result = Train.Result(error_code=code, error_msg=text)
        if self.folder is not None:
            result.total_steps = self.trainer.steps
            result.success_rate = self.trainer.success_rate
            result.eval_success_rate = self.eval_success_rate
            result.run_folder = str(self.folder.path)
        self.outcome = result
        self.busy = False
        return code

    def prepare(self) -> bool:
        """Wait for the other nodes, then make the trainer; False when stopped meanwhile."""
        reported, reported_at = '', time.monotonic()
        while True:
            self.inbox.drain(0.05)
            self.eval_inbox.drain()
            if self.stopped:
                return False
            missing = [source.waiting_for for source in self.sources if source.waiting_for]
            if self.eval_source is not None and self.eval_source.waiting_for:
                missing.append(self.eval_source.waiting_for)
            if self.method.vlm and self.prompt is None:
                missing.append('prompt_embedding')
            if self.method.vlm and not self.heads:
                missing.append('reward_heads')
            if self.method.vlm and not self.save_client.service_is_ready():
                missing.append(f'{self.config.alignment}/save_checkpoint')
            if not missing:
                break
            self.detail = f'waiting for {", ".join(missing)}'
            if self.detail != reported and time.monotonic() > reported_at + 5.0:
                self.get_logger().info(self.detail)
                reported, reported_at = self.detail, time.monotonic()
        config = yaml.safe_load(self.config.run_config) or {}
        try:
            observation_space, action_space = spaces_of(self.sources[0].info)
        except ValueError as error:
            raise SettingError(f'source_info cannot be used: {error}') from None
        text = goal = baseline = None
        if self.method.vlm:
            text, goal, baseline = from_prompt_msg(self.prompt)
        self.trainer = Trainer(
            self.train_config, observation_space, action_space, text, self.scoring, goal, baseline
        )
        self.stages = self.trainer.stages
        if self.checkpoint is not None:
            self.trainer.load(self.checkpoint)
            if self.trainer.heads is not None:
                known = self.trainer.heads, self.trainer.heads_version
                self.heads.setdefault(self.trainer.heads_transitions, known)
        self.heads = {seen: h for seen, h in self.heads.items() if seen <= self.most_transitions}
        # Bit for bit, those that were in use go on to be, until the next ones are due.
        if self.heads and (self.trainer.heads is None or not self.config.deterministic):
            self.use_heads(max(self.heads))
        for source in self.sources:
            source.newest = self.trainer.replay.newest_stamp(source.index)
        self.folder = RunFolder(self.config.run_folder, config)
        self.reporter = Reporter(self.folder, self.trainer.steps)
        self.reported = self.trainer.steps
        every = self.train_config
        self.evaluation = Due(every.eval_every, self.trainer.steps)
        self.saving = Due(every.checkpoint_every, self.trainer.steps)
        self.pacing = Pacing(self.pace(), self.sources, self.trainer)
        self.get_logger().info(f'run folder: {self.folder.path}')
        return True

    def pace(self) -> Pace:
        """How far the parts of the graph may run ahead of each other."""
        config = self.config
        return Pace(
            deterministic=config.deterministic,
            max_in_flight=config.max_in_flight,
            max_lead=config.max_lead,
            updates_per_step=self.train_config.updates_per_step,
            alignment_lead=alignment_lead(config.publish_every) if self.method.vlm else None,
            alignment=config.alignment,
            stall_timeout=config.stall_timeout,
        )

    def loop(self, target: int) -> None:
        """The training loop: one action, one step taken in, one update, as they become possible."""
        self.pacing.target = target
        for source in self.sources:
            if self.pacing.wants_more and not self.resume_episode(source):
                self.start_episode(source)
        self.pacing.foreseen = False

        def pause() -> None:
            # A robot does not wait for a whole update. Which one then chose its action is chance.
            if not self.config.deterministic:
                self.answer()

        while not self.pacing.is_done:
            if self.stopped:
                return
            progress = self.answer()
            for source in self.sources:
                joined = source.take(hold=self.pacing.holds)
                if joined is not None:
                    self.take_in(source, joined)
                    progress = True
                elif source.is_cut_short and self.pacing.wants_more:
                    self.counts['episodes whose last step could not be scored'] += 1
                    self.start_episode(source)
                source.retry()
                if source.restarted:
                    self.get_logger().warning(f'{source.name or "the source"} has restarted')
                    self.start_episode(source)
            if self.trainer.owed > 0:
                if self.await_heads():
                    self.trainer.update(pause)
            elif not progress:
                with self.stages('wait'):
                    self.inbox.drain(0.1)
                self.look_for_stalls()
            if self.save_asked:
                self.save_asked = False
                self.save()
            if time.monotonic() >= self.due_line:
                self.report()

    def answer(self) -> bool:
        """Take in what has come, and act where that is due; False when there was nothing."""
        with self.stages('join'):
            progress = self.inbox.drain()
        for source in self.sources:
            if source.todo is None:
                continue
            now = time.monotonic()
            self.pacing.hear(source, now)
            if self.pacing.may_act(source, now):
                if self.pacing.plays_again:
                    self.act_again(source)
                else:
                    source.act(*self.choose(source))
                self.pacing.begin(source)
                progress = True
            elif self.pacing.must_foresee(source):
                self.choose(source)
                self.pacing.foreseen = True
        return progress

    def choose(self, source: Source) -> tuple[np.ndarray, str]:
        """The action for the observation that waits for one, and who chose it."""
        return self.trainer.act(source.todo.state, source.todo.step, source.index)

    def resume_episode(self, source: Source) -> bool:
        """Bit for bit: go on with the episode that the last training broke off; False without one.

        Where that was another process, the robot has started anew, and plays it again.
        """
        broken_off = self.trainer.resume_episode(source.index)
        if broken_off is None or not self.config.deterministic:
            return False
        number, known, actions = broken_off
        if source.index in self.episodes:
            self.pacing.play_again(actions[-1:] if self.pacing.foreseen else (), 0)
            return True
        self.pacing.play_again(actions, known)
        self.episodes[source.index] = number
        # Its observations get the stamps that they had.
        self.learned[source.index] = self.trainer.replay.newest_stamp(source.index)
        self.first = self.learned[source.index] - known * source.period_ns
        source.newest = self.first - source.period_ns
        source.reset(episode_seed(self.train_config.seed, source.index, number))
        return True

    def act_again(self, source: Source) -> None:
        """Carry out the next action of an episode that is played again."""
        if source.todo.step == 0 and source.todo.stamp != self.first:
            self.get_logger().warning(
                'the robot did not start anew with the run: its episode cannot be gone on with'
            )
            self.start_episode(source)
            return
        source.act(self.pacing.next_again(), 'again')

    def take_in(self, source: Source, joined: Joined[Score]) -> None:
        """Store one step; at the end of an episode evaluate, save, and start the next one."""
        before, after, score, previous = joined
        if self.pacing.is_known(after.step):
            return
        previous = previous or NO_SCORE
        self.trainer.add(
            Transition(
                before.state,
                self.trainer.scale(after.action),
                after.state,
                after.task_reward,
                after.success,
                after.terminated,
                score.embedding,
                after.stamp,
                source.index,
                self.episodes[source.index],
                after.step,
                previous.embedding,
            ),
            score.reward,
            previous.reward,
        )
        self.learned[source.index] = after.stamp
        backlog = self.pacing.backlog(source)
        if backlog is not None:
            self.trainer.forgive(backlog)
        if not after.last:
            return
        self.finish_episode(source, after.stamp)
        if self.evaluation.has_come(self.trainer.steps, self.target):
            self.evaluate()
            self.evaluation.done(self.trainer.steps)
        if self.saving.has_come(self.trainer.steps, self.target):
            self.save()
            self.saving.done(self.trainer.steps)
        # What is drawn for an episode belongs to it: a resumed run draws it again.
        if self.pacing.wants_more:
            self.start_episode(source)

    def start_episode(self, source: Source) -> None:
        """Ask a source for its next episode, with the seed that belongs to it."""
        self.pacing.begin_episode()
        number = self.episodes[source.index] = self.trainer.start_episode(source.index)
        source.reset(episode_seed(self.train_config.seed, source.index, number))

    def finish_episode(self, source: Source, stamp: int) -> None:
        """Write and publish the result of an episode."""
        episode = self.trainer.end_episode(source.index, self.episodes[source.index])
        self.reporter.episode(episode, self.trainer.success_rate)
        message = EpisodeResult(
            source=source.name,
            episode=episode.episode,
            length=episode.length,
            total_steps=episode.total_steps,
            task_return=episode.task_return,
            vlm_return=episode.vlm_return,
            success_any_step=episode.success_any_step,
            success_last_step=episode.success_last_step,
            phase=episode.phase,
        )
        message.header.stamp = to_time(stamp)
        self.result_publisher.publish(message)
        self.rate_publisher.publish(Float64(data=self.trainer.success_rate))

    def await_heads(self) -> bool:
        """Deterministic: use the heads that belong to this number of steps; False when stopped."""
        if not self.config.deterministic or self.method.heads != 'trained':
            return True
        needed = self.trainer.steps // self.config.publish_every * self.config.publish_every
        while max(self.heads, default=-1) < needed:
            if self.stopped:
                return False
            with self.stages('wait'):
                self.inbox.drain(0.1)
        # Newer ones may be here already: how soon they come is chance.
        self.use_heads(min(seen for seen in self.heads if seen >= needed))
        return True

    def look_for_stalls(self) -> None:
        """Say what is waited for too long; a robot that is silent is asked for a new episode."""
        for wait in self.pacing.find_waits():
            if wait.robot is None:
                self.say_wait(wait.text)
                continue
            self.counts['stalls'] += 1
            self.get_logger().warning(wait.text)
            self.start_episode(wait.robot)

    def say_wait(self, text: str) -> None:
        """Say what is waited for, now and then."""
        self.detail, self.waited = text, time.monotonic()
        self.get_logger().warning(text, throttle_duration_sec=SAY_AGAIN_S)

    def evaluate(self) -> None:
        """Run evaluation episodes on their own robot; the training stream stands still."""
        if self.eval_source is None:
            return
        self.state = TrainingStatus.EVALUATING
        config = self.train_config
        try:
            with self.stages('evaluate'):
                evaluation = self.trainer.evaluate(
                    self.evaluation_reset,
                    self.evaluation_step,
                    evaluation_seeds(config.seed, config.eval_episodes),
                )
        except SourceError as error:
            if not self.stopped:
                self.count_bad('failed evaluations', str(error))
            return
        self.reporter.evaluation(evaluation)

    def evaluation_reset(self, seed: int) -> Sensed:
        """Start an evaluation episode."""
        self.eval_source.reset(seed)
        return self.evaluation_observation()

    def evaluation_step(self, action: np.ndarray) -> Sensed:
        """Carry out one action of an evaluation episode."""
        self.eval_source.act(action, 'eval')
        return self.evaluation_observation()

    def evaluation_observation(self) -> Sensed:
        """Wait for the next observation of the evaluation robot."""
        deadline = time.monotonic() + self.config.stall_timeout
        while time.monotonic() < deadline and not self.stopped:
            if self.eval_source.todo is not None:
                return self.eval_source.todo
            joined = self.eval_source.take()
            if joined is not None and joined.after.last:
                return joined.after
            self.eval_inbox.drain(0.1)
        raise SourceError(f'{self.config.eval_source} does not answer')

    def save(self) -> None:
        """Write a checkpoint: learner and alignment in one folder that appears when it is whole."""
        step, keep = self.trainer.steps, self.train_config.keep_checkpoints
        with self.stages('save'), self.folder.checkpoint(step, keep) as folder:
            if self.method.vlm:
                self.save_alignment(folder)
            self.trainer.save(folder)
        self.get_logger().info(f'checkpoint: step {step:,}')

    def save_alignment(self, folder: Path) -> None:
        """Have the alignment node write its part, as of this very step.

        What it never received whole is given up after a while, and said: a checkpoint without a few
        frames of the heads is worth more than none.

        Raises:
            SourceError: it could not, or did not answer in time.
        """
        request = SaveCheckpoint.Request(
            run=self.run_id, path=str(folder.relative_to(self.folder.path))
        )
        request.newest = [to_time(stamp) for stamp in self.learned.values()]
        patience = ALIGNMENT_WAIT_S
        if not self.stopped:
            patience = max(patience, self.config.stall_timeout)
        deadline = time.monotonic() + patience
        reason = 'no answer'
        while True:
            request.give_up = time.monotonic() > deadline - patience / 2
            answered = threading.Event()
            future = self.save_client.call_async(request)
            future.add_done_callback(lambda _, answered=answered: answered.set())
            while not answered.wait(0.5):
                if time.monotonic() > deadline:
                    raise SourceError(f'the alignment could not save: {reason}')
                self.say_wait(f'saving: waiting for {self.config.alignment}')
            response = future.result()
            if response.error_code == SaveCheckpoint.Response.OK:
                break
            reason = response.error_msg
            if response.error_code == SaveCheckpoint.Response.FAILED:
                raise SourceError(f'the alignment could not save: {reason}')
            time.sleep(0.01)
        if response.lacking:
            self.counts['steps that the alignment lacks'] += len(response.lacking)
            stamps = ', '.join(str(to_ns(stamp)) for stamp in response.lacking)
            self.get_logger().error(f'the alignment lacks the steps stamped {stamps} ns')

    def finish(self) -> None:
        """Last line, last checkpoint, and the agent as a plain SB3 zip."""
        self.report()
        self.save()
        self.folder.publish_agents(self.trainer.steps)
        self.get_logger().info(f'agent: {self.folder.path / "vlm_agent.zip"}')

    def report(self) -> None:
        """One row of the curves, one line for people."""
        self.due_line = time.monotonic() + self.config.log_every
        warming = self.trainer.steps < self.train_config.warmup_steps
        self.state = TrainingStatus.WARMUP if warming else TrainingStatus.TRAINING
        if self.trainer.steps > self.reported:
            self.reporter.progress(self.trainer, self.stage)
            self.reported = self.trainer.steps
        self.detail = self.reporter.line(self.trainer, self.target, self.stage)
        self.get_logger().info(self.detail)

    # Services, the action and the status, in the executor's thread.

    def on_start(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """~/start: train to the configured number of steps."""
        response.success = not self.busy
        response.message = 'already training' if self.busy else 'started'
        if not self.busy:
            self.order(self.train_config.total_steps)
        return response

    def on_cancel(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """~/cancel: stop the training after its last checkpoint."""
        response.success = self.busy
        response.message = 'stopping' if self.busy else 'not training'
        self.cancel.set()
        return response

    def on_save(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """~/save_checkpoint: have the main thread write a checkpoint as soon as it can."""
        response.success = self.busy and self.reporter is not None
        response.message = 'saving' if response.success else 'not training: nothing to save'
        if response.success:
            self.save_asked = True
        return response

    def on_goal_request(self, _: Train.Goal) -> GoalResponse:
        """Train action: one goal at a time."""
        if self.busy:
            return GoalResponse.REJECT
        self.busy = True
        return GoalResponse.ACCEPT

    async def on_goal(self, handle: ServerGoalHandle) -> Train.Result:
        """Train action: waits for the main thread without blocking the executor."""
        self.goal = handle
        self.order(int(handle.request.total_steps) or self.train_config.total_steps)
        self.goal_done = Future(executor=self.executor)
        result = await self.goal_done
        self.goal = None
        if handle.is_cancel_requested:
            handle.canceled()
        elif result.error_code == Train.Result.OK:
            handle.succeed()
        else:
            handle.abort()
        return result

    def status(self) -> TrainingStatus:
        """Where the run stands."""
        message = TrainingStatus(
            run=self.run_id,
            state=self.state,
            detail=self.detail,
            target_steps=self.target,
            stage=self.stage,
            run_folder=str(Path(self.config.run_folder).expanduser().resolve()),
        )
        message.header.stamp = self.get_clock().now().to_msg()
        message.success_rate = message.eval_success_rate = float('nan')
        if self.trainer is not None and self.reporter is not None:
            for name, value in self.trainer.report().items():
                setattr(message, name, value)
            message.steps_per_second = self.reporter.rate
            message.eval_success_rate = self.eval_success_rate
            learns = self.state in (TrainingStatus.WARMUP, TrainingStatus.TRAINING)
            if learns and time.monotonic() > self.waited + SAY_AGAIN_S:
                message.detail = self.reporter.line(self.trainer, self.target, self.stage)
        return message

    @property
    def eval_success_rate(self) -> float:
        """Success rate (any step) of the last evaluation; NaN before the first."""
        last = self.trainer.last_evaluation
        return last.success_any_step if last else float('nan')

    def publish_status(self) -> None:
        """Publish the status, and feed and end a running Train goal."""
        status = self.status()
        self.status_publisher.publish(status)
        if self.goal is None or threading.current_thread() is threading.main_thread():
            return
        if self.goal.is_cancel_requested:
            self.cancel.set()
        if self.outcome is not None:
            self.goal_done.set_result(self.outcome)
        else:
            self.goal.publish_feedback(Train.Feedback(status=status))

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        level = ERROR if self.state == TrainingStatus.FAILED else WARN if self.counts else OK
        values = {'in_flight': sum(source.in_flight for source in self.sources)}
        if self.trainer is not None:
            values |= self.trainer.report() | {'owed_updates': self.trainer.owed}
        return level, self.detail, values


def main() -> None:
    """Entry point of ``ros2 run furl_ros learner_node``."""
    sys.exit(run(LearnerNode))


if __name__ == '__main__':
    main()
