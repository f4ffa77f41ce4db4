# SPDX-License-Identifier: Apache-2.0
"""Who acts when."""

import itertools
import json

import numpy as np
import pytest

from furl_ros.core.relay import SAC, VLM, Relay

LENGTH = 500


def episode(relay, source=0):
    relay.start_episode(source)
    return [relay.agent(step, source) for step in range(LENGTH)]


def runs(agents):
    """Lengths of the turns of an episode, the last one (cut off by the end) left out."""
    return [len(list(group)) for _, group in itertools.groupby(agents)][:-1]


@pytest.mark.parametrize('turn', [50, 25])
def test_turns_have_one_period_per_episode_and_all_periods_occur(turn):
    relay = Relay(True, 2_500, 0, turn)
    periods = []
    for _ in range(200):
        turns = runs(episode(relay))
        assert len(set(turns)) == 1
        periods.append(turns[0])
    values, counts = np.unique(periods, return_counts=True)
    assert values.tolist() == [turn, 2 * turn, 3 * turn, 4 * turn]
    assert counts.min() > 25


def test_the_starter_alternates_by_episode():
    relay = Relay(True, 2_500, 0)
    assert [episode(relay)[0] for _ in range(6)] == [VLM, SAC] * 3


def test_the_schedule_follows_the_seed():
    schedules = [[episode(Relay(True, 2_500, seed)) for _ in range(1)] for seed in range(20)]
    assert schedules[0] == [episode(Relay(True, 2_500, 0))]
    assert len({str(schedule) for schedule in schedules}) > 1


def test_without_a_relay_the_vlm_agent_acts():
    assert set(episode(Relay(False, 2_500, 0))) == {VLM}


def test_robots_have_schedules_of_their_own():
    relay = Relay(True, 2_500, 0)
    relay.start_episode(0)
    before = [relay.agent(step, 0) for step in range(LENGTH)]
    relay.start_episode(1)
    assert [relay.agent(step, 0) for step in range(LENGTH)] == before
    assert relay.agent(0, 1) != relay.agent(0, 0)


def test_it_ends_for_good_at_the_positives():
    relay = Relay(True, 2_500, 0)
    for _ in range(24):
        relay.add_positives(100)
    relay.add_positives(99)
    assert relay.active
    relay.add_positives(1)
    assert not relay.active
    assert set(episode(relay) + episode(relay)) == {VLM}
    relay.add_positives(0)
    assert not relay.active


@pytest.mark.parametrize('positives', [100, 2_500])
def test_state_continues(positives):
    one, other = Relay(True, 2_500, 0), Relay(True, 2_500, 8)
    for _ in range(3):
        episode(one)
    one.add_positives(positives)
    other.restore(json.loads(json.dumps(one.state())))
    for _ in range(10):
        assert episode(one) == episode(other)
    one.add_positives(2_400)
    other.add_positives(2_400)
    assert not one.active
    assert not other.active
