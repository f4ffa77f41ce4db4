# SPDX-License-Identifier: Apache-2.0
"""What a learner says of its run, and whether another one speaks under its names."""

import math
import time
from pathlib import Path

from furl_interfaces.msg import TrainingStatus
from furl_ros.bridge.alignment import Alignment
from furl_ros.bridge.config import LearnerNodeConfig
from furl_ros.bridge.inbox import Inbox
from furl_ros.bridge.node import FurlNode
from furl_ros.bridge.qos import LATCHED
from furl_ros.core.reporting import Reporter
from furl_ros.core.settings import SettingError
from furl_ros.core.trainer import Trainer

# Of the message: NaN where there is none yet.
FIGURES = (
    'success_rate',
    'eval_success_rate',
    'rho',
    'vlm_reward',
    'vlm_actor_loss',
    'vlm_critic_loss',
    'sac_actor_loss',
    'sac_critic_loss',
)
SAY_AGAIN_S = 5.0  # seconds between two lines about the same wait


class Status:
    """The topic training_status, the learner's lines in the log, and the rows of its curves.

    The main thread fills it; ``message`` and ``publish`` may be called from any thread.

    Args:
        node: makes publisher and subscription.
        inbox: where the callback puts what arrives.
        config: of the node.
        alignment: knows the stage of the head training.
        target: steps that are trained for unless a run says otherwise.

    Attributes:
        state: of TrainingStatus.
        detail: one line for people.
        target: steps at which the run ends.
    """

    def __init__(
        self,
        node: FurlNode,
        inbox: Inbox,
        config: LearnerNodeConfig,
        alignment: Alignment,
        target: int,
    ) -> None:
        self.state, self.detail = TrainingStatus.WAITING, 'starting'
        self.target = target
        self._node, self._config, self._alignment = node, config, alignment
        self._trainer: Trainer | None = None
        self._reporter: Reporter | None = None
        self._waited = -math.inf  # when the last wait was told in detail
        self._line_due = -math.inf
        self._publisher = node.create_publisher(TrainingStatus, 'training_status', LATCHED)
        # Another learner under our names: the later one leaves.
        node.create_subscription(
            TrainingStatus, 'training_status', lambda m: inbox.put(self._on_status, m), LATCHED
        )

    @property
    def has_begun(self) -> bool:
        """Whether there is a run to speak of."""
        return self._reporter is not None

    def begin(self, trainer: Trainer, reporter: Reporter) -> None:
        """There is a run: of this trainer, whose curves are written there."""
        self._trainer, self._reporter = trainer, reporter

    def say_wait(self, text: str) -> None:
        """Say what is waited for, now and then."""
        self.detail, self._waited = text, time.monotonic()
        self._node.get_logger().warning(text, throttle_duration_sec=SAY_AGAIN_S)

    def report_if_due(self) -> None:
        """``report``, once in ``log_every`` seconds."""
        if time.monotonic() >= self._line_due:
            self.report()

    def report(self) -> None:
        """One row of the curves, one line for people."""
        self._line_due = time.monotonic() + self._config.log_every
        warming = self._trainer.steps < self._trainer.config.warmup_steps
        self.state = TrainingStatus.WARMUP if warming else TrainingStatus.TRAINING
        if self._trainer.steps > self._reporter.step:
            self._reporter.progress(self._trainer, self._alignment.stage)
        self.detail = self._line()
        if self._config.progress_lines:
            self._node.get_logger().info(self.detail)

    def message(self) -> TrainingStatus:
        """Where the run stands."""
        message = TrainingStatus(
            run=self._node.run_id,
            state=self.state,
            detail=self.detail,
            target_steps=self.target,
            stage=self._alignment.stage,
            negatives=self._alignment.negatives,
            head_loss=self._alignment.loss,
            run_folder=str(Path(self._config.run_folder).expanduser().resolve()),
        )
        message.header.stamp = self._node.get_clock().now().to_msg()
        for name in FIGURES:
            setattr(message, name, math.nan)
        if self.has_begun:
            for name, value in (self._trainer.report() | self._trainer.now()).items():
                setattr(message, name, value)
            message.steps_per_second = self._reporter.rate
            message.eval_success_rate = self._trainer.eval_success_rate
            learns = self.state in (TrainingStatus.WARMUP, TrainingStatus.TRAINING)
            if learns and time.monotonic() > self._waited + SAY_AGAIN_S:
                message.detail = self._line()
        return message

    def publish(self) -> TrainingStatus:
        """Publish where the run stands, and return it."""
        message = self.message()
        self._publisher.publish(message)
        return message

    def _line(self) -> str:
        return self._reporter.line(self._trainer, self.target, self._alignment.stage)

    def _on_status(self, message: TrainingStatus) -> None:
        """Another learner speaks under our names.

        Raises:
            SettingError: it was there before us.
        """
        run = self._node.run_id
        if message.run == run or message.state in (
            TrainingStatus.FINISHED,
            TrainingStatus.FAILED,
        ):
            return
        # Run ids begin with their time: of two that started at once one knows that it is the later.
        if message.run < run and self._has_twin:
            raise SettingError(
                f'another graph has these names in this ROS domain (run {message.run or "by hand"}'
                f' in {message.run_folder or "a folder not made yet"}); choose another domain'
                ' (ROS_DOMAIN_ID=<number>) or a namespace (namespace:=<name>)'
            )
        self._node.is_ours(message, 'training_status')

    @property
    def _has_twin(self) -> bool:
        """Whether another node with our name publishes its status; anybody else may only say so."""
        mine = self._node.get_name(), self._node.get_namespace()
        found = self._node.get_publishers_info_by_topic('training_status')
        return sum((one.node_name, one.node_namespace) == mine for one in found) > 1
