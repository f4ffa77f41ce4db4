# SPDX-License-Identifier: Apache-2.0
"""Success as the aligned reward sees it: above a threshold for some frames in a row.

It may end episodes, marked as judged, or only be compared with what the operator says.
"""

from collections import Counter

from furl_ros.core.arm.profile import Judge as JudgeConfig

AGREED, ONLY_SCORE, ONLY_OPERATOR = 'agreed', 'only the score', 'only the operator'


class Judge:
    """Watches the scores of one robot's episodes.

    Attributes:
        counts: episodes that an operator labelled, by whether the score said the same.
    """

    def __init__(self, config: JudgeConfig) -> None:
        self.counts: Counter[str] = Counter()
        self._config = config
        self._since = 0
        self._row = 0
        self._seen = False

    @property
    def is_asked(self) -> bool:
        """Whether scores are looked at."""
        return self._config.frames > 0

    @property
    def ends_episodes(self) -> bool:
        """Whether a success that it sees ends the episode."""
        return self._config.ends

    def begin(self, stamp: int) -> None:
        """An episode begins with the observation of this stamp, nanoseconds."""
        self._since, self._row, self._seen = stamp, 0, False

    def see(self, stamp: int, reward: float) -> bool:
        """Take the score of a frame; whether it completes a success, once in an episode.

        Args:
            stamp: of the frame, nanoseconds; those of before the episode do not count.
            reward: through the heads; what is not a number is below every threshold.
        """
        if not self.is_asked or stamp < self._since or self._seen:
            return False
        self._row = self._row + 1 if reward > self._config.threshold else 0
        self._seen = self._row >= self._config.frames
        return self._seen

    def compare(self, success: bool) -> None:
        """An operator has labelled the episode."""
        if not self.is_asked:
            return
        if self._seen == success:
            self.counts[AGREED] += 1
        else:
            self.counts[ONLY_OPERATOR if success else ONLY_SCORE] += 1

    @property
    def agreement(self) -> float:
        """Share of the labelled episodes in which the score said the same; NaN without any."""
        total = self.counts.total()
        return self.counts[AGREED] / total if total else float('nan')
