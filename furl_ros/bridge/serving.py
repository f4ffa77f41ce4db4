# SPDX-License-Identifier: Apache-2.0
"""Which run a robot serves."""

from furl_ros.bridge.node import FurlNode


class Serving:
    """A robot serves its own run, else that of the first learner that resets it.

    Attributes:
        run: the one that it serves; '' before there is one.
    """

    def __init__(self, node: FurlNode) -> None:
        self._node = node
        self.run = node.run_id

    def refusal(self, run: str) -> str:
        """Why a learner of this run may not reset the robot; '' when it may.

        One that was started for no run changes hands when the learner before has gone: nobody but
        the one that asks sends actions any more.
        """
        own = self._node.run_id
        free = not own and (not self.run or self._node.count_publishers('action') <= 1)
        if run == self.run or free:
            return ''
        asking = run or 'one without a name'
        return f'it serves the run {self.run or "without a name"}, not {asking}'
