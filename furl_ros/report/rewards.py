# SPDX-License-Identifier: Apache-2.0
"""The reward along episodes, as the heads were at the start of a run and as they are at its end."""

import csv
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from furl_ros.bridge import graph
from furl_ros.core.config import ScoringConfig
from furl_ros.core.heads import RewardHeads
from furl_ros.core.methods import METHODS
from furl_ros.core.reward import cosine, frame_scores
from furl_ros.core.run import ALIGNMENT_FILE, TRAINER_FILE, find_checkpoint
from furl_ros.core.settings import SettingError
from furl_ros.core.storage import load_tree
from furl_ros.local import Targets, config_of, new_aligner, targets_of_run
from furl_ros.report.traces import COLUMNS, FAILED, FIRST_SUCCESS, LAST_SUCCESS, REWARDS


class StoredEpisode(NamedTuple):
    """One episode of a replay, T steps."""

    number: int
    embeddings: np.ndarray
    """Raw ones of the frames after the actions, float32 [T, E]."""
    success: np.ndarray
    """bool [T]"""
    states: np.ndarray
    """What the replay keeps of the states after the actions, float32 [T, S]."""


def whole_episodes(replay: dict[str, np.ndarray]) -> list[StoredEpisode]:
    """Episodes that a replay still has from their first step on, in order of that step.

    Args:
        replay: arrays as ``Replay.state`` gives them.
    """
    steps = replay['step']
    # The oldest row first: the ring goes on from there.
    rows = np.roll(np.arange(len(steps)), -(int(replay['written'][0]) % max(1, len(steps))))
    found: dict[tuple[int, int], list[int]] = {}
    for row in rows.tolist():
        key = (int(replay['source'][row]), int(replay['episode'][row]))
        found.setdefault(key, []).append(row)
    return [
        StoredEpisode(
            number,
            replay['embedding'][rows].astype(np.float32),
            replay['success'][rows].astype(bool),
            replay['next_state'][rows],
        )
        for (_, number), rows in found.items()
        if np.array_equal(steps[rows], np.arange(1, len(rows) + 1))
    ]


def choose(episodes: list[StoredEpisode]) -> dict[str, StoredEpisode]:
    """The first failed, the first and the last successful episode, those that there are."""
    failed = [episode for episode in episodes if not episode.success.any()]
    successful = [episode for episode in episodes if episode.success.any()]
    chosen = {}
    if failed:
        chosen[FAILED] = failed[0]
    if successful:
        chosen[FIRST_SUCCESS] = successful[0]
    if len(successful) > 1:
        chosen[LAST_SUCCESS] = successful[-1]
    return chosen


def rewards_of_frames(
    heads: RewardHeads | None, scoring: ScoringConfig, targets: Targets, embeddings: np.ndarray
) -> np.ndarray:
    """What frames are worth by themselves (Phi of 'potential' and 'progress'), float32 [T].

    Args:
        heads: of a method that has any, else None.
        scoring: the formula without heads.
        targets: what frames are compared with.
        embeddings: raw ones, float32 [T, E].
    """
    if heads is not None:
        return heads.score(embeddings, targets.text)
    _, *vectors = targets
    tensors = (None if v is None else torch.from_numpy(np.array(v)) for v in vectors)
    return frame_scores(scoring, torch.from_numpy(embeddings), *tensors).numpy()


def rewards_along_episodes(run_folder: str | Path, out: str | Path = '') -> Path | None:
    """Write rewards.csv of a finished run, from its newest checkpoint.

    A row for each step (action) of the first failed, the first and the last successful episode that
    the replay still holds from its first step on: the reward of the frame after the action by the
    heads as they were before their first update (made again from the settings and the seed) and as
    they are now, the cosine of the frame's embedding with the prompt's and, where there is one,
    with the goal image's. A method without heads has one reward, which stands in both columns.

    Args:
        run_folder: the run, with a checkpoint.
        out: folder for the file; '': the run folder.

    Returns:
        The file; None for a method without a VLM.

    Raises:
        SettingError: there is no readable checkpoint, or the model cannot be loaded.
        OSError: the file cannot be written.
    """
    folder = Path(run_folder)
    checkpoint = find_checkpoint(folder)
    values = graph.settings_of_run({'resume': str(folder)}, '')
    if not graph.uses_vlm(values):
        return None
    arrays, _ = load_tree(checkpoint / TRAINER_FILE)
    episodes = choose(whole_episodes(arrays['replay']))
    if not episodes:
        raise SettingError(f'{checkpoint} has no whole episode; accepted: a run that finished one')

    targets = targets_of_run(values)
    scoring = config_of(values, ScoringConfig)
    initial = final = None
    if METHODS[values['method']].heads != 'none':
        aligner = new_aligner(values, targets.text, targets.goal)
        first = aligner.snapshot().heads
        aligner.load(checkpoint / ALIGNMENT_FILE)
        final = aligner.snapshot().heads
        # Anchored heads are given their center when the warm-up ends, before their first update.
        initial = RewardHeads.from_flat(
            first.layer_sizes, *first.flat(), *final.frame_of_reference()
        )

    path = Path(out or folder) / REWARDS
    temporary = path.with_suffix('.tmp')
    with open(temporary, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for kind, episode in episodes.items():
            frames = torch.from_numpy(episode.embeddings)
            columns = [
                rewards_of_frames(heads, scoring, targets, episode.embeddings)
                for heads in (initial, final)
            ]
            columns += [
                cosine(frames, torch.from_numpy(np.array(target))).numpy()
                for target in (targets.text, targets.goal)
                if target is not None
            ]
            for step, rewards in enumerate(zip(*columns, strict=True)):
                cells = [f'{reward:.6g}' for reward in rewards]
                cells += [''] * (4 - len(cells))
                flag = bool(episode.success[step])
                writer.writerow([kind, episode.number, step + 1, flag, *cells])
    os.replace(temporary, path)
    return path
