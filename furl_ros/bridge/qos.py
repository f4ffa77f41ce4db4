# SPDX-License-Identifier: Apache-2.0
"""One quality of service per kind of topic; docs/topics.md lists which topic uses which."""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from furl_ros.bridge.limits import ALIGNED_DEPTH, LOCKSTEP_DEPTH

LOCKSTEP = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=LOCKSTEP_DEPTH,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""Frames and actions, and who waits for observations and scores: nothing may be lost."""

ALIGNED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=ALIGNED_DEPTH,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""Observations and scores, and the alignment that reads them: it may lag by far more."""

SENSOR = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=5,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
"""A free-running camera: the newest frame counts."""

VIEWS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=20,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""What a physical arm's cameras saw at its observations: a second of it, for it may be large."""

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

NEWEST = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
"""Who only looks: the newest one is taken when there is time, and nobody waits for it."""

WATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=200,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
"""Who looks at a whole episode, and may miss some of it."""
