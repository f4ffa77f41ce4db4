# SPDX-License-Identifier: Apache-2.0
"""Observations and frame scores meet by stamp, whatever the order they come in."""

import random

import numpy as np
import pytest

from furl_ros.bridge.join import Sensed, StampJoin


def sensed(stamp, previous, episode, step, last=False):
    state = np.full(2, stamp, np.float32)
    action = np.full(1, stamp, np.float32) if step else np.zeros(0, np.float32)
    return Sensed(stamp, previous, episode, step, state, action, -1.0, False, False, last)


def stream(lengths, first=100, gap=7):
    """Observations of whole episodes; stamps are unique and grow over resets."""
    observations, stamp = [], first
    for episode, length in enumerate(lengths):
        previous = stamp
        for step in range(length + 1):
            observations.append(sensed(stamp, previous, episode, step, step == length))
            previous, stamp = stamp, stamp + gap
    return observations


def steps_of(observations):
    """What must come out: (stamp before, stamp after) of every step."""
    return [(o.previous_stamp, o.stamp) for o in observations if o.step > 0]


def feed(join, events):
    """Deliver observations and (stamp, score) pairs; returns what came out, in order."""
    joined = []
    for event in events:
        if isinstance(event, Sensed):
            join.add_observation(event)
        else:
            join.add_score(*event)
        joined += join.pop()
    return joined


def stamps(joined):
    return [(step.before.stamp, step.after.stamp) for step in joined]


def shuffled(observations, scores, generator):
    """Observations in order; scores in any order, early or late."""
    scores = generator.sample(scores, len(scores))
    slots = [True] * len(observations) + [False] * len(scores)
    generator.shuffle(slots)
    queues = {True: iter(observations), False: iter(scores)}
    return [next(queues[slot]) for slot in slots]


def score(observation):
    return f'score of {observation.stamp}'


def test_any_interleaving_gives_every_step_in_order_with_its_own_score():
    generator = random.Random(0)
    for _ in range(200):
        observations = stream([generator.randint(1, 9) for _ in range(generator.randint(1, 5))])
        scores = [(o.stamp, score(o)) for o in observations]
        join = StampJoin()
        joined = feed(join, shuffled(observations, scores, generator))
        assert stamps(joined) == steps_of(observations)
        for step in joined:
            assert step.score == score(step.after)
            assert step.previous_score == score(step.before)
            assert step.after.state[0] == step.after.stamp
        assert not join.counts
        assert join.in_flight == 0


def test_bad_scores_and_lost_observations_leave_their_steps_out():
    """Whatever the interleaving: never a step with a wrong frame or a wrong predecessor."""
    generator = random.Random(1)
    for _ in range(200):
        observations = stream([generator.randint(1, 9) for _ in range(4)])
        bad = {o.stamp for o in observations if generator.random() < 0.2}
        lost = {o.stamp for o in observations if generator.random() < 0.1}
        scores = [(o.stamp, None if o.stamp in bad else score(o)) for o in observations]
        received = [o for o in observations if o.stamp not in lost]
        join = StampJoin()
        joined = feed(join, shuffled(received, scores, generator))
        here = [o for o in received if o.step > 0]
        orphans = [o for o in here if o.previous_stamp in lost]
        whole = [o for o in here if o.previous_stamp not in lost]
        assert stamps(joined) == steps_of([o for o in whole if o.stamp not in bad])
        assert all(step.score == score(step.after) for step in joined)
        for step in joined:
            known = None if step.before.stamp in bad else score(step.before)
            assert step.previous_score == known
        counts = {
            'steps without their predecessor': len(orphans),
            'steps whose frame could not be scored': sum(o.stamp in bad for o in whole),
        }
        # A lost observation's score that comes after its turn is one of the past.
        join.counts.pop('scores in the past', None)
        assert dict(join.counts) == {why: count for why, count in counts.items() if count}


def test_a_step_waits_for_its_score_and_holds_back_those_after_it():
    reset, first, second = stream([2])
    join = StampJoin()
    assert not feed(join, [reset, first, second, (second.stamp, 'b'), (reset.stamp, 'r')])
    assert join.in_flight == 2
    assert stamps(feed(join, [(first.stamp, 'a')])) == steps_of([first, second])
    assert join.in_flight == 0


def test_a_reset_whose_frame_is_bad_costs_no_step():
    reset, first = stream([1])
    join = StampJoin()
    joined = feed(join, [reset, first, (reset.stamp, None), (first.stamp, 'a')])
    assert stamps(joined) == steps_of([first])
    assert not join.counts


def test_in_pairs_a_step_needs_the_score_of_the_frame_before_too():
    generator = random.Random(2)
    for _ in range(200):
        observations = stream([generator.randint(1, 9) for _ in range(4)])
        bad = {o.stamp for o in observations if generator.random() < 0.2}
        scores = [(o.stamp, None if o.stamp in bad else score(o)) for o in observations]
        join = StampJoin(in_pairs=True)
        joined = feed(join, shuffled(observations, scores, generator))
        good = [o for o in observations if o.step > 0 and o.stamp not in bad]
        paired = [o for o in good if o.previous_stamp not in bad]
        assert stamps(joined) == steps_of(paired)
        for step in joined:
            assert (step.previous_score, step.score) == (score(step.before), score(step.after))
        assert join.counts['steps whose frame before has no score'] == len(good) - len(paired)
        assert join.in_flight == 0


