# SPDX-License-Identifier: Apache-2.0
"""Whatever comes in between, in any order: every step once, with the score of its own frame."""

from collections import Counter
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from furl_ros.bridge.join import Sensed, StampJoin
from furl_ros.bridge.limits import JOIN_WAITING

many = settings(max_examples=4 * settings().max_examples)

GAP = 7  # nanoseconds between two observations: what is nobody's stamp fits in between
FIRST = 100
FUTURE = 10**18


class Scored(NamedTuple):
    """A frame's score arrives; None: BAD_FRAME."""

    stamp: int
    score: str | None


class Restart(NamedTuple):
    """The learner asked for an episode, and this is its first stamp."""

    stamp: int


Event = Sensed | Scored | Restart


def sensed(stamp, previous, episode, step, last=False):
    state, action = np.zeros(2, np.float32), np.zeros(min(step, 1), np.float32)
    return Sensed(stamp, previous, episode, step, state, action, -1.0, False, False, last)


class Episode(NamedTuple):
    """An episode of some steps, which may be broken off, and how the learner asked for it."""

    steps: int
    broken_off: bool
    restart: bool


episodes = st.lists(
    st.builds(Episode, st.integers(0, 6), st.booleans(), st.booleans()), min_size=1, max_size=5
)


def observations_of(plan):
    """Observations of each episode; stamps grow over resets."""
    stamps = iter(range(FIRST, FUTURE, GAP))
    found = []
    for number, episode in enumerate(plan):
        own = [next(stamps) for _ in range(episode.steps + 1)]
        found.append(
            [
                sensed(
                    stamp,
                    own[max(step - 1, 0)],
                    number,
                    step,
                    0 < step == episode.steps and not episode.broken_off,
                )
                for step, stamp in enumerate(own)
            ]
        )
    return found


@st.composite
def streams(draw, restarts=True, bad=True):
    """What one source and its reward node send: observations in order, scores in any order."""
    plan = draw(episodes)
    keyed: list[tuple[int, Event]] = []
    for episode, observed in zip(plan, observations_of(plan), strict=True):
        for observation in observed:
            keyed.append((observation.stamp, observation))
        if restarts and episode.restart:
            # The service's answer may overtake observations, those before it too, or be late.
            first = observed[0].stamp
            keyed.append((draw(st.integers(first - 3 * GAP, observed[-1].stamp)), Restart(first)))
    own = [event for _, event in keyed if isinstance(event, Sensed)]
    end = own[-1].stamp + GAP
    moments = st.integers(FIRST - 1, end)
    for observation in own:
        score = f'score of {observation.stamp}'
        if bad and draw(st.integers(0, 4)) == 0:
            score = None
        keyed.append((draw(moments), Scored(observation.stamp, score)))
    # Again: the same observation, and another score of the same frame.
    for observation in draw(st.lists(st.sampled_from(own), max_size=3)):
        keyed.append((draw(st.integers(observation.stamp, end)), observation))
        keyed.append(
            (draw(moments), Scored(observation.stamp, draw(st.sampled_from(['2nd', None]))))
        )
    # Of frames that nobody asked for, before, between and after the others'.
    nobodys = st.one_of(st.integers(0, FIRST - 1), st.just(FUTURE), moments).filter(
        lambda stamp: stamp < FIRST or stamp % GAP != FIRST % GAP
    )
    for stamp in draw(st.lists(nobodys, max_size=4)):
        keyed.append((draw(moments), Scored(stamp, 'nobody asked')))
    return [event for _, event in sorted(keyed, key=lambda pair: pair[0])]


def expected(events, in_pairs=False):
    """The plain reference: (stamp before, stamp after, score, score before) of every step.

    An episode's observations wait in order for the first score of their frame. A reset waits no
    longer than its episode; what was before a restart is dropped with it.
    """
    waiting: list[Sensed] = []
    scores: dict[int, str | None] = {}
    seen: set[int] = set()
    floor, steps = 0, []
    for event in events:
        if isinstance(event, Restart):
            floor = max(floor, event.stamp)
            waiting = [o for o in waiting if o.stamp >= floor]
        elif isinstance(event, Scored):
            scores.setdefault(*event)
        elif event.stamp >= floor and event.stamp not in seen:
            seen.add(event.stamp)
            waiting.append(event)
        while waiting and (waiting[0].stamp in scores or [o.step for o in waiting[:2]] == [0, 0]):
            o = waiting.pop(0)
            score, before = scores.setdefault(o.stamp, None), scores.get(o.previous_stamp)
            known = o.step > 0 and o.previous_stamp in seen and o.previous_stamp >= floor
            if known and score is not None and (before is not None or not in_pairs):
                steps.append((o.previous_stamp, o.stamp, score, before))
    return steps


