# SPDX-License-Identifier: Apache-2.0
"""Runs a policy from a file on a robot: one episode after the other, nothing is learned."""

import sys
import threading
from typing import Any

import numpy as np

from furl_interfaces.msg import EpisodeResult
from furl_ros.bridge.config import PolicyNodeConfig
from furl_ros.bridge.evaluation import Care, EvaluationRobot, robot_apart, to_result
from furl_ros.bridge.node import OK, FurlNode, run
from furl_ros.bridge.parameters import declare
from furl_ros.bridge.qos import EVENTS
from furl_ros.bridge.source import SourceError
from furl_ros.core.exported import OnnxPolicy
from furl_ros.core.health import Level
from furl_ros.core.settings import SettingError
from furl_ros.core.trainer import Trial

PATIENCE_S = 60.0  # seconds to wait for an observation
AGAIN_S = 1.0  # seconds between two tries after a robot has not answered


class PolicyNode(FurlNode):
    """See the module's docstring; docs/real-robot.md shows how it is used."""

    def __init__(self, **options: Any) -> None:
        super().__init__('policy_node', **options)
        self.config = declare(self, PolicyNodeConfig)
        self.policy = OnnxPolicy(self.config.policy)
        self.stop = threading.Event()
        care = Care(PATIENCE_S, 1, lambda: self.stop.is_set(), lambda: None)
        self.robot: EvaluationRobot = robot_apart(self, self.config.source, care)
        self.results = self.create_publisher(EpisodeResult, 'episode_result', EVENTS)
        self.done, self.successes, self.waits = 0, 0, ''

    def work(self, stop: threading.Event) -> int:
        """Play episodes until stopped, or until all are done."""
        self.stop = stop
        if not self.await_robot():
            return 0
        self.check_sizes()
        self.get_logger().info(f'{self.config.policy} acts')
        while not stop.is_set() and self.done < (self.config.episodes or np.inf):
            try:
                self.play(self.config.first_seed + self.done)
            except SourceError as error:
                if not stop.is_set():
                    self.count_bad('episodes broken off', str(error))
                    stop.wait(AGAIN_S)
        return 0

    def await_robot(self) -> bool:
        """Wait until the robot can be asked for an episode; False when stopped meanwhile."""
        while not self.stop.is_set():
            self.waits = self.robot.find_missing()
            if not self.waits:
                return True
            self.stop.wait(0.05)
        return False

    def check_sizes(self) -> None:
        """Check that the policy is one for this robot.

        Raises:
            SettingError: it takes other states, or gives other actions.
        """
        info = self.robot.info
        has = info.state_size, len(info.action_low)
        takes = self.policy.state_size, self.policy.action_size
        if has != takes:
            raise SettingError(
                f"policy is '{self.config.policy}', for states of {takes[0]} and actions of"
                f' {takes[1]} values; accepted with this robot: {has[0]} and {has[1]}'
            )

    def play(self, seed: int) -> None:
        """One episode.

        Raises:
            SourceError: the robot does not answer, or nobody waits for it any more.
        """
        now = self.robot.reset(seed)
        success, total = [], 0.0
        while not now.last:
            now = self.robot.step(self.policy(now.state))
            success.append(bool(now.success))
            total += float(now.task_reward)
        ended_well = bool(success) and success[-1]
        trial = Trial(seed, len(success), total, any(success), ended_well)
        self.results.publish(to_result(trial, self.robot.name, self.done, 0))
        self.done, self.successes = self.done + 1, self.successes + any(success)
        word = 'success' if any(success) else 'no success'
        self.get_logger().info(
            f'episode {self.done}: {word}, {len(success)} steps; {self.successes} of {self.done}'
        )

    def diagnose(self) -> tuple[Level, str, dict[str, object]]:
        text = f'waiting for {self.waits}' if self.waits else f'{self.done} episodes done'
        return OK, text, {'episodes': self.done, 'successes': self.successes}


def main() -> None:
    """Entry point of ``ros2 run furl_ros policy_node``."""
    sys.exit(run(PolicyNode))


if __name__ == '__main__':
    main()
