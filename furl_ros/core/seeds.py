# SPDX-License-Identifier: Apache-2.0
"""Seeds of episodes, derived from the run's seed, so that a resumed run draws the same ones."""

import numpy as np

_TRAINING, _EVALUATION = 10, 11


def _derive(*words: int) -> int:
    return int(np.random.SeedSequence(words).generate_state(1)[0] >> 1)


def episode_seed(seed: int, source: int, episode: int) -> int:
    """Seed (31 bits) of a training episode of a source."""
    return _derive(seed, _TRAINING, source, episode)


def evaluation_seeds(seed: int, count: int) -> list[int]:
    """Seeds of the evaluation episodes: the same at each evaluation, so that curves compare."""
    return [_derive(seed, _EVALUATION, index) for index in range(count)]
