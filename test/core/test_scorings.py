# SPDX-License-Identifier: Apache-2.0
"""Which method takes which scoring, and what is refused."""

import dataclasses

import pytest

from furl_ros.core.config import ScoringConfig
from furl_ros.core.methods import METHODS
from furl_ros.core.scorings import SCORINGS, accepted_scorings, check_baseline, check_scoring
from furl_ros.core.settings import SettingError


def test_the_cosine_is_the_default_and_every_method_takes_it():
    assert ScoringConfig().scoring == 'cosine'
    assert all('cosine' in accepted_scorings(method) for method in METHODS)
    choices = {f.name: f.metadata['choices'] for f in dataclasses.fields(ScoringConfig)}
    assert choices['scoring'] == tuple(SCORINGS)


def test_methods_with_heads_keep_the_cosine_through_them():
    taken = {method: accepted_scorings(method) for method in METHODS}
    every = ('cosine', 'goal_baseline', 'goal_image', 'potential', 'progress')
    through_heads = ('cosine', 'potential', 'progress')
    assert taken == {
        'furl': through_heads,
        'furl-nogoal': through_heads,
        'vlm-proj': through_heads,
        'relay': every,
        'vlm': every,
        'sac': through_heads,
    }


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('scoring', SCORINGS)
def test_any_other_is_refused_in_one_line(method, scoring):
    if scoring in accepted_scorings(method):
        check_scoring(method, scoring)
        return
    with pytest.raises(SettingError) as caught:
        check_scoring(method, scoring)
    accepted = ', '.join(accepted_scorings(method))
    assert str(caught.value) == f'scoring is {scoring!r}; accepted with method {method}: {accepted}'


@pytest.mark.parametrize('baseline', ['', '  ', 'open a drawer', ' Open  a drawer '])
def test_a_baseline_must_say_something_else(baseline):
    with pytest.raises(SettingError, match=r'baseline_prompt is .*accepted with scoring goal_base'):
        check_baseline('goal_baseline', 'open a drawer', baseline)
    check_baseline('cosine', 'open a drawer', baseline)
    check_baseline('goal_baseline', 'open a drawer', 'a drawer')
