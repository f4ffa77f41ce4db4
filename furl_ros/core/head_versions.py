# SPDX-License-Identifier: Apache-2.0
"""Which version of the reward heads an update uses."""

from furl_ros.core.heads import RewardHeads
from furl_ros.core.trainer import Trainer


class HeadVersions:
    """Hands the versions of the heads to a trainer: each as it comes, or each at its step.

    Args:
        every: bit for bit, the version that has seen the newest whole multiple of so many
            transitions belongs to an update, however soon others came; 0: the first one to all.
            None: always the one that came last.
    """

    def __init__(self, every: int | None) -> None:
        self._every = every
        self._trainer: Trainer | None = None
        # By the transitions that they have seen: heads and version number.
        self._kept: dict[int, tuple[RewardHeads, int]] = {}

    def __len__(self) -> int:
        """How many are kept; those before the one in use are forgotten."""
        return len(self._kept)

    def add(self, heads: RewardHeads, version: int, transitions: int) -> None:
        """A version has come that has seen so many transitions."""
        self._kept[transitions] = heads, version
        if self._trainer is not None and self._every is None:
            self._use(transitions)

    def begin(self, trainer: Trainer, most: float) -> None:
        """Training begins, or goes on from a checkpoint.

        Args:
            trainer: gets the heads from now on.
            most: transitions that a version can have seen; others are forgotten.
        """
        self._trainer = trainer
        if trainer.heads is not None:
            known = trainer.heads, trainer.heads_version
            self._kept.setdefault(trainer.heads_transitions, known)
        self._kept = {seen: heads for seen, heads in self._kept.items() if seen <= most}
        # Bit for bit, those that were in use go on to be, until the next ones are due.
        if self._kept and (trainer.heads is None or self._every is None):
            self._use(max(self._kept))

    def give_due(self) -> bool:
        """Before an update: use the version that belongs to it; False when it has not come."""
        if not self._every:
            return True
        needed = self._trainer.steps // self._every * self._every
        if max(self._kept, default=-1) < needed:
            return False
        # Newer ones may be here already: how soon they come is chance.
        self._use(min(seen for seen in self._kept if seen >= needed))
        return True

    def _use(self, transitions: int) -> None:
        self._trainer.set_heads(*self._kept[transitions], transitions)
        self._kept = {seen: heads for seen, heads in self._kept.items() if seen >= transitions}
