# SPDX-License-Identifier: Apache-2.0
"""Show what a run has learned: its policy, at real speed, with the rewards of what is seen.

In a window where there is a display, else as an MP4. The episode is played and scored first, so
that the speed is right whatever the model takes.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from furl_ros.bridge import graph
from furl_ros.core.agents import Agent, unscaled
from furl_ros.core.config import ScoringConfig, TrainConfig, VlmConfig
from furl_ros.core.methods import METHODS
from furl_ros.core.policy_input import PolicyInput
from furl_ros.core.relay import SAC, VLM
from furl_ros.core.replay import NO_EMBEDDING
from furl_ros.core.run import TRAINER_FILE, config_at, find_checkpoint, run_of
from furl_ros.core.scorings import GOAL_IMAGE
from furl_ros.core.seeds import evaluation_seeds
from furl_ros.core.settings import SettingError, from_mapping
from furl_ros.core.storage import load_tree, write_whole
from furl_ros.core.vlm import Scorer, load_vlm
from furl_ros.monitor.films import Film, encode, picture, shown
from furl_ros.monitor.pictures import SIZE, Moment
from sim.config import SimConfig
from sim.envs import SimEnv, Step, make
from sim.oracle import goal_image

BATCH = 16  # frames that are scored at once
DEFAULT_VIDEO = 'videos/play.mp4'  # in the run folder
SIGINT_CODE = 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='ros2 run furl_ros play', description=__doc__)
    add = parser.add_argument
    add('run', help='Run folder, or one of its checkpoints.')
    add('--episodes', type=int, default=1, help='Episodes to play. Default: 1.')
    add('--seed', type=int, help="Seed of the first. Default: that of the run's evaluations.")
    add('--agent', choices=(VLM, SAC), default=VLM, help=f'Which agent acts. Default: {VLM}.')
    add('--image-size', type=int, help="Pixels of the frames' sides. Default: as in the run.")
    add('--no-score', action='store_true', help='Without the model: no rewards.')
    add('--video', type=Path, help=f'Write an MP4 there. Default: a window, or {DEFAULT_VIDEO}.')
    return parser


def settings_of(checkpoint: Path, image_size: int | None) -> dict[str, Any]:
    """The settings of a run at a checkpoint, with frames of another size if one is given."""
    values = graph.defaults() | config_at(checkpoint)
    if image_size is not None:
        values['width'] = values['height'] = image_size
    return values | {'render': True}


def _part(values: dict[str, Any], kind: type) -> Any:
    return from_mapping(kind, graph.for_node(values, kind))


def load_scorer(checkpoint: Path, values: dict[str, Any]) -> Scorer:
    """The run's model with the reward heads of a checkpoint.

    Raises:
        SettingError: the model or the checkpoint cannot be loaded.
    """
    scoring = _part(values, ScoringConfig)
    scorer = Scorer(
        load_vlm(_part(values, VlmConfig)),
        values['prompt'],
        scoring=scoring,
        baseline_prompt=values['baseline_prompt'],
    )
    if scoring.scoring == GOAL_IMAGE:
        goal = goal_image(_part(values, SimConfig))
        if goal is None:
            raise SettingError('no scripted policy shows the goal here; accepted: --no-score')
        scorer.use_goal(scorer.encode(goal[None])[0])
    arrays, meta = load_tree(checkpoint / TRAINER_FILE)
    if 'heads' in arrays and METHODS[values['method']].heads != 'none':
        heads = meta['heads']
        scorer.use_heads(heads['version'], heads['layer_sizes'], **arrays['heads'])
    return scorer


class Player(NamedTuple):
    """A policy, and what it is given.

    Attributes:
        agent: for plain inputs.
        name: of the agent, for the picture.
        input: what it is given.
        scorer: the model; None where there is none.
        scores: whether the rewards are wanted.
    """

    agent: Agent
    name: str
    input: PolicyInput
    scorer: Scorer | None
    scores: bool

    def act(self, env: SimEnv, now: Step) -> np.ndarray:
        """The mean action, in the units of the environment."""
        embedding = self.scorer.encode(now.frame[None])[0] if self.input.sees else NO_EMBEDDING
        given = self.input.one(now.state, embedding)
        return unscaled(env.action_space, self.agent.act(given, deterministic=True))


def play_episode(env: SimEnv, player: Player, seed: int) -> Film:
    """Play one episode with an agent's mean actions.

    Args:
        env: with frames.
        player: the agent.
        seed: of the episode.
    """
    scorer, name = player.scorer if player.scores else None, player.name
    now = env.reset(seed)
    played = [now]
    while not (now.terminated or now.truncated):
        now = env.step(player.act(env, now))
        played.append(now)
    frames = [step.frame for step in played]
    cosines = rewards = np.full(len(frames), np.nan)
    if scorer is not None:
        scores = [
            scorer.score(np.stack(frames[first : first + BATCH]))
            for first in range(0, len(frames), BATCH)
        ]
        cosines = np.concatenate([score.cosines for score in scores])
        rewards = np.concatenate([score.rewards for score in scores])
    version = scorer.heads_version if scorer is not None else 0
    moments = [
        Moment(number, float(cosine), float(reward), step.success, name, version)
        for number, (step, cosine, reward) in enumerate(zip(played, cosines, rewards, strict=True))
    ]
    prompt = scorer.prompt if scorer is not None else env.config.task
    task_return = float(sum(step.task_reward for step in played))
    return Film(0, prompt, frames, moments, env.control_period, task_return)


def open_window() -> Any:
    """A window to play in; None where there is no display, or Python has no tkinter."""
    if not os.environ.get('DISPLAY'):
        return None
    try:
        import tkinter
    except ImportError:
        return None
    try:
        return tkinter.Tk(className='furl_ros')
    except tkinter.TclError:
        return None


def show(window: Any, film: Film) -> bool:
    """Play a film in a window at real speed; False when somebody has closed it."""
    import tkinter

    from PIL import Image, ImageTk

    numbers, rate = shown(film)
    pictures = [Image.fromarray(picture(film, number)) for number in numbers]
    try:
        for child in window.winfo_children():
            child.destroy()
        label = tkinter.Label(window, width=SIZE[0], height=SIZE[1], borderwidth=0)
        label.pack()
        start = time.monotonic()
        for number, one in enumerate(pictures):
            label.image = ImageTk.PhotoImage(one, master=window)  # Tk itself keeps none
            label.configure(image=label.image)
            window.update()
            time.sleep(max(0.0, start + float((number + 1) / rate) - time.monotonic()))
    except tkinter.TclError:
        return False
    return True


def films_of(options: argparse.Namespace) -> Iterator[Film]:
    """Play the episodes that were asked for.

    Raises:
        SettingError: the run cannot be played.
    """
    if options.episodes < 1:
        raise SettingError(f'--episodes is {options.episodes}; accepted: 1 or more')
    checkpoint = find_checkpoint(options.run, 'run')
    values = settings_of(checkpoint, options.image_size)
    config = _part(values, TrainConfig)
    seeds = evaluation_seeds(values['seed'], options.episodes)
    if options.seed is not None:
        seeds = [options.seed + number for number in range(options.episodes)]
    env = make(_part(values, SimConfig))
    try:
        scored = METHODS[values['method']].vlm and not options.no_score
        scorer = load_scorer(checkpoint, values) if scored or graph.sees(values) else None
        given = PolicyInput(
            config.observe,
            env.observation_space.shape[0],
            env.proprioception,
            scorer.vlm.embedding_dim if scorer is not None else 0,
        )
        agent = Agent(config, given.space, env.action_space, config.seed)
        agent.load(checkpoint / f'{options.agent}_agent.zip')
        player = Player(agent, options.agent, given, scorer, scored)
        for seed in seeds:
            film = play_episode(env, player, seed)
            said = 'success' if film.success else 'no success'
            print(f'seed {seed}: {said}, {len(film.frames) - 1} steps', flush=True)
            yield film
    finally:
        env.close()


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``ros2 run furl_ros play``; returns the exit code."""
    options = _parser().parse_args(argv)
    window = None if options.video else open_window()
    try:
        for number, film in enumerate(films_of(options)):
            if window is not None:
                if not show(window, film):
                    break
                continue
            path = options.video or run_of(find_checkpoint(options.run)) / DEFAULT_VIDEO
            if number:
                path = path.with_stem(f'{path.stem}-{number + 1}')
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, encode(film))
            print(path)
    except (SettingError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return SIGINT_CODE
    return 0


if __name__ == '__main__':
    sys.exit(main())
