# SPDX-License-Identifier: Apache-2.0
"""Several robots that wait for the learner give equally many steps."""


class FairShare:
    """Holds back a robot that is far ahead of the others.

    A robot that has been silent for a while holds nobody back, and when it speaks again it does not
    have to catch up.

    Args:
        robots: how many there are.
        lead: steps that one may be ahead of the slowest.
        patience: seconds of silence after which a robot no longer counts.
    """

    def __init__(self, robots: int, lead: int, patience: float) -> None:
        self.lead, self.patience = lead, patience
        self._begun = [0] * robots
        self._heard = [-float('inf')] * robots

    def hear(self, robot: int, now: float) -> None:
        """A robot has spoken, at this time in seconds."""
        if now - self._heard[robot] > self.patience:
            others = self._counting(now)
            self._begun[robot] = max(self._begun[robot], min(others, default=0))
        self._heard[robot] = now

    def begin(self, robot: int) -> None:
        """A robot begins a step."""
        self._begun[robot] += 1

    def may_begin(self, robot: int, now: float) -> bool:
        """Whether a robot's next step keeps it within the lead."""
        slowest = min(self._counting(now), default=self._begun[robot])
        return self._begun[robot] < slowest + self.lead

    def _counting(self, now: float) -> list[int]:
        pairs = zip(self._begun, self._heard, strict=True)
        return [begun for begun, heard in pairs if now - heard <= self.patience]
