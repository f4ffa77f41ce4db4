# SPDX-License-Identifier: Apache-2.0
"""Success by the reward: when it is seen, and how often it is what the operator says."""

import math

import pytest

from furl_ros.core.arm.episodes import SUCCESS, Episodes
from furl_ros.core.arm.judge import AGREED, ONLY_OPERATOR, ONLY_SCORE, Judge
from furl_ros.core.arm.profile import Episode
from furl_ros.core.arm.profile import Judge as JudgeConfig


def judge(**values):
    made = Judge(JudgeConfig(**{'frames': 3, 'threshold': 0.5} | values))
    made.begin(100)
    return made


def seen(one, rewards, first=100):
    return [one.see(first + index, reward) for index, reward in enumerate(rewards)]


def test_so_many_frames_in_a_row():
    assert seen(judge(), [0.6, 0.6, 0.4, 0.6, 0.6, 0.6, 0.9]) == [False] * 5 + [True, False]
    assert not any(seen(judge(), [0.5, 0.5, 0.5])), 'above, not at'
    assert not any(seen(judge(), [0.6, math.nan, 0.6, 0.6]))


def test_nobody_looks_by_default():
    one = Judge(JudgeConfig())
    assert not one.is_asked
    assert not any(seen(one, [1.0] * 20))


def test_frames_of_the_episode_before_do_not_count():
    one = judge()
    assert not any(seen(one, [0.9] * 5, first=95))
    assert seen(one, [0.9] * 3) == [False, False, True]
    one.begin(500)
    assert not any(seen(one, [0.9] * 3))
    assert seen(one, [0.9] * 3, first=500) == [False, False, True]


def test_agreement_with_the_operator():
    one = judge(frames=1)
    assert math.isnan(one.agreement)
    for reward, success in ((0.9, True), (0.1, False), (0.9, False), (0.1, True), (0.9, True)):
        one.begin(100)
        one.see(100, reward)
        one.compare(success)
    assert dict(one.counts) == {AGREED: 3, ONLY_SCORE: 1, ONLY_OPERATOR: 1}
    assert one.agreement == pytest.approx(0.6)


@pytest.mark.parametrize('judged', [False, True])
def test_such_a_success_is_marked(judged):
    episodes = Episodes(Episode())
    episodes.reset(0.0)
    while episodes.step is not None:
        episodes.step_done(episodes.step, 0.0)
    assert episodes.tick(0.1) is None
    assert episodes.label(SUCCESS, judged)
    outcome = episodes.tick(0.2)
    assert (outcome.success, outcome.terminated, outcome.judged) == (True, True, judged)
