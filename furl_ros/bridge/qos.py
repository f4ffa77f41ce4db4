# SPDX-License-Identifier: Apache-2.0
"""One quality of service per kind of topic; docs/topics.md lists which topic uses which."""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

# Frames in flight are bounded far below this depth, so a late or restarted reader still gets
# every message that it has not answered.
LOCKSTEP_DEPTH = 64

LOCKSTEP = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=LOCKSTEP_DEPTH,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""Frames, observations, actions, scores: nothing may be lost."""

ALIGNMENT_DEPTH = 1_024
"""Queue of the alignment's readers: the learner never runs so far ahead of it."""

LOCKSTEP_DEEP = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=ALIGNMENT_DEPTH,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""The same for a reader that may lag by more than the frames in flight."""

SENSOR = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=5,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
"""A free-running camera: the newest frame counts."""

LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""The newest value, also for those who come late: heads, prompt, goal image, status."""

EVENTS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
"""Results and figures for people."""
