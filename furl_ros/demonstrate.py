# SPDX-License-Identifier: Apache-2.0
"""Make demonstrations: of a scripted policy in simulation, or of recordings (record:=true).

``demonstrations:=<file>`` starts a run with them: they fill the replay and the frames of success
before the first step. With ``demonstration_share`` a share of each batch comes from them.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ament_index_python.packages import get_package_share_directory
from rclpy.serialization import deserialize_message
from tqdm import tqdm

from furl_interfaces.msg import FrameScore, Observation, PromptEmbedding, SourceInfo
from furl_ros.bags.reading import Bag
from furl_ros.bridge import graph
from furl_ros.bridge.convert import from_float_field, to_ns
from furl_ros.bridge.join import Sensed
from furl_ros.bridge.steps import from_observation
from furl_ros.core.demonstrations import (
    SOURCE,
    Demonstrations,
    save_demonstrations,
)
from furl_ros.core.replay import NO_EMBEDDING, Transition, can_be_kept
from furl_ros.core.settings import SettingError, exit_code, typed_settings
from furl_ros.local import config_of, targets_of_run
from sim.config import SimConfig
from sim.envs import Step, make
from sim.oracle import oracle, rollout
from sim.tasks import TASKS

DEFAULT_OUT = Path('demonstrations.safetensors')
ALL, SUCCESSFUL, DRIVEN = 'all', 'successful', 'driven'
WHICH = {
    SUCCESSFUL: 'episodes with a success',
    DRIVEN: 'those in which an operator drove, all of each',
    ALL: 'all',
}
FIRST_SEED = 10**6  # far from those of trainings and evaluations


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        'demonstrate', description=__doc__.split('\n\n')[0], epilog=__doc__.split('\n\n')[1]
    )
    add = parser.add_argument
    add(
        'settings',
        nargs='*',
        metavar='name:=value',
        help='Settings of the run that is to learn from them, such as task:=drawer-open-v3.',
    )
    add(
        '--params-file',
        default=str(Path(get_package_share_directory('furl_ros'), 'config', graph.PARAMS_FILE)),
        help='ROS parameter file with further settings. Default: that of train.launch.py.',
    )
    add('--bag', type=Path, nargs='+', default=[], help='Recordings instead of a simulation.')
    add(
        '--which',
        choices=tuple(WHICH),
        default=SUCCESSFUL,
        help='Of recordings: ' + '; '.join(f'{n}: {d}' for n, d in WHICH.items()) + '.',
    )
    add('--episodes', type=int, default=10, help='In simulation: how many. Default: 10.')
    add('--noise', type=float, default=0.1, help='Deviation of the noise on actions. Default: 0.1.')
    add('--out', type=Path, default=DEFAULT_OUT, help=f'The file. Default: {DEFAULT_OUT}.')
    add('--json', action='store_true', help='Print one JSON object last.')
    return parser


def scripted(values: dict[str, Any], episodes: int, noise: float) -> Demonstrations:
    """Episodes of Meta-World's scripted policy that succeed.

    Args:
        values: settings of the whole graph.
        episodes: how many.
        noise: standard deviation of the noise on its actions, in units of the action space.

    Raises:
        SettingError: there is no such policy, or it does not succeed.
    """
    if values['task'] not in TASKS:
        raise SettingError(f'task is {values["task"]!r}; accepted: a Meta-World task')
    env = make(config_of(values | {'render': graph.uses_vlm(values)}, SimConfig))
    try:
        script = oracle(env)
        scorer = targets_of_run(values).scorer if graph.uses_vlm(values) else None
        generator = np.random.default_rng(values['seed'])
        low, high = env.action_space.low, env.action_space.high

        def act(step: Step) -> np.ndarray:
            wanted = script(step) + noise * generator.standard_normal(env.action_space.shape)
            return np.clip(wanted, low, high).astype(np.float32)

        def embed(step: Step) -> np.ndarray:
            return NO_EMBEDDING if scorer is None else scorer.encode(step.frame[None])[0]

        transitions: list[Transition] = []
        done, failed = 0, 0
        with tqdm(total=episodes, unit='episode') as bar:
            while done < episodes:
                steps = list(rollout(env, act, FIRST_SEED + done + failed))
                if not any(step.success for step in steps):
                    failed += 1
                    if failed > 10 + episodes:
                        raise SettingError(
                            f'the scripted policy of {values["task"]} succeeded {done} times in'
                            f' {done + failed}; accepted: less noise'
                        )
                    continue
                embeddings = [embed(step) for step in steps]
                for index, after in enumerate(steps[1:], 1):
                    transitions.append(
                        Transition(
                            steps[index - 1].state,
                            (2 * (after.action - low) / (high - low) - 1).astype(np.float32),
                            after.state,
                            after.task_reward,
                            after.success,
                            after.terminated,
                            embeddings[index],
                            len(transitions) + 1,
                            SOURCE,
                            done,
                            index,
                            embeddings[index - 1],
                            0,
                            True,
                        )
                    )
                done += 1
                bar.update()
    finally:
        env.close()
    names = ('task', 'vlm', 'prompt', 'success_reward', 'action_repeat')
    return Demonstrations(transitions, {name: values[name] for name in names})


def recorded(paths: list[Path], which: str) -> Demonstrations:
    """Episodes of recorded runs.

    Args:
        paths: bags with source_info, observations, frame scores and the prompt.
        which: of ``WHICH``.

    Raises:
        SettingError: there are none, or the bags do not fit each other.
    """
    transitions: list[Transition] = []
    about: dict[str, Any] = {}
    done = 0
    for path in paths:
        bag = Bag(path)
        info, prompt, steps, scores = _content(bag)
        for line in bag.damage:
            print(f'damaged: {path}: {line}', file=sys.stderr)
        if info is None:
            raise SettingError(f'{path} has no source_info; accepted: recordings of record:=true')
        own = {'task': info.task}
        own |= {'vlm': prompt.vlm, 'prompt': prompt.prompt} if prompt is not None else {}
        if about and own != about:
            raise SettingError(f'{path} is of {own}; accepted beside the others: {about}')
        about = own
        low, high = np.array(info.action_low), np.array(info.action_high)
        for episode in _episodes(steps):
            driven = any(step.intervened for step in episode)
            success = any(step.success for step in episode)
            if (which == SUCCESSFUL and not success) or (which == DRIVEN and not driven):
                continue
            added = len(transitions)
            for before, after in itertools.pairwise(episode):
                if not {before.stamp, after.stamp} <= scores.keys():
                    continue
                transitions.append(
                    Transition(
                        before.state,
                        (2 * (after.action - low) / (high - low) - 1).astype(np.float32),
                        after.state,
                        after.task_reward,
                        after.success,
                        after.terminated,
                        scores[after.stamp],
                        len(transitions) + 1,
                        SOURCE,
                        done,
                        after.step,
                        scores[before.stamp],
                        0,
                        True,
                    )
                )
            done += len(transitions) > added
    if not transitions:
        raise SettingError(f'there are no episodes with whole steps of the kind {which!r}')
    return Demonstrations(transitions, about)


def _content(
    bag: Bag,
) -> tuple[SourceInfo | None, PromptEmbedding | None, list[Sensed], dict[int, np.ndarray]]:
    """What is sensed in a bag, the embeddings of its frames by stamp, and what they belong to."""
    info, prompt = None, None
    steps: list[Sensed] = []
    scores: dict[int, np.ndarray] = {}
    for message in bag.messages():
        name = message.kind.removeprefix('furl_interfaces/msg/')
        if name == 'SourceInfo':
            info = deserialize_message(message.data, SourceInfo)
        elif name == 'PromptEmbedding':
            prompt = deserialize_message(message.data, PromptEmbedding)
        elif name == 'Observation':
            try:
                steps.append(from_observation(deserialize_message(message.data, Observation)))
            except ValueError:
                continue
        elif name == 'FrameScore':
            score = deserialize_message(message.data, FrameScore)
            embedding = from_float_field(score.embedding)
            if score.status == FrameScore.OK and can_be_kept(embedding):
                scores[to_ns(score.header.stamp)] = embedding
    return info, prompt, sorted(steps, key=lambda step: step.stamp), scores


def _episodes(steps: list[Sensed]) -> Iterator[list[Sensed]]:
    """Whole episodes of a training: from a reset to an end, nothing missing, not thrown away."""
    running: list[Sensed] = []
    for step in steps:
        if step.step == 0:
            running = [step]
        elif running and step.previous_stamp == running[-1].stamp:
            running.append(step)
            if step.last:
                if not step.discarded:
                    yield running
                running = []
        else:
            running = []


def run(options: argparse.Namespace) -> int:
    """Make a file of demonstrations; returns the exit code.

    Raises:
        SettingError: the input is not what is accepted.
        OSError: the file cannot be written.
    """
    if options.bag:
        if options.settings:
            raise SettingError('settings are for the simulation; accepted with --bag: none')
        shown = recorded(options.bag, options.which)
    else:
        if options.episodes < 1 or not 0 <= options.noise <= 10:
            raise SettingError('accepted: --episodes of 1 or more, --noise of 0 to 10')
        values = graph.settings_of_run(typed_settings(options.settings), options.params_file)
        graph.check_model(values)
        shown = scripted(values, options.episodes, options.noise)
    save_demonstrations(options.out, shown)
    episodes = shown.episodes
    summary = {
        'episodes': len(episodes),
        'transitions': len(shown.transitions),
        'successes': sum(any(t.success for t in episode) for episode in episodes),
        'out': str(options.out),
        **shown.about,
    }
    print(
        f'{summary["episodes"]} episodes, {summary["successes"]} with a success,'
        f' {summary["transitions"]:,} transitions: {options.out}'
    )
    print(f'begin a run with demonstrations:={options.out} demonstration_share:=0.5')
    if options.json:
        print(json.dumps(summary))
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point of ``ros2 run furl_ros demonstrate``; returns the exit code, 2 for bad input."""
    return exit_code(run, _parser().parse_args(arguments))
