# SPDX-License-Identifier: Apache-2.0
"""The whole method in one process and one loop, without ROS.

The same cores as in the graph, one after the other: for tests, for sweeps over seeds and tasks,
and as the sequential baseline that the graph's speed is measured against.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from furl_ros.bridge import graph
from furl_ros.core.alignment import Aligner
from furl_ros.core.config import AlignConfig, ScoringConfig, TrainConfig, VlmConfig
from furl_ros.core.demonstrations import load_demonstrations
from furl_ros.core.memory import keep_freed_memory
from furl_ros.core.observe import STATE
from furl_ros.core.replay import NO_EMBEDDING, Transition
from furl_ros.core.reporting import Reporter
from furl_ros.core.run import ALIGNMENT_FILE, UNSTORED, RunFolder
from furl_ros.core.scorings import GOAL_IMAGE
from furl_ros.core.seeds import episode_seed, evaluation_seeds
from furl_ros.core.settings import SettingError, from_mapping, typed_settings
from furl_ros.core.trainer import Trainer
from furl_ros.core.vlm import Scorer, load_vlm
from sim.config import SimConfig
from sim.envs import Step, make
from sim.oracle import goal_image


class Targets(NamedTuple):
    """The model of a run, and what frames are compared with: raw embeddings, float32 [E]."""

    scorer: Scorer
    text: np.ndarray
    goal: np.ndarray | None
    baseline: np.ndarray | None


def config_of(values: dict[str, Any], kind: type) -> Any:
    """The settings of one dataclass, from those of a whole graph."""
    return from_mapping(kind, graph.for_node(values, kind))


def targets_of_run(values: dict[str, Any]) -> Targets:
    """Load the model of a run with a VLM and encode what it compares frames with.

    Raises:
        SettingError: the model cannot be loaded, or the goal image that is asked for not drawn.
    """
    sim_config, scoring = config_of(values, SimConfig), config_of(values, ScoringConfig)
    picture = goal_image(sim_config)
    if picture is None and scoring.scoring == GOAL_IMAGE:
        raise SettingError(
            f'scoring is {scoring.scoring!r}, but no scripted policy solves'
            f' {sim_config.task} here: it has no goal image'
        )
    scorer = Scorer(
        load_vlm(config_of(values, VlmConfig)),
        values['prompt'],
        scoring=scoring,
        baseline_prompt=values['baseline_prompt'],
    )
    goal = None if picture is None else scorer.encode(picture[None])[0]
    return Targets(scorer, scorer.vlm.encode_text(values['prompt']), goal, scorer.baseline)


def new_aligner(values: dict[str, Any], text: np.ndarray, goal: np.ndarray | None) -> Aligner:
    """The aligner that a run starts with.

    Args:
        values: settings of the whole graph.
        text, goal: raw embeddings of prompt and goal image (None without one), float32 [E].
    """
    config, align_config = config_of(values, TrainConfig), config_of(values, AlignConfig)
    aligner = Aligner(
        align_config,
        config.method,
        text,
        goal,
        config.seed,
        config.warmup_steps,
    )
    if align_config.heads_file:
        aligner.start_from(Path(align_config.heads_file))
    return aligner


class LocalRun:
    """One training run in this process.

    Args:
        values: settings of the whole graph, from ``graph.settings_of_run``.

    Raises:
        SettingError: a value is not accepted.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        graph.check_model(values)
        sim_config = self.config(SimConfig)
        self.train_config = self.config(TrainConfig)
        self.align_config = self.config(AlignConfig)
        self.env = make(dataclasses.replace(sim_config, render=graph.uses_vlm(values)))
        sees = self.train_config.observe != STATE
        self.eval_env = make(dataclasses.replace(sim_config, render=sees))
        scoring = self.config(ScoringConfig)
        self.aligner = self.scorer = text = goal = baseline = None
        if graph.uses_vlm(values):
            self.scorer, text, goal, baseline = targets_of_run(values)
            self.aligner = new_aligner(values, text, goal)
        self.trainer = Trainer(
            self.train_config,
            self.env.observation_space,
            self.env.action_space,
            text,
            scoring,
            goal,
            baseline,
            self.env.proprioception,
        )
        if values['resume']:
            self.trainer.load(Path(values['resume']))
            if self.aligner is not None:
                self.aligner.load(Path(values['resume']) / ALIGNMENT_FILE)
        elif values['demonstrations']:
            shown = load_demonstrations(values['demonstrations'])
            self.trainer.show(shown)
            if self.aligner is not None:
                self.aligner.show(shown)
        self.use_heads()
        stored = {name: value for name, value in values.items() if name not in UNSTORED}
        self.folder = RunFolder(values['run_folder'], stored)
        self.reporter = Reporter(self.folder, self.trainer.steps)

    def config(self, kind: type) -> Any:
        """The settings of one dataclass."""
        return config_of(self.values, kind)

    def use_heads(self) -> None:
        """Relabel with the heads as they are now."""
        if self.aligner is not None and self.aligner.method.heads != 'none':
            self.trainer.set_heads(self.aligner.heads, self.aligner.version)

    def steps(self) -> Iterator[int]:
        """Train until the end, yielding the number of environment steps after each.

        The last checkpoint is the last thing that is written: a run that has it has all rows.
        """
        trainer, config = self.trainer, self.train_config
        start = trainer.steps
        while trainer.steps < config.total_steps:
            episode = trainer.start_episode()
            if self.aligner is not None:
                # One that a resumed run brought along was broken off.
                self.aligner.drop_episode()
            with trainer.stages('reset'):
                now = self.env.reset(episode_seed(config.seed, 0, episode))
            embedding = self.encode(now) if trainer.replay.keeps_previous else NO_EMBEDDING
            index = 0
            while not (now.terminated or now.truncated) and trainer.steps < config.total_steps:
                action, _ = trainer.act(now.state, index, embedding=embedding)
                with trainer.stages('step_and_render'):
                    after = self.env.step(action)
                index += 1
                embedding = self.learn(now, after, embedding, episode, index)
                now = after
                yield trainer.steps
            if now.terminated or now.truncated:
                self.reporter.episode(trainer.end_episode(0, episode), trainer.success_rate)
            if self.crossed(config.eval_every, index):
                self.evaluate()
            if self.crossed(config.checkpoint_every, index):
                self.save()
        if trainer.steps > start or not self.folder.has_checkpoint(trainer.steps):
            self.evaluate()
            self.report()
            self.save()
        self.folder.publish_agents(trainer.steps)

    def encode(self, step: Step) -> np.ndarray:
        """Raw embedding of a step's frame, float32 [E]."""
        with self.trainer.stages('encode'):
            return self.scorer.encode(step.frame[None])[0]

    def look(self, step: Step) -> np.ndarray:
        """What the policy sees in an evaluation: raw embedding, float32 [E]."""
        return self.encode(step) if self.trainer.input.sees else NO_EMBEDDING

    def learn(
        self, before: Step, after: Step, previous: np.ndarray, episode: int, index: int
    ) -> np.ndarray:
        """Encode the frame, align the heads, store the step, make the updates that it calls for.

        Args:
            before, after: what was sensed before and after the action.
            previous: embedding of the frame before.
            episode: number of the episode.
            index: number of the step in it, from 1.

        Returns:
            Embedding of the frame after, float32 [E].
        """
        trainer, embedding = self.trainer, NO_EMBEDDING
        if self.scorer is not None:
            embedding = self.encode(after)
            last = after.terminated or after.truncated
            self.aligner.add(embedding, after.success, last)
            with trainer.stages('head_update'):
                for _ in range(self.align_config.head_updates_per_step):
                    self.aligner.update()
            trainer.heads_version = self.aligner.version
        trainer.add(
            Transition(
                before.state,
                trainer.scale(after.action),
                after.state,
                after.task_reward,
                after.success,
                after.terminated,
                embedding,
                trainer.steps,
                0,
                episode,
                index,
                previous,
            )
        )
        while trainer.owed > 0:
            trainer.update()
        return embedding

    def crossed(self, every: int, length: int) -> bool:
        """Whether the last ``length`` steps crossed a multiple of ``every``; never the end."""
        steps = self.trainer.steps
        if not every or steps >= self.train_config.total_steps:
            return False
        return steps // every > (steps - length) // every

    def evaluate(self) -> None:
        """Run evaluation episodes on their own environment."""
        config = self.train_config
        if config.eval_every:
            seeds = evaluation_seeds(config.seed, config.eval_episodes)
            with self.trainer.stages('evaluate'):
                evaluation = self.trainer.evaluate(
                    self.eval_env.reset, self.eval_env.step, seeds, look=self.look
                )
            self.reporter.evaluation(evaluation)

    def save(self) -> None:
        """Write a checkpoint of everything learned."""
        step, keep = self.trainer.steps, self.train_config.keep_checkpoints
        with self.trainer.stages('save'), self.folder.checkpoint(step, keep) as folder:
            if self.aligner is not None:
                self.aligner.save(folder / ALIGNMENT_FILE)
            self.trainer.save(folder)

    def report(self) -> str:
        """Write one row of the curves; returns the line for people."""
        stage = self.aligner.stage if self.aligner else 0
        self.reporter.progress(self.trainer, stage)
        return self.reporter.line(self.trainer, self.train_config.total_steps, stage)

    def close(self) -> None:
        """Close files and environments."""
        self.reporter.close()
        self.folder.close()
        self.env.close()
        self.eval_env.close()


