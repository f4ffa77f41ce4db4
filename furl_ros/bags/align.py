# SPDX-License-Identifier: Apache-2.0
"""The command: ros2 run furl_ros align_bag --success <bags> --failure <bags> --prompt <task>."""

import argparse
import dataclasses
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from furl_ros.bags.arguments import (
    BATCH,
    add_picture_arguments,
    camera_of,
    load_scorer,
    tell_damage,
)
from furl_ros.bags.pictures import batches, choose_topic, pictures
from furl_ros.bags.reading import Bag
from furl_ros.core.alignment import Aligner
from furl_ros.core.config import AlignConfig
from furl_ros.core.replay import can_be_kept
from furl_ros.core.settings import SettingError, add_arguments, exit_code, from_arguments
from furl_ros.core.vlm import Scorer
from furl_ros.core.vlm.quality import rank_correlation

DEFAULT_OUT = Path('heads.safetensors')
METHOD = 'furl'
# Settings of a run, not of what is learned from recordings.
OF_A_RUN = ('head_updates_per_step', 'publish_every', 'heads_file')
LAG = 'lag'
LAGS, OF_AN_EPISODE = (2, AlignConfig.lag), 0.1
"""Without --lag: least and largest, and the share of the shortest success that it is. In recordings
of 14 pictures nothing within ten of them would be put in order."""
SHARE = 'positive_share'
SHARE_OF_FEW = 0.25
"""Few failures look like the beginnings of few successes: put below the whole of these, they pull
down what lies on the way."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        'align_bag',
        description='Train reward heads from recordings (ros2 bag: MCAP or sqlite3). A run begins'
        ' with them by heads:=<file>, score_bag scores with them by --heads <file>.',
    )
    add = parser.add_argument
    add(
        '--success',
        type=Path,
        nargs='+',
        required=True,
        metavar='BAG',
        help='Recordings that end when the task is solved.',
    )
    add(
        '--failure',
        type=Path,
        nargs='*',
        default=[],
        metavar='BAG',
        help='Recordings in which it is not solved.',
    )
    add('--prompt', default='', help='The task in words.')
    add('--vlm', default='', help='The model. Default: furl-tiny.')
    add('--device', default='auto', help='auto, cpu or cuda. Default: auto.')
    add(
        '--goal-image',
        type=Path,
        help='Picture of the solved task (PNG, JPEG). Default: the last one of the first success.',
    )
    add('--updates', type=int, default=1_000, help='Head updates. Default: 1000.')
    add('--seed', type=int, default=0, help="Of the heads' initial values and the draws.")
    add('--out', type=Path, default=DEFAULT_OUT, help=f'What is written. Default: {DEFAULT_OUT}.')
    add('--json', action='store_true', help='Print one JSON object last.')
    add(
        '--lag',
        type=int,
        help='Pictures between the two that the pos-pos loss orders. Default: a tenth of the'
        f' shortest success, from {LAGS[0]} to {LAGS[1]}.',
    )
    add(
        '--positive-share',
        type=float,
        default=SHARE_OF_FEW,
        help='Share of each success, its end, that is to be worth more than the failures.'
        f' Default: {SHARE_OF_FEW}; the paper has 1.',
    )
    add_picture_arguments(parser)
    add_arguments(parser, AlignConfig, skip=(*OF_A_RUN, LAG, SHARE))
    return parser


def embed(path: Path, scorer: Scorer, options: argparse.Namespace) -> np.ndarray:
    """Raw embeddings of the pictures of a recording, in their order, float32 [T, E].

    Raises:
        SettingError: it holds no picture that can be read.
    """
    bag, bad = Bag(path), Counter()
    topic = choose_topic(bag, options.topic)
    parts: list[np.ndarray] = []
    for batch in batches(pictures(bag, topic, camera_of(options), bad, options.every), BATCH):
        try:
            parts.append(scorer.encode(np.stack([shot.frame for shot in batch])))
        except ValueError as error:
            raise SettingError(f'{path}: the pictures cannot be encoded: {error}') from None
    tell_damage(bag, bad, sum(map(len, parts)))
    if not parts:
        raise SettingError(f'no picture of {topic} in {path} can be read')
    embeddings = np.concatenate(parts)
    return embeddings[[can_be_kept(embedding) for embedding in embeddings]]


def read_goal(path: Path, scorer: Scorer) -> np.ndarray:
    """Raw embedding of a picture of the goal, float32 [E].

    Raises:
        SettingError: it cannot be read.
    """
    picture = cv2.imread(str(path.expanduser()), cv2.IMREAD_COLOR)
    if picture is None:
        raise SettingError(f"goal_image is '{path}'; accepted: a picture (PNG, JPEG)")
    return scorer.encode(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)[None])[0]


def run(options: argparse.Namespace) -> int:
    """Train heads and write them; returns the exit code.

    Raises:
        SettingError: the input is not what is accepted.
        OSError: the file cannot be written.
    """
    if options.updates < 1:
        raise SettingError(f'updates is {options.updates}; accepted: 1 or more')
    own_lag = options.lag is None
    options.lag = AlignConfig.lag if own_lag else options.lag
    config = from_arguments(AlignConfig, options)
    scorer = load_scorer(options.prompt, options.vlm, options.device, None)
    solved = [embed(path, scorer, options) for path in options.success]
    failed = [embed(path, scorer, options) for path in options.failure]
    goal = read_goal(options.goal_image, scorer) if options.goal_image else solved[0][-1]
    if own_lag:
        share = OF_AN_EPISODE * min(map(len, solved))
        config = dataclasses.replace(config, lag=int(np.clip(share, *LAGS)))
    text = scorer.vlm.encode_text(scorer.prompt)
    aligner = Aligner(config, METHOD, text, goal, options.seed, warmup_steps=0)
    for episodes, success in ((solved, True), (failed, False)):
        for frames in episodes:
            for index, embedding in enumerate(frames):
                last = index == len(frames) - 1
                aligner.add(embedding, success and last, last)
    losses: dict[str, float] = {}
    for _ in range(options.updates):
        losses = aligner.update() or losses
    vlm = options.vlm or scorer.vlm.name
    aligner.save(options.out, about={'prompt': scorer.prompt, 'vlm': vlm})
    heads = aligner.heads.frozen_copy()
    ranks = [
        rank_correlation(heads.score(frames, text), np.arange(len(frames)))
        for frames in solved
        if len(frames) > 1
    ]
    ends = [float(heads.score(frames, text)[-1]) for frames in solved]
    best_failed = [float(heads.score(frames, text).max()) for frames in failed]
    summary = {
        'successes': len(solved),
        'failures': len(failed),
        'pictures': sum(map(len, [*solved, *failed])),
        'lag': config.lag,
        'losses': {name: round(value, 5) for name, value in losses.items()},
        'rank_correlations': [round(rank, 3) for rank in ranks],
        'reward_at_success': [round(value, 3) for value in ends],
        'best_reward_of_failures': [round(value, 3) for value in best_failed],
        'out': str(options.out),
    }
    print(
        f'{len(solved)} successes and {len(failed)} failures, {summary["pictures"]:,} pictures;'
        f' losses: {", ".join(f"{n} {v:.4f}" for n, v in losses.items())}'
    )
    print(
        f'reward at success {summary["reward_at_success"]}; its rank correlation with time on the'
        f' way there {summary["rank_correlations"]}'
    )
    if best_failed:
        print(f'best reward of each failure {summary["best_reward_of_failures"]}')
    print(f'{options.out}: begin a run with heads:={options.out}')
    if options.json:
        print(json.dumps(summary))
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point of ``ros2 run furl_ros align_bag``; returns the exit code, 2 for bad input."""
    return exit_code(run, _parser().parse_args(arguments))
