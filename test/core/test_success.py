# SPDX-License-Identifier: Apache-2.0
"""Shares of successes and their intervals."""

import math

import pytest

from furl_ros.core.success import describe, summarize, wilson


@pytest.mark.parametrize(
    ('successes', 'episodes', 'low', 'high'),
    # Of Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_intervals_are_those_of_the_literature(successes, episodes, low, high):
    assert wilson(successes, episodes) == pytest.approx((low, high), abs=1e-4)


def test_a_summary_says_how_many_and_how_sure():
    summary = summarize([True, True, False, True], [True, False, False, False])
    assert summary['success_any_step'] == 0.75
    assert summary['success_last_step'] == 0.25
    text = describe(summary, 4)
    assert text == 'success 0.75 (95 % interval 0.30 to 0.95), at the last step 0.25, 4 episodes'


def test_nothing_is_known_of_no_episodes():
    assert all(map(math.isnan, summarize([], []).values()))
