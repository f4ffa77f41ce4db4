# SPDX-License-Identifier: Apache-2.0
"""The learner: acts, keeps the replay, trains both agents, evaluates, saves.

The executor's thread only receives; the main thread does everything else in one loop: answer
observations, take in complete steps, make the updates they call for. When it does what is decided
in ``core.pacing`` and ``core.episodes``.
"""

import dataclasses
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from std_msgs.msg import Float64

from furl_interfaces.action import Evaluate, Train
from furl_interfaces.msg import EpisodeResult, TrainingStatus
from furl_ros.bridge.alignment import Alignment
from furl_ros.bridge.config import LearnerNodeConfig
from furl_ros.bridge.convert import to_time
from furl_ros.bridge.evaluation import (
    Care,
    EvaluationRobot,
    Evaluations,
    robot_apart,
    to_result,
)
from furl_ros.bridge.inbox import Inbox
from furl_ros.bridge.limits import alignment_lead
from furl_ros.bridge.live import UNREPEATABLE
from furl_ros.bridge.node import ERROR, OK, FurlNode, run
from furl_ros.bridge.orders import Orders
from furl_ros.bridge.parameters import declare
from furl_ros.bridge.qos import EVENTS
from furl_ros.bridge.source import Source, SourceError
from furl_ros.bridge.status import SAY_AGAIN_S, Status
from furl_ros.bridge.steps import proprioception_of, spaces_of
from furl_ros.core.config import ScoringConfig, TrainConfig
from furl_ros.core.demonstrations import load_demonstrations
from furl_ros.core.episodes import Episodes
from furl_ros.core.health import Age, Level, Rate, count_not_finite, disk_left_megabytes
from furl_ros.core.methods import METHODS
from furl_ros.core.observe import STATE, check_observe
from furl_ros.core.pacing import Due, Pace, Pacing
from furl_ros.core.reporting import Reporter
from furl_ros.core.run import Changes, RunFolder, find_checkpoint
from furl_ros.core.scorings import PAIRED, check_scoring
from furl_ros.core.seeds import evaluation_seeds
from furl_ros.core.settings import SettingError
from furl_ros.core.sharing import check_wandb, share_with_wandb
from furl_ros.core.success import describe, summarize
from furl_ros.core.trainer import Episode, Trainer, Trial

# What a run may meet with in the field: it ends with one line. (A wrong setting is none of them.)
EXPECTED = (SourceError, OSError, RuntimeError)
# Live settings that change what is learned.
OF_LEARNING = ('rho', 'partner_noise', 'success_share', 'demonstration_share')


