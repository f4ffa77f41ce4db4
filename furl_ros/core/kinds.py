# SPDX-License-Identifier: Apache-2.0
"""Names of the kinds of reward heads; their meaning is in ``furl_ros.core.heads``."""

PAPER, ANCHORED = 'paper', 'anchored'
HEADS = (ANCHORED, PAPER)
