# SPDX-License-Identifier: Apache-2.0
"""The annotated picture: what is on it, and that nothing that may come breaks it."""

import math

import numpy as np
import pytest

from furl_ros.monitor.pictures import AGENTS, ALIGNED, RAW, SIZE, SUCCESS, Moment, annotated

FRAME = np.full((64, 64, 3), (250, 250, 10), np.uint8)


def moment(step, **fields):
    values = {'cosine': 0.2, 'reward': 0.5, 'success': False, 'agent': 'vlm', 'heads_version': 7}
    return Moment(step, **(values | fields))


def count(picture, colour):
    """How many pixels have a colour."""
    return int((picture == colour).all(axis=2).sum())


@pytest.mark.parametrize('size', [SIZE, (320, 240), (160, 100), (501, 799), (1280, 400)])
def test_it_has_the_size_that_was_asked_for_and_shows_the_frame(size):
    picture = annotated(FRAME, 'open the drawer', [moment(0), moment(1)], size)
    assert (picture.shape, picture.dtype) == ((size[1], size[0], 3), np.uint8)
    assert count(picture, FRAME[0, 0]) > 0.1 * size[0] * size[1]
    assert count(picture, RAW)
    assert count(picture, ALIGNED)
    assert count(picture, AGENTS['vlm'])


def test_a_higher_reward_is_a_longer_bar():
    low, high = (
        count(annotated(FRAME, '', [moment(0, reward=reward)]), ALIGNED) for reward in (0.1, 0.9)
    )
    assert high > 2 * low


def test_success_is_seen_and_remembered():
    without = annotated(FRAME, '', [moment(0), moment(1)])
    before = annotated(FRAME, '', [moment(0, success=True), moment(1)])
    assert not count(without, SUCCESS)
    assert count(before, SUCCESS)


def test_the_strip_says_who_acted_when():
    moments = [moment(step, agent='random' if step < 50 else 'sac') for step in range(100)]
    band = annotated(FRAME, '', moments)[-14]
    sac = np.flatnonzero((band == AGENTS['sac']).all(axis=1))
    random = np.flatnonzero((band == AGENTS['random']).all(axis=1))
    assert len(random) > 100
    assert len(sac) > 100
    assert random.max() < sac.min()


def test_prompt_and_numbers_make_a_difference():
    pictures = [
        annotated(FRAME, prompt, [moment(0, heads_version=version)])
        for prompt, version in (('open', 1), ('close', 1), ('open', 2))
    ]
    assert (pictures[0][:32] != pictures[1][:32]).any()
    assert (pictures[0][:32] == pictures[2][:32]).all()
    assert (pictures[0] != pictures[2]).any()


@pytest.mark.parametrize(
    'moments',
    [
        [],
        [moment(3)],
        [moment(0, cosine=math.nan, reward=math.nan)],
        [moment(n, cosine=math.nan if n % 2 else 0.1) for n in range(30)],
        [moment(n, cosine=0.0, reward=0.0, agent='') for n in range(3)],
        [moment(0, agent='somebody else'), moment(100_000)],
        [moment(n, cosine=math.inf, reward=-5.0) for n in range(3)],
        [moment(n) for n in range(5_000)],
    ],
    ids=['none', 'one', 'not scored', 'gaps', 'constant', 'stranger', 'out of range', 'long'],
)
def test_any_episode_can_be_drawn(moments):
    assert count(annotated(FRAME, 'x', moments), FRAME[0, 0])


@pytest.mark.parametrize(
    'prompt', ['', 'закрой ящик', 'two\nlines', 'word ' * 100, '\x00\x07', '関']
)
def test_any_prompt_can_be_written(prompt):
    assert annotated(FRAME, prompt, [moment(0)]).shape == (SIZE[1], SIZE[0], 3)


@pytest.mark.parametrize('shape', [(1, 1), (480, 640), (3000, 40), (64, 2)])
def test_any_frame_fits(shape):
    frame = np.zeros((*shape, 3), np.uint8)
    assert annotated(frame, '', []).shape == (SIZE[1], SIZE[0], 3)


@pytest.mark.parametrize(
    ('frame', 'size'),
    [
        (np.zeros((8, 8), np.uint8), SIZE),
        (np.zeros((8, 8, 4), np.uint8), SIZE),
        (np.zeros((8, 8, 3), np.float32), SIZE),
        (np.zeros((0, 8, 3), np.uint8), SIZE),
        (FRAME, (100, 400)),
    ],
)
def test_what_is_no_frame_is_refused(frame, size):
    with pytest.raises(ValueError, match='accepted: '):
        annotated(frame, '', [], size)