def train(
    values: dict[str, Any], log_every: int = 1_000, run: Callable[[dict], LocalRun] = LocalRun
) -> Path:
    """Train with a progress bar; returns the run folder.

    Args:
        values: settings of the whole graph, from ``graph.settings_of_run``.
        log_every: environment steps between rows of the curves.
        run: makes the run; a subclass may do some things in another way.
    """
    keep_freed_memory()
    run = run(values)
    try:
        with tqdm(total=values['total_steps'], initial=run.trainer.steps, unit='step') as bar:
            for step in run.steps():
                bar.update()
                if step % log_every == 0:
                    bar.set_postfix_str(run.report().split(' | ', 2)[2])
    finally:
        run.close()
    return run.folder.path


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``ros2 run furl_ros local_train``."""
    parser = argparse.ArgumentParser(
        'local_train', description='Train without ROS. Settings are given as name:=value.'
    )
    parser.add_argument('settings', nargs='*', metavar='name:=value')
    parser.add_argument('--params-file', default='', help='ROS parameter file')
    parser.add_argument('--threads', type=int, default=0, help="torch threads; 0: torch's choice")
    parser.add_argument('--log-every', type=int, default=1_000, help='steps between curve rows')
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        values = graph.settings_of_run(typed_settings(options.settings), options.params_file)
        print(train(values, options.log_every))
    except SettingError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
