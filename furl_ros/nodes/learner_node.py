# SPDX-License-Identifier: Apache-2.0
"""The learner: acts, keeps the replay, trains both agents, evaluates, saves.

The executor's thread only receives; the main thread does everything else in one loop: answer
observations, take in complete steps, make the updates they call for.
"""

import queue
import threading
import time
from dataclasses import dataclass

import torch
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from std_msgs.msg import Float64
from std_srvs.srv import Trigger

from furl_interfaces.action import Train
from furl_interfaces.msg import EpisodeResult, PromptEmbedding, RewardHeads, TrainingStatus
from furl_interfaces.srv import SaveCheckpoint
from furl_ros.bridge.inbox import Inbox
from furl_ros.bridge.node import FurlNode
from furl_ros.bridge.parameters import declare
from furl_ros.bridge.qos import EVENTS, LATCHED
from furl_ros.bridge.source import Source
from furl_ros.core.config import TrainConfig
from furl_ros.core.heads import RewardHeads as Heads
from furl_ros.core.methods import METHODS
from furl_ros.core.reporting import Reporter
from furl_ros.core.run import RunFolder, find_checkpoint
from furl_ros.core.settings import SettingError, setting
from furl_ros.core.trainer import Trainer

ALIGNMENT_WAIT_S = 10.0  # seconds that a checkpoint waits for the alignment's part


@dataclass(frozen=True)
class LearnerNodeConfig:
    """Parameters of the node beside those of the training."""

    sources: tuple[str, ...] = setting(
        ('',), "Namespaces of the robots, relative to the node's; '' for its own."
    )
    eval_source: str = setting(
        '', 'Namespace of the robot that evaluation episodes run on; empty: no evaluation.'
    )
    alignment: str = setting('alignment_node', 'Name of the alignment node.')
    run_folder: str = setting('runs/unnamed', 'Folder that the run is written to.')
    run_config: str = setting(
        '{}', 'Settings of the whole graph (YAML), written to config.yaml in the run folder.'
    )
    resume: str = setting('', 'Run folder or checkpoint to go on from; empty: start anew.')
    autostart: bool = setting(True, 'Train at once, without waiting for the action or ~/start.')
    exit_when_done: bool = setting(True, 'Exit after the training.')
    deterministic: bool = setting(
        False, 'Repeat bit for bit from a seed: one order of events, heads at fixed steps.'
    )
    publish_every: int = setting(
        50, "The alignment's setting of that name; only read when deterministic.", low=1, high=10**6
    )
    max_in_flight: int = setting(
        8, 'Steps of a robot that may wait for their frame scores (lock-step).', low=1, high=60
    )
    stall_timeout: float = setting(
        30.0, 'Seconds of silence after which a new episode is asked for.', low=1, high=1e6
    )
    torch_threads: int = setting(1, 'Threads of torch.', low=1, high=1_024)
    log_every: float = setting(10.0, 'Seconds between progress lines.', low=0.1, high=1e6)


class LearnerNode(FurlNode):
    """See the module's docstring; topics, services and the action are listed in docs/topics.md."""

    def __init__(self) -> None:
        super().__init__('learner_node')
        self.config = declare(self, LearnerNodeConfig)
        self.train_config = declare(self, TrainConfig)
        self.method = METHODS[self.train_config.method]
        if self.config.deterministic and len(self.config.sources) > 1:
            raise SettingError(
                f'deterministic is True with {len(self.config.sources)} sources; accepted: one'
                ' source (num_sims 1), since the order of several is not fixed'
            )
        torch.set_num_threads(self.config.torch_threads)
        self.checkpoint = find_checkpoint(self.config.resume) if self.config.resume else None

        self.inbox, self.eval_inbox = Inbox(), Inbox()
        self.sources = [
            Source(self, self.inbox, index, name, self.method.vlm)
            for index, name in enumerate(self.config.sources)
        ]
        self.eval_source = None
        if self.config.eval_source and self.train_config.eval_every:
            self.eval_source = Source(self, self.eval_inbox, 0, self.config.eval_source, False)
        self.trainer: Trainer | None = None
        self.reporter: Reporter | None = None
        self.run: RunFolder | None = None
        self.prompt: PromptEmbedding | None = None
        self.heads: dict[int, tuple[Heads, int]] = {}
        self.stage = 0
        self.state, self.detail = TrainingStatus.WAITING, 'starting'
        self.target = self.train_config.total_steps
        self.orders: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.busy = False
        self.cancel = threading.Event()
        self.goal: ServerGoalHandle | None = None
        self.outcome: Train.Result | None = None
        self.heard = time.monotonic()
        self.due_eval = self.due_checkpoint = self.due_line = 0.0

        put = self.inbox.put
        for kind, topic, handler in (
            (PromptEmbedding, 'prompt_embedding', self.on_prompt),
            (RewardHeads, 'reward_heads', self.on_heads),
        ):
            self.create_subscription(kind, topic, lambda m, h=handler: put(h, m), LATCHED)
        self.save_client = self.create_client(
            SaveCheckpoint, f'{self.config.alignment}/save_checkpoint'
        )
        self.status_publisher = self.create_publisher(TrainingStatus, 'training_status', LATCHED)
        self.result_publisher = self.create_publisher(EpisodeResult, 'episode_result', EVENTS)
        self.rate_publisher = self.create_publisher(Float64, 'success_rate', EVENTS)
        self.create_service(Trigger, '~/start', self.on_start)
        self.create_service(Trigger, '~/cancel', self.on_cancel)
        self.create_service(SaveCheckpoint, '~/save_checkpoint', self.on_save)
        self.action = ActionServer(
            self,
            Train,
            'train',
            execute_callback=self.on_goal,
            goal_callback=lambda _: GoalResponse.REJECT if self.busy else GoalResponse.ACCEPT,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )
        self.create_timer(1.0, self.publish_status, clock=self.steady_clock)