def test_observations_in_the_past_are_counted():
    observations = stream([3])
    join = StampJoin()
    feed(join, observations)
    assert join.add_observation(observations[-1]) is False
    assert join.add_observation(observations[0]) is False
    assert join.counts == {'observations in the past': 2}
    scores = [(o.stamp, score(o)) for o in observations]
    assert stamps(feed(join, scores)) == steps_of(observations)


def test_scores_in_the_past_are_counted():
    observations = stream([3])
    join = StampJoin()
    feed(join, [*observations, *((o.stamp, score(o)) for o in observations)])
    again = [(o.stamp, 'again') for o in observations]
    assert feed(join, again) == []
    assert join.counts == {'scores in the past': 4}


def test_scores_of_long_ago_are_in_the_past_though_nobody_remembers_their_frames():
    first, *others = stream([300])
    join = StampJoin(max_waiting=20)
    feed(join, [event for o in others for event in (o, (o.stamp, score(o)))])
    assert join.has_passed(first.stamp)
    join.counts.clear()
    assert feed(join, [(first.stamp, 'late'), (others[0].stamp, 'again')]) == []
    assert join.counts == {'scores in the past': 2}


def test_scores_that_nobody_asked_for_are_counted_when_their_time_is_over():
    observations = stream([200])
    join = StampJoin()
    events = [event for o in observations for event in (o, (o.stamp, score(o)))]
    nobodys = [(observations[place].stamp + 1, 'x') for place in (3, 50)]
    joined = feed(join, [*events[:20], *nobodys, *events[20:], (FUTURE, 'x')])
    assert stamps(joined) == steps_of(observations)
    assert join.counts == {'scores in the past': 2}
    assert list(join._scores) == [FUTURE]


@pytest.mark.parametrize('fate', ['scored', 'bad', 'never scored'])
def test_a_step_stamped_in_the_future_is_no_clock(fate):
    """Though it follows an observation of ours: it was the last one that any score came after."""
    observations = stream([60])
    stray = sensed(FUTURE, observations[4].stamp, 0, 5)
    join = StampJoin(max_waiting=20)
    events = [event for o in observations for event in (o, (o.stamp, score(o)))]
    if fate != 'never scored':
        events.insert(10, (FUTURE, 'stray' if fate == 'scored' else None))
    events.insert(10, stray)
    joined = [step for step in feed(join, events) if step.after is not stray]
    assert stamps(joined) == steps_of(observations)
    assert join.has_passed(observations[-1].stamp)
    assert not join.has_passed(observations[-1].stamp + 1)


def test_scores_without_an_observation_do_not_pile_up():
    join = StampJoin(max_early=5)
    feed(join, [(stamp, 'x') for stamp in range(1, 9)])
    assert join.counts == {'scores without an observation': 3}
    observations = stream([2], first=7, gap=1)
    joined = feed(join, [*observations, (9, 'x')])
    assert stamps(joined) == steps_of(observations)


def test_a_score_that_never_comes_costs_its_own_step_alone():
    """A camera drops frames, a reward node dies: the stream goes on after a while."""
    observations = stream([400])
    lost = observations[5].stamp
    join = StampJoin(max_waiting=20)
    events = []
    for observation in observations:
        events.append(observation)
        if observation.stamp != lost:
            events.append((observation.stamp, score(observation)))
    joined = feed(join, events)
    assert stamps(joined) == [pair for pair in steps_of(observations) if pair[1] != lost]
    assert join.counts == {'steps whose frame was never scored': 1}
    assert feed(join, [(lost, 'late')]) == []
    assert join.counts['scores in the past'] == 1


def test_with_every_second_frame_dropped_the_others_come_through():
    observations = stream([400])
    join = StampJoin()
    events = []
    for observation in observations:
        events.append(observation)
        if observation.step % 2:
            events.append((observation.stamp, score(observation)))
    joined = feed(join, events)
    assert len(joined) >= 200 - join.max_waiting
    assert all(step.after.step % 2 for step in joined)
    assert all(step.before.stamp == step.after.previous_stamp for step in joined)
    assert len(join._waiting) <= join.max_waiting


FUTURE = 10**18
RESETS = {o.stamp for o in stream([3, 2]) if o.step == 0}


