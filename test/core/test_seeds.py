# SPDX-License-Identifier: Apache-2.0
"""Seeds of episodes: the same again after a restart, different for everything else."""

from furl_ros.core.seeds import episode_seed, evaluation_seeds


def test_training_episodes_have_seeds_of_their_own():
    keys = [(run, source, episode) for run in (0, 1) for source in (0, 1) for episode in range(50)]
    seeds = [episode_seed(*key) for key in keys]
    assert len(set(seeds)) == len(keys)
    assert seeds == [episode_seed(*key) for key in keys]
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_evaluation_episodes_are_the_same_each_time_and_no_training_episodes():
    seeds = evaluation_seeds(0, 20)
    assert len(set(seeds)) == 20
    # More episodes keep the first ones, so that curves compare.
    assert evaluation_seeds(0, 5) == seeds[:5]
    assert evaluation_seeds(1, 5) != seeds[:5]
    assert not set(seeds) & {episode_seed(0, source, n) for source in (0, 1) for n in range(100)}


def test_values_never_change():
    """Runs of old checkpoints go on with the episodes that they would have had."""
    assert episode_seed(0, 0, 0) == 1793958483
    assert evaluation_seeds(0, 1) == [1109076676]
