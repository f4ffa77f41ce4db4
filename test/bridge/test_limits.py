# SPDX-License-Identifier: Apache-2.0
"""Queues hold all that their readers may be behind, whatever the settings allow."""

import dataclasses

import pytest

from furl_ros.bridge import limits, qos
from furl_ros.bridge.config import LearnerNodeConfig
from furl_ros.bridge.join import StampJoin
from furl_ros.core.config import AlignConfig


def high(kind, name):
    return next(f for f in dataclasses.fields(kind) if f.name == name).metadata['high']


def test_the_settings_keep_to_the_limits():
    assert high(LearnerNodeConfig, 'max_in_flight') == limits.MOST_IN_FLIGHT
    assert high(LearnerNodeConfig, 'publish_every') == limits.MOST_PUBLISH_EVERY
    assert high(AlignConfig, 'publish_every') == limits.MOST_PUBLISH_EVERY


def test_frames_and_actions_of_all_steps_under_way_fit():
    # Episodes of one step: two observations, and two frames, for each.
    assert qos.LOCKSTEP.depth > 2 * limits.MOST_IN_FLIGHT


@pytest.mark.parametrize('publish_every', [1, 2, 50, limits.MOST_PUBLISH_EVERY])
def test_the_alignment_may_stand_still(publish_every):
    lead = limits.alignment_lead(publish_every)
    # The learner waits at this lead; what is under way then still comes.
    assert qos.ALIGNED.depth >= lead + 2 * limits.MOST_IN_FLIGHT
    # The alignment speaks after publish_every transitions, or 2 * publish_every observations: it
    # must get these before the learner waits for it, with what is under way still missing.
    assert lead >= 2 * publish_every + 2 * limits.MOST_IN_FLIGHT


def test_what_waits_in_a_join_is_never_given_up_in_lock_step():
    assert StampJoin().max_waiting > 2 * limits.MOST_IN_FLIGHT
