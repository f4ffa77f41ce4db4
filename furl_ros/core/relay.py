# SPDX-License-Identifier: Apache-2.0
"""Who acts: the relay of FuRL (arXiv 2406.00645, section 4.3)."""

from typing import Any

import numpy as np

from furl_ros.core.storage import generator_from_json, generator_to_json

TURN = 50
MULTIPLES = (1, 2, 3, 4)
VLM, SAC = 'vlm', 'sac'


class Relay:
    """Two agents take turns within each episode, until enough positive frames are known.

    The period of the turns is drawn per episode; who starts alternates by episode.

    Args:
        enabled: False for methods with one agent: then the VLM agent always acts.
        positives: the relay stops for good at this many positive frames.
        seed: of the drawn periods.
        turn: shortest turn in steps; each episode has turns of 1, 2, 3 or 4 times it.
    """

    def __init__(self, enabled: bool, positives: int, seed: int, turn: int = TURN) -> None:
        self.active = enabled
        self.limit = positives
        self.turn = turn
        self.positives = 0
        self.episodes = 0
        self.generator = np.random.default_rng([seed, 2])
        self.turns: dict[int, tuple[int, int]] = {}
        # Before the newest episode: its source, that one's turns, the generator.
        self._before: tuple[int, tuple[int, int] | None, dict[str, Any]] = (-1, None, {})

    def start_episode(self, source: int = 0) -> None:
        """Draw the period and the starter of the next episode of a source."""
        turns = self.turns.get(source)
        self._before = source, turns, generator_to_json(self.generator)
        period = self.turn * MULTIPLES[self.generator.integers(len(MULTIPLES))]
        self.turns[source] = (period, self.episodes % 2)
        self.episodes += 1

    def forget_episode(self, source: int = 0) -> None:
        """The running episode of a source was thrown away; the next one has its turns."""
        self.episodes -= 1
        last, turns, generator = self._before
        # Where others have begun since, theirs were drawn after it.
        if last != source:
            return
        self.generator = generator_from_json(generator)
        self.turns.pop(source)
        if turns is not None:
            self.turns[source] = turns

    def agent(self, step: int, source: int = 0) -> str:
        """Who acts at a step (0 is the first) of the running episode."""
        if not self.active:
            return VLM
        period, starter = self.turns[source]
        return (VLM, SAC)[(step // period + starter) % 2]

    def add_positives(self, count: int) -> None:
        """Count the positive frames of a finished episode; may end the relay."""
        self.positives += count
        if self.positives >= self.limit:
            self.active = False

    def state(self) -> dict[str, Any]:
        """Everything, JSON-able."""
        return {
            'active': self.active,
            'positives': self.positives,
            'episodes': self.episodes,
            'generator': generator_to_json(self.generator),
            'turns': [[source, *turn] for source, turn in self.turns.items()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over ``state``."""
        self.active, self.positives = state['active'], state['positives']
        self.episodes = state['episodes']
        self.generator = generator_from_json(state['generator'])
        # Checkpoints of earlier versions have no running episodes.
        self.turns = {source: (period, who) for source, period, who in state.get('turns', [])}