class LearnerNode(FurlNode):
    """See the module's docstring; topics, services and the action are listed in docs/topics.md."""

    def __init__(self, **options: Any) -> None:
        super().__init__('learner_node', **options)
        self.config = declare(self, LearnerNodeConfig)
        self.train_config = declare(self, TrainConfig)
        self.scoring = declare(self, ScoringConfig)
        self.method = METHODS[self.train_config.method]
        check_scoring(self.train_config.method, self.scoring.scoring)
        check_wandb(self.config.wandb)
        if self.config.deterministic and len(self.config.sources) > 1:
            raise SettingError(
                f'deterministic is True with {len(self.config.sources)} sources; accepted: one'
                ' source (num_sims 1), since the order of several is not fixed'
            )
        torch.set_num_threads(self.config.torch_threads)
        self.checkpoint = find_checkpoint(self.config.resume) if self.config.resume else None

        total_steps = self.train_config.total_steps
        check_observe(self.train_config.observe, self.method.vlm, self.train_config.method)
        scored, sees = self.method.vlm, self.train_config.observe != STATE
        in_pairs = scored and (self.scoring.scoring in PAIRED or sees)
        self.inbox = Inbox()
        self.sources = [
            Source(self, self.inbox, index, name, scored, in_pairs, sees)
            for index, name in enumerate(self.config.sources)
        ]
        self.alignment = Alignment(
            self, self.inbox, self.sources, self.config, self.method, self.scoring
        )
        care = Care(
            self.config.stall_timeout,
            self.config.max_in_flight,
            lambda: self.stopped or self.evaluations.cancelled,
            self.rest_if_asked,
        )
        self.evaluator: EvaluationRobot | None = None
        if self.config.eval_source and self.train_config.eval_every:
            self.evaluator = robot_apart(self, self.config.eval_source, care, sees)
        self.own_robot = EvaluationRobot(self.sources[0], self.inbox, care)
        self.live.add(TrainConfig, self.on_change, self.check_change)
        self.status = Status(self, self.inbox, self.config, self.alignment, total_steps)
        self.orders = Orders(self, self.status, total_steps)
        self.evaluations = Evaluations(self, self.why_no_evaluation)
        self.stop = threading.Event()
        self.step_rate, self.heads_age = Rate(time.monotonic()), Age(time.monotonic())
        self.at_rest = False
        # Robots that are to be between two episodes, as of this turn of the loop; those that are.
        self.held: list[Source] = []
        self.resting: list[Source] = []
        self.result_publisher = self.create_publisher(EpisodeResult, 'episode_result', EVENTS)
        self.rate_publisher = self.create_publisher(Float64, 'success_rate', EVENTS)
        self.changed: dict[str, Any] = {}  # settings, before there is a run folder to tell it
        # Made by the first training, once the other nodes are there, as is what comes with it.
        self.trainer: Trainer | None = None

    def work(self, stop: threading.Event) -> int:
        """Train when asked to, until stopped."""
        self.stop = stop
        if self.config.autostart:
            self.orders.give()
        why = 'the learner ends'
        try:
            return self.serve(stop)
        except EXPECTED as error:
            why = str(error)
            self.get_logger().error(why)
            return 1
        except Exception as error:
            why = str(error)
            raise
        finally:
            self.leave(why)

    def serve(self, stop: threading.Event) -> int:
        """Carry out one order after the other; returns the exit code."""
        while not stop.is_set():
            if self.evaluations.waiting:
                self.evaluate_asked()
                continue
            target = self.orders.take(timeout=0.2)
            if target is None:
                self.inbox.drain()
                continue
            failed = self.train(target) == Train.Result.FAILED
            if failed or self.config.exit_when_done:
                return int(failed)
        return 0

    def leave(self, why: str) -> None:
        """Whoever waits for the end of a goal hears that there will be no other one."""
        for results, kind in (
            (self.evaluations.results, Evaluate.Result),
            (self.orders.results, Train.Result),
        ):
            results.leave(kind(error_code=kind.CANCELLED, error_msg=why))
        self.evaluations.results.await_sent()
        self.orders.results.await_sent()

    def check_change(self, values: dict[str, Any]) -> None:
        """Whether settings may be changed to these; in the executor's thread.

        Raises:
            SettingError: one may not.
        """
        for name in values:
            if self.config.deterministic and name in OF_LEARNING:
                raise SettingError(UNREPEATABLE.format(name))
        if 'rho' in values and not self.method.vlm:
            raise SettingError(
                f'rho weighs the VLM reward, and method {self.train_config.method} has none'
            )
        if values.get('eval_every') and self.evaluator is None:
            raise SettingError(
                'eval_every cannot be changed: the graph was started without a robot to evaluate on'
            )

    def on_change(self, values: dict[str, Any]) -> None:
        """Settings were changed; in the executor's thread."""
        self.inbox.put(self.change, values)

    def change(self, values: dict[str, Any]) -> None:
        """Work with these settings from now on."""
        self.train_config = dataclasses.replace(self.train_config, **values)
        for name, value in values.items():
            self.tell_change(name, value)
        if self.trainer is None:
            return
        self.trainer.config, steps = self.train_config, self.trainer.steps
        if 'eval_every' in values:
            self.evaluating = Due(values['eval_every'], steps)
        if 'checkpoint_every' in values:
            self.saving = Due(values['checkpoint_every'], steps)

    def tell_change(self, name: str, value: Any) -> None:
        """Say, and keep for a resumed run, that a setting has another value."""
        self.get_logger().info(f'{name} is {value!r} from now on')
        if self.trainer is None:
            self.changed[name] = value
        else:
            self.changes.add(self.trainer.steps, name, value)

    @property
    def stopped(self) -> bool:
        """The work is to end now: the node stops, or the training was cancelled."""
        return self.stop.is_set() or self.orders.cancelled

    def train(self, target: int) -> int:
        """Train until ``target`` steps, a stop or a cancel; always saves. Returns an error_code."""
        self.status.target = target
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
                    if self.evaluations.waiting:
                        self.evaluate_asked()
                    self.evaluate()
                self.finish()
        except EXPECTED as error:
            code, text = Train.Result.FAILED, str(error)
            self.get_logger().error(text)
        except Exception as error:
            self.end_training(Train.Result.FAILED, str(error))
            raise
        self.end_training(code, text)
        return code

    def end_training(self, code: int, text: str) -> None:
        """Tell everybody how the training ended: an error_code and its reason."""
        self.status.state = {
            Train.Result.OK: TrainingStatus.FINISHED,
            Train.Result.FAILED: TrainingStatus.FAILED,
        }.get(code, TrainingStatus.WAITING)
        self.status.detail = text or 'done'
        self.status.publish()
        result = Train.Result(error_code=code, error_msg=text)
        if self.trainer is not None:
            result.total_steps = self.trainer.steps
            result.success_rate = self.trainer.success_rate
            result.eval_success_rate = self.trainer.eval_success_rate
            result.run_folder = str(self.folder.path)
        self.orders.end(result)

    def prepare(self) -> bool:
        """Wait for the other nodes, then make the trainer; False when stopped meanwhile."""
        if not self.await_others():
            return False
        try:
            info = self.sources[0].info
            spaces, proprioception = spaces_of(info), proprioception_of(info)
        except ValueError as error:
            raise SettingError(f'source_info cannot be used: {error}') from None
        text, goal, baseline = self.alignment.embeddings
        trainer = Trainer(
            self.train_config, *spaces, text, self.scoring, goal, baseline, proprioception
        )
        if self.evaluator is not None and trainer.input.sees:
            self.evaluator.expect(len(text))
        if self.checkpoint is not None:
            trainer.load(self.checkpoint)
        elif self.train_config.demonstrations:
            trainer.show(load_demonstrations(self.train_config.demonstrations))
        self.alignment.begin(trainer, lambda prompt: self.tell_change('prompt', prompt))
        self.stages, steps = trainer.stages, trainer.steps
        run_config = yaml.safe_load(self.config.run_config) or {}
        self.folder = RunFolder(self.config.run_folder, run_config)
        if self.config.wandb:
            share_with_wandb(self.folder, run_config)
        self.reporter = Reporter(self.folder, steps)
        self.changes = Changes(self.folder, steps)
        for name, value in self.changed.items():
            self.changes.add(steps, name, value)
        self.pacing = Pacing(self.pace(), self.sources, trainer)
        self.episodes = Episodes(self.pacing, trainer, self.counts, self.get_logger().warning)
        self.evaluating = Due(self.train_config.eval_every, steps)
        self.saving = Due(self.train_config.checkpoint_every, steps)
        self.trainer = trainer
        self.status.begin(trainer, self.reporter)
        self.get_logger().info(f'run folder: {self.folder.path}')
        return True

    def await_others(self) -> bool:
        """Wait for what the other nodes have to say first; False when stopped meanwhile."""
        reported, reported_at = '', time.monotonic()
        while True:
            self.inbox.drain(0.05)
            if self.stopped:
                return False
            missing = [source.waiting_for for source in self.sources if source.waiting_for]
            if self.evaluator is not None and (waiting_for := self.evaluator.find_missing()):
                missing.append(waiting_for)
            missing += self.alignment.missing
            if not missing:
                return True
            detail = self.status.detail = f'waiting for {", ".join(missing)}'
            if detail != reported and time.monotonic() > reported_at + SAY_AGAIN_S:
                self.get_logger().info(detail)
                reported, reported_at = detail, time.monotonic()

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
        self.episodes.begin(target)
        self.resting.clear()

        def pause() -> None:
            # A robot does not wait for a whole update. Which one then chose its action is chance.
            if not self.config.deterministic:
                self.answer()

        while not self.pacing.is_done:
            if self.stopped:
                return
            self.held = self.find_held()
            if self.evaluations.waiting and self.may_evaluate:
                self.evaluate_asked()
                continue
            if self.orders.paused and self.may_rest:
                self.rest()
                continue
            self.end_rest()
            progress = self.answer()
            for source in self.sources:
                progress |= self.take_in(source)
                if not (source in self.held and source.is_over):
                    self.episodes.mend(source)
            if self.trainer.owed > 0:
                if self.await_heads():
                    self.trainer.update(pause)
            elif not progress:
                with self.stages('wait'):
                    self.inbox.drain(0.1)
                for text in self.episodes.look_for_stalls():
                    self.status.say_wait(text)
            if self.orders.take_save():
                self.save()
            self.status.report_if_due()

    def answer(self) -> bool:
        """Take in what has come, and act where that is due; False when there was nothing."""
        with self.stages('join'):
            progress = self.inbox.drain()
        return self.episodes.answer(time.monotonic()) or progress

    def take_in(self, source: Source) -> bool:
        """Store one step; at the end of an episode evaluate, save, and start the next one."""
        taken = self.episodes.take_in(source)
        if taken is None:
            return False
        if taken.ended is not None:
            self.tell(taken.ended, source.name, taken.stamp)
            for due, do in ((self.evaluating, self.evaluate), (self.saving, self.save)):
                if due.has_come(self.trainer.steps, self.pacing.target):
                    do()
                    due.done(self.trainer.steps)
            # What is drawn for an episode belongs to it: a resumed run draws it again.
            if source in self.held:
                self.resting.append(source)
            else:
                self.episodes.start_next(source)
        return True

    def find_held(self) -> list[Source]:
        """Robots whose next episode waits, for a rest or for an evaluation."""
        paused, wanted = self.orders.paused, self.evaluations.waiting
        own = [self.sources[0]] if wanted and self.evaluator is None else []
        if not (paused or wanted):
            return own
        return own + [s for s in self.sources if not s.lockstep and s not in own]

    @property
    def may_evaluate(self) -> bool:
        """Whether there is a robot to evaluate on, and the others can be left alone."""
        return self.may_rest and (self.evaluator is not None or self.sources[0].is_over)

    @property
    def may_rest(self) -> bool:
        """Whether everybody can be left alone: one that does not wait, between two episodes."""
        return all(source.lockstep or source.is_over for source in self.sources)

    def rest(self) -> None:
        """Stand still until the pause is over; save and evaluate when asked to."""
        state, self.at_rest = self.status.state, True
        if self.trainer.steps > self.reporter.step:
            self.status.report()
        self.status.state, self.status.detail = TrainingStatus.PAUSED, 'paused'
        self.status.publish()
        self.get_logger().info(f'paused at step {self.trainer.steps:,}')
        while self.orders.paused and not self.stopped:
            with self.stages('pause'):
                self.inbox.drain(0.1)
            if self.orders.take_save():
                self.save()
            # Not in the middle of another one.
            between = state != TrainingStatus.EVALUATING
            if between and self.evaluations.waiting and self.may_evaluate:
                self.evaluate_asked()
        self.status.state, self.at_rest = state, False
        self.reporter.go_on()
        if not self.stopped:
            self.get_logger().info('going on')

    def rest_if_asked(self) -> None:
        """Rest, where somebody wants that; an evaluation in a pause goes on."""
        if self.orders.paused and not self.at_rest:
            self.rest()

    def end_rest(self) -> None:
        """Robots whose next episode need not wait any longer get it."""
        for source in [source for source in self.resting if source not in self.held]:
            self.resting.remove(source)
            self.episodes.start_next(source)

    def await_heads(self) -> bool:
        """Wait for the heads that belong to the next update; False when stopped."""
        while not self.alignment.give_due_heads():
            if self.stopped:
                return False
            with self.stages('wait'):
                self.inbox.drain(0.1)
        return True

    def tell(self, episode: Episode, source: str, stamp: int) -> None:
        """Write and publish the result of an episode, whose last observation has this stamp."""
        self.reporter.episode(episode, self.trainer.success_rate)
        message = EpisodeResult(
            source=source,
            episode=episode.episode,
            length=episode.length,
            total_steps=episode.total_steps,
            task_return=episode.task_return,
            vlm_return=episode.vlm_return,
            success_any_step=episode.success_any_step,
            success_last_step=episode.success_last_step,
            intervened=episode.intervened,
            judged=episode.judged,
            phase=episode.phase,
        )
        message.header.stamp = to_time(stamp)
        self.result_publisher.publish(message)
        self.rate_publisher.publish(Float64(data=self.trainer.success_rate))

    def evaluate(self) -> None:
        """Run evaluation episodes on their own robot; the training stream stands still."""
        if self.evaluator is None:
            return
        seeds = evaluation_seeds(self.train_config.seed, self.train_config.eval_episodes)
        try:
            self.run_evaluation(self.evaluator, seeds, lambda _: None)
        except SourceError as error:
            if not self.stopped:
                self.count_bad('failed evaluations', str(error))

    def run_evaluation(
        self, robot: EvaluationRobot, seeds: Sequence[int], tell: Callable[[Trial], None]
    ) -> None:
        """Run episodes with the policy as it is, and write what came of them.

        Raises:
            SourceError: the robot does not answer, or nobody waits for it any more.
        """
        before = self.status.state, self.status.detail
        self.status.state, self.status.detail = TrainingStatus.EVALUATING, 'evaluating'
        self.status.publish()
        try:
            with self.stages('evaluate'):
                evaluation = self.trainer.evaluate(
                    robot.reset, robot.step, seeds, tell, lambda _: robot.sight
                )
            self.reporter.evaluation(evaluation)
        finally:
            self.status.state, self.status.detail = before
            if robot is self.own_robot:
                robot.leave()

    def why_no_evaluation(self) -> str:
        """Why nobody may ask for an evaluation; '' when one may."""
        if self.config.deterministic and self.evaluator is None:
            return (
                'with deterministic:=true a robot that is trained on cannot be evaluated on:'
                ' nothing would repeat the run'
            )
        return ''

    def evaluate_asked(self) -> None:
        """Carry out the evaluation that somebody asked for.

        Raises:
            OSError: what came of it cannot be written, or any other error but a robot's; whoever
                asked has heard of it.
        """
        config, robot = self.train_config, self.evaluator or self.own_robot
        seeds = self.evaluations.take(config.seed, config.eval_episodes)
        done: list[EpisodeResult] = []

        def tell(trial: Trial) -> None:
            done.append(to_result(trial, robot.name, len(done), self.trainer.steps))
            self.status.detail = f'evaluating: {len(done)} of {len(seeds)} episodes'
            self.evaluations.tell(done[-1])

        code, text, failure = Evaluate.Result.OK, '', None
        try:
            if self.trainer is None and not self.prepare():
                code, text = Evaluate.Result.CANCELLED, 'stopped before the start'
            else:
                self.run_evaluation(robot, seeds, tell)
        except SourceError as error:
            stopped = self.stopped or self.evaluations.cancelled
            code = Evaluate.Result.CANCELLED if stopped else Evaluate.Result.FAILED
            text = 'stopped' if stopped else str(error)
        except Exception as error:
            code, text, failure = Evaluate.Result.FAILED, str(error), error
        result = Evaluate.Result(error_code=code, error_msg=text, episodes=done)
        summary = summarize([r.success_any_step for r in done], [r.success_last_step for r in done])
        for name, value in summary.items():
            setattr(result, name, value)
        if failure is None:
            self.get_logger().info(
                f'evaluation at step {self.trainer.steps:,}: {describe(summary, len(done))}'
                if code == Evaluate.Result.OK
                else f'evaluation: {text}'
            )
        self.evaluations.end(result)
        if failure is not None:
            raise failure

    def save(self) -> None:
        """Write a checkpoint: learner and alignment in one folder that appears when it is whole."""
        step, keep = self.trainer.steps, self.train_config.keep_checkpoints
        with self.stages('save'), self.folder.checkpoint(step, keep) as folder:
            self.alignment.save(
                folder.relative_to(self.folder.path),
                self.episodes.learned.values(),
                0 if self.stopped else self.config.stall_timeout,
                self.status.say_wait,
            )
            self.trainer.save(folder)
        self.get_logger().info(f'checkpoint: step {step:,}')

    def finish(self) -> None:
        """Last line, last checkpoint, and the agent as a plain SB3 zip."""
        self.status.report()
        self.save()
        self.folder.publish_agents(self.trainer.steps)
        self.get_logger().info(f'agent: {self.folder.path / "vlm_agent.zip"}')

    def diagnose(self) -> tuple[Level, str, dict[str, object]]:
        state = self.status.state
        values = {
            'in_flight': sum(source.in_flight for source in self.sources),
            'messages_waiting': self.inbox.waiting,
            'silent_s': 0.0,
            'sight_age_s': round(max(source.sight_age for source in self.sources), 3),
            'disk_left_mb': round(disk_left_megabytes(Path(self.config.run_folder).expanduser())),
        }
        if self.trainer is not None:
            now, version = time.monotonic(), self.trainer.heads_version
            values |= self.trainer.report()
            values |= {
                'owed_updates': self.trainer.owed,
                'steps_per_s': round(self.step_rate(self.trainer.steps, now), 1),
                'heads_age_s': round(self.heads_age(version, now), 1),
                'not_finite': count_not_finite(self.trainer.figures().values()),
            }
        if state in (TrainingStatus.WARMUP, TrainingStatus.TRAINING):
            # Otherwise nobody listens, or nobody owes anything.
            values['silent_s'] = round(max(source.silent_for for source in self.sources), 1)
            if self.method.vlm:
                behind = max(source.alignment_lead for source in self.sources)
                values['heads_lag'] = round(behind / alignment_lead(self.config.publish_every), 2)
        return ERROR if state == TrainingStatus.FAILED else OK, self.status.detail, values


def main() -> None:
    """Entry point of ``ros2 run furl_ros learner_node``."""
    sys.exit(run(LearnerNode))


if __name__ == '__main__':
    main()
