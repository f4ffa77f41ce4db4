# SPDX-License-Identifier: Apache-2.0
"""The command: ros2 run furl_ros score_bag <bag> --prompt <the task in words>."""

import argparse
import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from furl_ros.bags.arguments import (
    BATCH,
    Aligned,
    add_picture_arguments,
    camera_of,
    load_scorer,
    tell_damage,
)
from furl_ros.bags.pictures import Few, Shot, batches, choose_topic, pictures
from furl_ros.bags.reading import Bag
from furl_ros.core.settings import SettingError, exit_code
from furl_ros.core.storage import write_whole
from furl_ros.core.vlm import Scorer
from furl_ros.core.vlm.quality import rank_correlation
from furl_ros.monitor.films import Film, encode
from furl_ros.monitor.pictures import Moment

CSV, PLOT, VIDEO = 'scores.csv', 'scores.png', 'scored.mp4'
COLUMNS = ('stamp_ns', 'seconds', 'cosine', 'reward')
LONGEST = 1_000  # frames of the film; of longer recordings it shows some
FAST_FORWARD_S = 60.0  # seconds of a film: longer recordings are shown faster


class Row(NamedTuple):
    """One picture's score."""

    stamp: int
    cosine: float
    reward: float


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        'score_bag',
        description='Score the pictures of a recording (ros2 bag: MCAP or sqlite3) by a prompt:'
        f' {CSV}, {PLOT} and {VIDEO}.',
    )
    add = parser.add_argument
    add('bag', type=Path, help='Folder of ros2 bag, or one of its files.')
    add('--prompt', default='', help='The task in words. Default: that of the heads.')
    add('--vlm', default='', help='The model. Default: that of the heads, or furl-tiny.')
    add('--device', default='auto', help='auto, cpu or cuda. Default: auto.')
    add('--heads', type=Path, help='Aligned heads: a run, a checkpoint, or a file of align_bag.')
    add('--out', type=Path, help='Folder for what is written. Default: <bag>-scores here.')
    add('--no-video', action='store_true', help='Without the film.')
    add('--json', action='store_true', help='Print one JSON object last.')
    add_picture_arguments(parser)
    return parser


def score(scorer: Scorer, shots: Iterable[Shot]) -> Iterator[tuple[Shot, Row]]:
    """Score pictures, in their order.

    Raises:
        SettingError: the model cannot take them.
    """
    for batch in batches(shots, BATCH):
        try:
            scores = scorer.score(np.stack([shot.frame for shot in batch]))
        except ValueError as error:
            raise SettingError(f'the pictures cannot be scored: {error}') from None
        for shot, cosine, reward in zip(batch, scores.cosines, scores.rewards, strict=True):
            yield shot, Row(shot.stamp, float(cosine), float(reward))


def table(rows: list[Row]) -> str:
    """The rows as CSV."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(COLUMNS)
    for row in rows:
        seconds = f'{(row.stamp - rows[0].stamp) * 1e-9:.6f}'
        writer.writerow([row.stamp, seconds, f'{row.cosine:.6f}', f'{row.reward:.6f}'])
    return file.getvalue()


def plot(rows: list[Row], prompt: str, aligned: bool) -> bytes:
    """The scores over time, PNG."""
    import matplotlib as mpl

    mpl.use('Agg')
    import matplotlib.pyplot as plt

    seconds = [(row.stamp - rows[0].stamp) * 1e-9 for row in rows]
    figure, axes = plt.subplots(figsize=(8, 3.6), layout='constrained')
    axes.plot(seconds, [row.cosine for row in rows], color='tab:orange', label='cosine')
    if aligned:
        axes.plot(seconds, [row.reward for row in rows], color='tab:blue', label='aligned')
    axes.set(xlabel='seconds', ylabel='reward', title=prompt)
    axes.legend()
    file = io.BytesIO()
    figure.savefig(file, dpi=100)
    plt.close(figure)
    return file.getvalue()


def film(kept: list[tuple[Shot, Row]], prompt: str, version: int) -> Film:
    """The annotated film of some pictures, all of the size of the first, at most a minute long."""
    shape = kept[0][0].frame.shape
    shown = [(shot, row) for shot, row in kept if shot.frame.shape == shape]
    moments = [
        Moment(number, row.cosine, row.reward, False, '', version)
        for number, (_, row) in enumerate(shown)
    ]
    span = (shown[-1][1].stamp - shown[0][1].stamp) * 1e-9
    period = min(max(span, 0.05), FAST_FORWARD_S) / max(1, len(shown) - 1)
    return Film(0, prompt, [shot.frame for shot, _ in shown], moments, period, 0.0)


def run(options: argparse.Namespace) -> int:
    """Score a bag; returns the exit code.

    Raises:
        SettingError: the input is not what is accepted.
        OSError: a file cannot be written.
    """
    bag, camera = Bag(options.bag), camera_of(options)
    topic = choose_topic(bag, options.topic)
    aligned = Aligned(options.heads) if options.heads else None
    scorer = load_scorer(options.prompt, options.vlm, options.device, aligned)
    bad: Counter[str] = Counter()
    rows: list[Row] = []
    kept: Few[tuple[Shot, Row]] = Few(LONGEST)
    for shot, row in score(scorer, pictures(bag, topic, camera, bad, options.every)):
        rows.append(row)
        kept.add((shot, row))
    tell_damage(bag, bad, len(rows))
    if not rows:
        raise SettingError(f'no picture of {topic} can be read')
    rows.sort(key=lambda row: row.stamp)
    out = options.out or Path(f'{bag.path.resolve().stem}-scores')
    out.mkdir(parents=True, exist_ok=True)
    written = [CSV, PLOT]
    write_whole(out / CSV, table(rows))
    write_whole(out / PLOT, plot(rows, scorer.prompt, aligned is not None))
    if not options.no_video:
        write_whole(out / VIDEO, encode(film(kept.kept, scorer.prompt, scorer.heads_version)))
        written.append(VIDEO)
    rewards = np.array([row.reward for row in rows])
    best = int(rewards.argmax())
    summary = {
        'topic': topic,
        'prompt': scorer.prompt,
        'pictures': len(rows),
        'seconds': round((rows[-1].stamp - rows[0].stamp) * 1e-9, 3),
        'first': round(float(rewards[0]), 4),
        'last': round(float(rewards[-1]), 4),
        'best': round(float(rewards[best]), 4),
        'best_at_seconds': round((rows[best].stamp - rows[0].stamp) * 1e-9, 3),
        'rank_correlation_with_time': round(rank_correlation(rewards, np.arange(len(rows))), 3)
        if len(rows) > 1
        else None,
        'heads_version': scorer.heads_version,
        'damaged': bag.damage,
        'out': str(out),
    }
    print(
        f'{len(rows):,} pictures of {topic}, {summary["seconds"]} s, by "{scorer.prompt}":'
        f' first {summary["first"]}, last {summary["last"]}, best {summary["best"]} at'
        f' {summary["best_at_seconds"]} s; rank correlation with time'
        f' {summary["rank_correlation_with_time"]}'
    )
    print(f'{out}: {", ".join(written)}')
    if options.json:
        print(json.dumps(summary))
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point of ``ros2 run furl_ros score_bag``; returns the exit code, 2 for bad input."""
    return exit_code(run, _parser().parse_args(arguments))
