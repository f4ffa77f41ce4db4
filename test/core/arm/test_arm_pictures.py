# SPDX-License-Identifier: Apache-2.0
"""Pictures of a camera: cut out, made smaller, turned, mirrored, stacked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from furl_ros.core.arm.pictures import stack, view
from furl_ros.core.arm.profile import Camera

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def test_what_is_not_asked_for_is_left_alone():
    result = view(Camera(), PICTURE)
    assert np.array_equal(result, PICTURE)
    assert np.shares_memory(result, PICTURE)


def test_a_part_is_cut_out():
    expected = PICTURE[10:15, 3:23]
    assert np.array_equal(view(Camera(roi=(3, 10, 20, 5)), PICTURE), expected)
    assert np.array_equal(view(Camera(roi=(0, 0, 60, 40)), PICTURE), PICTURE)


@pytest.mark.parametrize('roi', [(41, 0, 20, 40), (0, 1, 60, 40), (60, 40, 1, 1)])
def test_a_part_outside_is_refused(roi):
    with pytest.raises(ValueError, match=r'roi is \[.*\]; accepted: a part of 60x40'):
        view(Camera(roi=roi), PICTURE)


def test_it_is_turned_clockwise():
    """What is at the top left goes to the top right, and on."""
    corner = PICTURE[0, 0]
    for degrees, row, column, size in (
        (0, 0, 0, (40, 60)),
        (90, 0, -1, (60, 40)),
        (180, -1, -1, (40, 60)),
        (270, -1, 0, (60, 40)),
    ):
        turned = view(Camera(rotate=degrees), PICTURE)
        assert turned.shape[:2] == size
        assert np.array_equal(turned[row, column], corner)


def test_it_is_mirrored():
    for flip, expected in (
        ('horizontal', PICTURE[:, ::-1]),
        ('vertical', PICTURE[::-1]),
        ('both', PICTURE[::-1, ::-1]),
    ):
        assert np.array_equal(view(Camera(flip=flip), PICTURE), expected)


def test_first_cut_then_turned_then_mirrored():
    camera = Camera(roi=(0, 0, 20, 10), rotate=90, flip='vertical')
    expected = np.rot90(PICTURE[:10, :20], -1)[::-1]
    assert np.array_equal(view(camera, PICTURE), expected)


def test_large_ones_are_made_smaller():
    """Each pixel is the mean of those that it stands for."""
    picture = np.kron(PICTURE, np.ones((4, 4, 1), np.uint8))
    assert np.array_equal(view(Camera(shrink_to=40), picture), PICTURE)
    assert np.array_equal(view(Camera(shrink_to=160), picture), picture)
    turned = view(Camera(shrink_to=40, roi=(0, 0, 160, 160), rotate=90), picture)
    assert np.array_equal(turned, np.rot90(PICTURE[:, :40], -1))


@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from([0, 90, 180, 270]),
    st.sampled_from(['none', 'horizontal', 'vertical', 'both']),
)
def test_any_view_can_be_sent(height, width, rotate, flip):
    picture = np.zeros((height, width, 3), np.uint8)
    result = view(Camera(rotate=rotate, flip=flip, shrink_to=32), picture)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    assert min(result.shape[:2]) == min(height, width, 32)


def test_views_are_stacked():
    assert stack([PICTURE]) is PICTURE
    other = PICTURE[::-1]
    both = stack([PICTURE, other])
    assert np.array_equal(both.reshape(2, 40, 60, 3), [PICTURE, other])


def test_views_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match='views are 20x40, 60x40; accepted: one size'):
        stack([PICTURE, PICTURE[:, :20]])
