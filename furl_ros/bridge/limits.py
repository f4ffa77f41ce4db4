# SPDX-License-Identifier: Apache-2.0
"""How far the nodes may run ahead of each other, and the queues that hold what lies between.

A reliable writer that keeps the last N messages overwrites what a reader that stands still (it was
stopped, starved, swapped out) has not taken: so nothing may be N messages ahead of anybody who
reads it. All about that is here, light to import; ``test/bridge/test_limits.py`` checks that it
fits.
"""

MOST_IN_FLIGHT = 60
"""Most steps of a source that may be under way: not scored, or not learned from."""

LOCKSTEP_DEPTH = 2 * MOST_IN_FLIGHT + 8
"""Queue of what is read by nodes that hold the robot up: frames and actions. Each step that is
under way has a frame, and an episode of one step has two; the rest is for a reset."""

MOST_PUBLISH_EVERY = 500
"""Most transitions between two versions of the heads."""


def alignment_lead(publish_every: int) -> int:
    """Observations of one source that the learner may be ahead of the newest heads.

    Until there are new heads ``publish_every`` transitions must come together, of all sources
    together, and each may be an episode of its own, with two observations.
    """
    return 2 * publish_every + 2 * MOST_IN_FLIGHT


ALIGNED_DEPTH = alignment_lead(MOST_PUBLISH_EVERY) + LOCKSTEP_DEPTH
"""Queue of what the alignment reads, which holds nobody up until then: observations and scores."""

JOIN_WAITING = LOCKSTEP_DEPTH
"""Observations that wait for the score of their frame; more were never under way."""

MOST_TRIALS = 10_000
"""Most episodes of an evaluation that somebody asks for."""

LARGEST_FIRST_SEED = 2**31 - 1 - MOST_TRIALS
"""Largest seed of its first one: those of environments have 31 bits."""
