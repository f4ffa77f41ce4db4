# SPDX-License-Identifier: Apache-2.0
"""Steps and scores of the episode that people look at."""

import math

import numpy as np

from furl_ros.monitor.watched_episode import (
    MOST_EARLY,
    MOST_STEPS,
    Score,
    SeenStep,
    WatchedEpisode,
)


def step(episode, number, **fields):
    values = {'success': False, 'agent': 'vlm', 'place': (0.1 * number, 0.0, 1.0)}
    return SeenStep(episode, number, **(values | fields))


def test_scores_join_their_steps_whichever_comes_first():
    watched = WatchedEpisode()
    assert (watched.newest, watched.newest_scored) == (None, None)
    watched.add_score(20, Score(0.2, 0.4, 3))
    watched.add_step(10, step(0, 0))
    watched.add_step(20, step(0, 1, success=True))
    watched.add_step(30, step(0, 2))
    assert (watched.newest, watched.newest_scored) == (30, 20)
    watched.add_score(10, Score(0.1, 0.3, 2))
    assert watched.newest_scored == 20
    moments, places = watched.until(20)
    assert [tuple(moment) for moment in moments] == [
        (0, 0.1, 0.3, False, 'vlm', 2),
        (1, 0.2, 0.4, True, 'vlm', 3),
    ]
    np.testing.assert_allclose(places, [[0, 0, 1], [0.1, 0, 1]])
    last = watched.until(30)[0][-1]
    assert math.isnan(last.cosine)
    assert math.isnan(last.reward)


def test_an_episode_begins_anew_and_the_one_before_can_still_be_shown():
    watched = WatchedEpisode()
    for stamp in range(1, 11):
        watched.add_step(stamp, step(4, stamp - 1))
    watched.add_step(11, step(5, 0))
    assert len(watched.until(10)[0]) == 10
    assert len(watched.until(11)[0]) == 1
    watched.add_step(12, step(6, 0))
    assert not watched.knows(10)
    assert watched.knows(11)


def test_a_robot_that_starts_anew_with_the_same_number_plays_another_episode():
    watched = WatchedEpisode()
    for stamp in range(1, 6):
        watched.add_step(stamp, step(0, stamp - 1))
    for stamp in range(101, 104):
        watched.add_step(stamp, step(0, stamp - 101))
    assert [moment.step for moment in watched.until(103)[0]] == [0, 1, 2]
    assert [moment.step for moment in watched.until(5)[0]] == [0, 1, 2, 3, 4]


def test_earlier_stamps_are_another_run():
    watched = WatchedEpisode()
    watched.add_step(1_000, step(7, 3))
    watched.add_score(1_000, Score(0.1, 0.1, 1))
    watched.add_step(1_000, step(7, 3))
    assert watched.newest_scored == 1_000
    watched.add_step(5, step(0, 0))
    assert (watched.newest, watched.newest_scored) == (5, None)
    assert not watched.knows(1_000)


def test_a_place_that_nobody_knows_is_not_a_number():
    watched = WatchedEpisode()
    watched.add_step(1, step(0, 0, place=None))
    assert np.isnan(watched.until(1)[1]).all()


def test_nothing_grows_without_end():
    watched = WatchedEpisode()
    for stamp in range(1, 2 * MOST_STEPS):
        watched.add_step(stamp, step(0, stamp))
    assert len(watched.until(watched.newest)[0]) <= MOST_STEPS
    for stamp in range(10**9, 10**9 + 3 * (MOST_STEPS + MOST_EARLY)):
        watched.add_score(stamp, Score(0.0, 0.0, 0))
    assert len(watched._scores) <= MOST_STEPS + MOST_EARLY
