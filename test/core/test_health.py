# SPDX-License-Identifier: Apache-2.0
"""Limits of values, and counts that grow."""

import math

import pytest

from furl_ros.core.health import (
    EVERYWHERE,
    RULES,
    WINDOW_S,
    Age,
    Level,
    Rate,
    Recent,
    Rule,
    count_not_finite,
    disk_left_megabytes,
    judge,
)

HIGH = Rule('age_s', 1, 5, '')
LOW = Rule('left_mb', 200, 20, '', low_is_bad=True)


@pytest.mark.parametrize(
    ('rule', 'value', 'level'),
    [
        (HIGH, 1, Level.OK),
        (HIGH, 1.1, Level.WARN),
        (HIGH, 5.1, Level.ERROR),
        (HIGH, math.nan, Level.OK),
        (LOW, 200, Level.OK),
        (LOW, 199, Level.WARN),
        (LOW, 0, Level.ERROR),
    ],
)
def test_a_value_is_judged_by_its_limits(rule, value, level):
    assert rule.level(value) is level


def test_each_value_beyond_a_limit_is_found_and_named():
    rules = (Rule('*/age_s', 1, 5, ''), LOW)
    values = {'front/age_s': 2.0, 'side/age_s': 0.5, 'wrist/age_s': 9, 'left_mb': 3, 'other': 'x'}
    found = judge(rules, values)
    assert [(finding.level, finding.text) for finding in found] == [
        (Level.WARN, 'front/age_s is 2, over 1'),
        (Level.ERROR, 'wrist/age_s is 9, over 5'),
        (Level.ERROR, 'left_mb is 3, under 20'),
    ]
    assert judge(rules, {}) == []


@pytest.mark.parametrize('node', RULES)
def test_an_error_is_worse_than_a_warning(node):
    for rule in (*EVERYWHERE, *RULES[node]):
        if math.isfinite(rule.warn):
            assert rule.warn > rule.error if rule.low_is_bad else rule.warn < rule.error
        assert rule.meaning.endswith('.')


def test_growth_is_forgotten_after_the_window():
    recent = Recent(0)
    assert recent({}, 1) == {}
    assert recent({'drops': 3}, 2) == {'drops': 3}
    assert recent({'drops': 5, 'calm': 0}, 3) == {'drops': 5}
    for second in range(4, 3 + round(WINDOW_S)):
        assert recent({'drops': 5, 'calm': 0}, second)
    assert recent({'drops': 5, 'calm': 0}, 3 + WINDOW_S) == {}
    assert recent({'drops': 6, 'calm': 0}, 4 + WINDOW_S) == {'drops': 1}


def test_what_grew_between_two_looks_far_apart_is_seen():
    recent = Recent(0)
    recent({'drops': 1}, 1)
    assert recent({'drops': 2}, 1_000) == {'drops': 1}
    assert recent({'drops': 2}, 1_000 + WINDOW_S) == {}


def test_a_rate_is_that_of_the_window():
    rate = Rate(0)
    assert [rate(total, second) for second, total in enumerate((8, 16), 1)] == [8, 8]
    for second in range(3, 30):
        now = rate(16, second)
    assert now == 0


def test_an_age_begins_anew_with_each_value():
    age = Age(0)
    assert [age(1, 2.0), age(1, 5.0), age(2, 6.0), age(2, 7.5)] == [0, 3, 0, 1.5]


def test_figures_that_are_not_finite_are_counted():
    assert count_not_finite([1.0, math.nan, math.inf, -math.inf, 0.0]) == 3


def test_disk_left_is_that_of_the_folder_that_is_there(tmp_path):
    left = disk_left_megabytes(tmp_path)
    assert left > 0
    assert disk_left_megabytes(tmp_path / 'not' / 'yet') == pytest.approx(left, rel=0.1)