@pytest.mark.parametrize('in_pairs', [False, True])
@pytest.mark.parametrize('place', range(13))
def test_what_is_stamped_in_the_future_is_in_nobodys_way(place, in_pairs):
    observations = stream([3, 2])
    events = [event for o in observations for event in (o, (o.stamp, score(o)))]
    strays = [
        sensed(FUTURE, FUTURE, 9, 0),
        # Nothing follows a reset with a reset.
        sensed(FUTURE + 5, FUTURE, 9, 0),
        sensed(FUTURE + 1, FUTURE - 5, 9, 4),
        (FUTURE + 2, 'fake'),
        (FUTURE + 3, None),
    ]
    join = StampJoin(in_pairs=in_pairs)
    joined = feed(join, [*events[:place], *strays, *events[place:]])
    expected = steps_of(observations)
    if in_pairs and place < len(events) and not isinstance(events[place], Sensed):
        # A reset whose successor is not the next one loses its score: its first step has no pair.
        stamp = events[place][0]
        expected = [pair for pair in expected if pair[0] != stamp or stamp not in RESETS]
    assert stamps(joined) == expected
    assert all(step.score == score(step.after) for step in joined)


def test_giving_up_names_the_frames_that_never_came():
    observations = stream([4])
    join = StampJoin()
    assert stamps(feed(join, [*observations, (observations[0].stamp, 'r')])) == []
    assert not join.has_passed(observations[2].stamp)
    join.add_score(observations[1].stamp, 'a')
    assert join.give_up(observations[3].stamp) == [o.stamp for o in observations[2:4]]
    assert stamps(join.pop()) == steps_of(observations[:2])
    assert join.has_passed(observations[3].stamp)
    assert not join.has_passed(observations[4].stamp)
    assert join.give_up(7) == []
    assert join.counts == {'steps whose frame could not be scored': 2}


class TestRestart:
    def test_what_was_before_is_forgotten(self):
        old, new = stream([5]), stream([3], first=1_000)
        join = StampJoin()
        feed(join, [*old, (old[0].stamp, 'r'), (old[2].stamp, 'x')])
        join.restart(1_000)
        assert join.in_flight == 0
        joined = feed(join, [*new, *((o.stamp, score(o)) for o in new)])
        assert stamps(joined) == steps_of(new)
        assert not join.counts

    def test_late_news_of_the_past_is_counted(self):
        old, new = stream([5]), stream([2], first=1_000)
        join = StampJoin()
        join.restart(1_000)
        feed(join, [*old, *((o.stamp, 'x') for o in old)])
        assert join.counts == {'observations in the past': 6, 'scores in the past': 6}
        joined = feed(join, [*new, *((o.stamp, score(o)) for o in new)])
        assert stamps(joined) == steps_of(new)

    @pytest.mark.parametrize('delivered', [0, 1, 2, 3, 4, 5, 6])
    def test_what_came_of_the_new_episode_already_stays(self, delivered):
        new = stream([2], first=1_000)
        events = [event for o in new for event in (o, (o.stamp, score(o)))]
        join = StampJoin()
        joined = feed(join, events[:delivered])
        join.restart(1_000)
        joined += feed(join, events[delivered:])
        assert stamps(joined) == steps_of(new)
        assert not join.counts

    def test_no_step_leads_from_the_old_episode_into_the_new_one(self):
        old = stream([3])
        first = sensed(1_000, old[-1].stamp, 1, 1)
        join = StampJoin()
        feed(join, [*old, *((o.stamp, 'x') for o in old)])
        join.restart(1_000)
        assert feed(join, [first, (1_000, 'y')]) == []
        assert join.counts == {'steps without their predecessor': 1}


def begins(joined):
    return [(step.after.stamp, step.begins) for step in joined if step.begins]


def test_the_first_whole_step_of_each_episode_begins_it():
    observations = stream([3, 2])
    lost = observations[1].stamp
    join = StampJoin()
    joined = feed(
        join,
        [*observations, *((o.stamp, o.stamp if o.stamp != lost else None) for o in observations)],
    )
    assert begins(joined) == [(observations[2].stamp, True), (observations[5].stamp, True)]


@pytest.mark.parametrize(
    ('played', 'heard_from'),
    [
        (1, 0),
        (3, 0),
        (3, 1),  # its reset was not heard, so that its first step has nothing before it
    ],
)
def test_a_robot_that_starts_anew_in_its_first_episode_begins_another_one(played, heard_from):
    """It counts from the same number again, and what was before was broken off."""
    broken_off = stream([5])[: played + 1]
    anew = stream([5], first=1_000)[heard_from:]
    join = StampJoin()
    feed(join, [*broken_off, *((o.stamp, score(o)) for o in broken_off)])
    joined = feed(join, [*anew, *((o.stamp, score(o)) for o in anew)])
    first = anew[1].stamp
    assert begins(joined) == [(first, True)]


def test_a_discarded_episode_is_told_from_an_earlier_one_of_the_same_number():
    def thrown_away(observations):
        last = observations[-1]
        return sensed(last.stamp + 7, last.stamp, 0, last.step + 1, True)._replace(discarded=True)

    broken_off, anew = stream([5])[:4], stream([5], first=1_000)[:2]
    for heard, runs in ((broken_off, True), ([*broken_off, *anew], False)):
        join = StampJoin()
        feed(join, [*broken_off, *((o.stamp, score(o)) for o in broken_off)])
        feed(join, heard[len(broken_off) :])
        assert join.discard(thrown_away(heard)) == runs
