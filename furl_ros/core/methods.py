# SPDX-License-Identifier: Apache-2.0
"""The methods of the paper's comparison, as data (arXiv 2406.00645, section 5)."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Method:
    """What one method does.

    Attributes:
        relay: a plain SAC partner takes turns with the VLM-rewarded agent.
        vlm: the (first) agent's reward has the VLM term.
        heads: 'none' (plain cosine), 'random' (fixed random heads) or 'trained' (FuRL).
        goal_image: stage 1 of the head training uses a goal image.
        doc: one line for people.
    """

    relay: bool
    vlm: bool
    heads: Literal['none', 'random', 'trained']
    goal_image: bool
    doc: str


METHODS: dict[str, Method] = {
    'furl': Method(True, True, 'trained', True, 'FuRL: trained heads, goal image, relay'),
    'furl-nogoal': Method(True, True, 'trained', False, 'FuRL without a goal image'),
    'relay': Method(True, True, 'none', False, 'relay with the plain cosine as VLM reward'),
    'vlm-proj': Method(False, True, 'random', False, 'one agent, cosine through random heads'),
    'vlm': Method(False, True, 'none', False, 'one agent, plain cosine'),
    'sac': Method(False, False, 'none', False, 'one agent, task reward alone'),
}