def feed(join, event):
    """Deliver one event; what comes out, as ``expected`` has it."""
    if isinstance(event, Restart):
        join.restart(event.stamp)
    elif isinstance(event, Scored):
        join.add_score(*event)
    else:
        join.add_observation(event)
    steps = [told(step) for step in join.pop()]
    assert len(join._waiting) <= join.max_waiting
    assert len(join._scores) <= join.max_early + join.max_waiting
    assert len(join._known) <= join.max_waiting + 64
    assert len(join._done) <= 64
    return steps


def told(step):
    assert step.after.previous_stamp == step.before.stamp
    return step.before.stamp, step.after.stamp, step.score, step.previous_score


def feed_all(join, events):
    return [step for event in events for step in feed(join, event)]


def give_up_all(join):
    """What comes out when nothing is waited for any more."""
    if join.waiting:
        join.give_up(join.waiting[-1])
    return [told(step) for step in join.pop()]


@many
@given(streams(), st.booleans())
def test_what_comes_out_is_what_the_reference_says(events, in_pairs):
    join = StampJoin(in_pairs=in_pairs)
    assert join.max_waiting == JOIN_WAITING
    assert feed_all(join, events) == expected(events, in_pairs)
    assert not join.waiting


@given(st.lists(streams(), min_size=2, max_size=3), st.randoms(use_true_random=False))
def test_sources_do_not_meet(sources, random):
    """They may have the same stamps, and are counted together."""
    counts: Counter = Counter()
    joins = [StampJoin(counts=counts) for _ in sources]
    order = [index for index, events in enumerate(sources) for _ in events]
    random.shuffle(order)
    queues = [iter(events) for events in sources]
    found: list[list[tuple]] = [[] for _ in sources]
    for index in order:
        found[index] += feed(joins[index], next(queues[index]))
    assert found == [expected(events) for events in sources]


@st.composite
def with_strays(draw):
    """A stream, and the same with observations of nobody's in it, scored or not."""
    events = draw(streams(restarts=False))
    own = [event for event in events if isinstance(event, Sensed)]
    places = st.integers(0, len(events))
    inserted = []
    for number in range(draw(st.integers(1, 4))):
        stamp = draw(st.sampled_from([FUTURE, 3, own[len(own) // 2].stamp + 2])) + 10 * number
        # It may claim to follow one of ours, or another of them.
        previous = draw(
            st.one_of(
                st.sampled_from(own).map(lambda o: o.stamp),
                st.sampled_from([stamp, stamp - 10, stamp - 1]),
            )
        )
        stray = sensed(stamp, previous, draw(st.integers(0, 5)), draw(st.integers(0, 7)))
        inserted.append((draw(places), stray))
        if draw(st.booleans()):
            score = draw(st.sampled_from(['stray', None]))
            inserted.append((draw(places), Scored(stamp, score)))
    mixed = list(events)
    for place, event in sorted(inserted, key=lambda pair: pair[0], reverse=True):
        mixed.insert(place, event)
    return events, mixed


@many
@given(with_strays())
def test_no_observation_of_nobodys_costs_a_step(streams):
    """Stamped in the past or the future, it has no clock to set."""
    events, mixed = streams
    join = StampJoin()
    found = feed_all(join, mixed)
    own = {event.stamp for event in events if isinstance(event, Sensed)}
    observed = [event for event in mixed if isinstance(event, Sensed)]
    stamps = {o.stamp for o in observed}
    if any(
        o.stamp not in own and o.step > 0 and o.previous_stamp in stamps - {o.stamp}
        for o in observed
    ):
        # It may be a step, of ours or of an episode of theirs, and is waited for.
        found += give_up_all(join)
    steps = [step[:3] for step in found if step[1] in own]
    assert steps == [step[:3] for step in expected(events)]
    assert all(score != 'stray' for _, _, score in steps)
    assert max(Counter(found).values(), default=1) == 1


@given(
    st.lists(st.sampled_from([True, False, None]), min_size=30, max_size=400),
    st.integers(1, 20),
)
def test_frames_that_are_never_scored_cost_their_own_steps_alone(fates, most):
    """True: scored at once; False: never; None: BAD_FRAME. Memory stays as it was promised."""
    join = StampJoin(max_waiting=most, max_early=most)
    (observed,) = observations_of([Episode(len(fates), True, False)])
    found = feed_all(join, [observed[0], Scored(observed[0].stamp, 'reset')])
    for observation, fate in zip(observed[1:], fates, strict=True):
        found += feed(join, observation)
        if fate is not False:
            found += feed(join, Scored(observation.stamp, 'own' if fate else None))
    found += give_up_all(join)
    scored = [o.stamp for o, fate in zip(observed[1:], fates, strict=True) if fate]
    assert [step[1] for step in found] == scored
    assert all(step[2] == 'own' for step in found)
