# SPDX-License-Identifier: Apache-2.0
"""Trains the reward heads on what the robots experience and publishes their versions."""

import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from builtin_interfaces.msg import Time
from std_msgs.msg import Float64

from furl_interfaces.msg import (
    FrameScore,
    Observation,
    PromptEmbedding,
    RewardHeads,
    SourceInfo,
)
from furl_interfaces.srv import SaveCheckpoint
from furl_ros.bridge.config import AlignmentNodeConfig
from furl_ros.bridge.convert import (
    NANOSECONDS,
    check_stamp,
    from_prompt_msg,
    to_heads_msg,
    to_ns,
    to_time,
)
from furl_ros.bridge.join import Sensed, StampJoin
from furl_ros.bridge.limits import ALIGNED_DEPTH
from furl_ros.bridge.node import OK, FurlNode, run
from furl_ros.bridge.parameters import declare
from furl_ros.bridge.qos import ALIGNED, LATCHED
from furl_ros.bridge.steps import from_observation
from furl_ros.bridge.topics import prefix_of
from furl_ros.core.alignment import Aligner
from furl_ros.core.config import AlignConfig
from furl_ros.core.demonstrations import load_demonstrations
from furl_ros.core.health import Level, Rate, count_not_finite
from furl_ros.core.replay import can_be_kept
from furl_ros.core.run import ALIGNMENT_FILE, CHECKPOINTS, find_checkpoint

FAREWELL_S = 10.0  # seconds that a stopping node waits for the learner to leave


class AlignmentNode(FurlNode):
    """See the module's docstring; topics and services are listed in docs/topics.md."""

    def __init__(self, **options: Any) -> None:
        super().__init__('alignment_node', **options)
        self.config = declare(self, AlignmentNodeConfig)
        self.align_config = declare(self, AlignConfig)
        self.gather = self.config.gather
        torch.set_num_threads(self.config.torch_threads)
        self.checkpoint = find_checkpoint(self.config.resume) if self.config.resume else None
        self.aligner: Aligner | None = None
        # Newest observation of each source that was taken in or given up.
        self.newest = dict.fromkeys(self.config.sources, 0)
        # What a checkpoint holds of each source: an episode that goes on is played again up to it.
        self.saved_up_to = dict.fromkeys(self.config.sources, 0)
        self.untold = 0  # observations since the last version was published
        self.losses: dict[str, float] = {}
        self.rate = Rate(time.monotonic())
        # It may lag behind by all that its queues hold, of one topic before the other.
        self.joins = {
            source: StampJoin(ALIGNED_DEPTH, ALIGNED_DEPTH, counts=self.counts)
            for source in self.config.sources
        }
        self.infos: dict[str, SourceInfo] = {}

        self.heads_publisher = self.create_publisher(RewardHeads, 'reward_heads', LATCHED)
        self.loss_publisher = self.create_publisher(Float64, 'head_loss', LATCHED)
        self.create_subscription(PromptEmbedding, 'prompt_embedding', self.on_prompt, LATCHED)
        for source in self.config.sources:
            prefix = prefix_of(source)
            self.create_subscription(
                SourceInfo,
                f'{prefix}source_info',
                lambda message, source=source: self.on_info(message, source),
                LATCHED,
            )
            self.create_subscription(
                Observation,
                f'{prefix}observation',
                lambda message, source=source: self.on_observation(message, source),
                ALIGNED,
            )
            self.create_subscription(
                FrameScore,
                f'{prefix}frame_score',
                lambda message, source=source: self.on_score(message, source),
                ALIGNED,
            )
        self.create_service(SaveCheckpoint, '~/save_checkpoint', self.on_save)

    def on_prompt(self, message: PromptEmbedding) -> None:
        """The fixed side of the reward is known: make the heads and publish version 0."""
        if not self.is_ours(message, 'prompt_embedding'):
            return
        try:
            text, goal, _ = from_prompt_msg(message)
            width = len(self.aligner.text) if self.aligner is not None else len(text)
            if len(text) != width:
                raise ValueError(f'{len(text)} values; accepted: {width}, as before')
        except ValueError as error:
            self.count_bad('bad prompt embeddings', str(error))
            return
        if self.aligner is not None:
            if goal is not None:
                self.aligner.set_goal(goal)
            if not np.array_equal(text, self.aligner.text) and self.aligner.set_text(text):
                self.publish_heads()
            return
        self.aligner = Aligner(
            self.align_config,
            self.config.method,
            text,
            goal,
            self.config.seed,
            self.config.warmup_steps,
        )
        if self.checkpoint is not None:
            newest = self.aligner.load(self.checkpoint / ALIGNMENT_FILE)
            if self.config.deterministic:
                self.saved_up_to |= newest
        else:
            if self.align_config.heads_file:
                self.aligner.start_from(Path(self.align_config.heads_file))
            if self.config.demonstrations:
                self.aligner.show(load_demonstrations(self.config.demonstrations))
        self.publish_heads()
        self.take_in()

    def on_info(self, message: SourceInfo, source: str) -> None:
        """What a robot senses and accepts, as it was first said."""
        if not message.run or self.is_ours(message, 'source_info'):
            self.infos.setdefault(source, message)

    def on_observation(self, message: Observation, source: str) -> None:
        """Queue an observation until its frame's score is there."""
        if not self.is_ours(message, 'observation'):
            return
        info = self.infos.get(source)
        sizes = (info.state_size, len(info.action_low)) if info else ()
        try:
            sensed = from_observation(message, *sizes)
        except ValueError as error:
            self.count_bad('bad observations', str(error))
            return
        if sensed.discarded:
            self.discard(sensed, source)
        elif self.joins[source].add_observation(sensed) and self.joins[source].in_flight:
            self.take_in()

    def discard(self, sensed: Sensed, source: str) -> None:
        """The operator has thrown an episode away: none of its frames teaches anything."""
        join = self.joins[source]
        if join.has_passed(sensed.stamp):
            return
        was_running = join.discard(sensed)
        if self.aligner is None:
            return
        if was_running and not sensed.evaluation:
            self.aligner.forget_episode(source)
        if not join.waiting:
            self.newest[source] = max(self.newest[source], sensed.stamp)
            self.publish_heads()

    def on_score(self, message: FrameScore, source: str) -> None:
        """Take a score; it may complete a step."""
        if not self.is_ours(message, 'frame_score'):
            return
        embedding = None
        if message.status == FrameScore.OK:
            embedding = np.asarray(message.embedding, np.float32)
            if self.aligner is not None and not self.fits(embedding):
                # Not from the model that sent the prompt: its answer is still to come.
                return
            if not can_be_kept(embedding):
                self.count_bad('bad embeddings', 'values that float16 does not hold')
                embedding = None
        self.joins[source].add_score(to_ns(message.header.stamp), embedding)
        self.take_in()

    def fits(self, embedding: np.ndarray) -> bool:
        """Whether an embedding is as wide as the prompt's; counted when not."""
        width = len(self.aligner.text)
        if len(embedding) != width:
            self.count_bad('bad embeddings', f'{len(embedding)} values; accepted: {width}')
        return len(embedding) == width

    def take_in(self) -> None:
        """Give the aligner every step that is complete, with one head update each."""
        if self.aligner is None:
            return
        for source, join in self.joins.items():
            before = join.taken
            for _, after, embedding, _, begins in join.pop():
                if after.stamp <= self.saved_up_to[source] or after.evaluation:
                    continue
                if begins:
                    # The one before was broken off, or ended and is sorted in already.
                    self.aligner.drop_episode(source)
                if not self.fits(embedding):
                    continue
                self.aligner.add(embedding, after.success, after.last, source)
                self.newest[source] = after.stamp
                with self.stages('head_update'):
                    for _ in range(self.align_config.head_updates_per_step):
                        self.losses = self.aligner.update() or self.losses
                if self.aligner.transitions % self.align_config.publish_every == 0:
                    self.publish_heads()
            if join.taken > before:
                self.newest[source] = max(self.saved_up_to[source], join.newest)
                self.untold += join.taken - before
        # The learner waits for those that are no step, too: their frames could not be scored.
        if self.untold >= 2 * self.align_config.publish_every:
            self.publish_heads()

    def publish_heads(self) -> None:
        """Publish the newest version of the heads (latched)."""
        self.untold = 0
        now = self.aligner.snapshot()
        image_head, text_head = now.heads.flat()
        message = to_heads_msg(
            now.heads.layer_sizes, image_head, text_head, *now.heads.frame_of_reference()
        )
        message.run = self.run_id
        message.header.stamp = to_time(max(self.newest.values(), default=0))
        message.newest = [to_time(stamp) for stamp in self.newest.values()]
        message.version, message.transitions = now.version, now.transitions
        message.stage = now.stage
        message.positives, message.negatives = now.positives, now.negatives
        self.heads_publisher.publish(message)
        if self.losses:
            self.loss_publisher.publish(Float64(data=sum(self.losses.values())))

    def on_save(
        self, request: SaveCheckpoint.Request, response: SaveCheckpoint.Response
    ) -> SaveCheckpoint.Response:
        """Write rings, heads, optimizer and generator into the folder of the request."""
        response.transitions = self.aligner.transitions if self.aligner else 0
        try:
            folder = self.folder_of(request)
            missing = self.missing(request.newest)
            if missing and not request.give_up:
                response.error_code = SaveCheckpoint.Response.NOT_YET
                response.error_msg = f'waiting for {", ".join(missing)}'
                return response
            if missing:
                response.lacking = self.give_up(request.newest)
                response.transitions = self.aligner.transitions
            self.aligner.save(folder / ALIGNMENT_FILE, self.newest)
        except (OSError, ValueError) as error:
            response.error_code, response.error_msg = SaveCheckpoint.Response.FAILED, str(error)
            self.get_logger().error(f'not saved: {error}')
            return response
        response.path = str(folder / ALIGNMENT_FILE)
        return response

    def folder_of(self, request: SaveCheckpoint.Request) -> Path:
        """The folder that a request names.

        Raises:
            ValueError: it is of another run, has a stamp that is none, there is nothing to save, or
                it is no folder of the run folder's checkpoints.
        """
        if request.run != self.run_id:
            raise ValueError(f'run is {request.run!r}; accepted: {self.run_id!r}')
        if self.aligner is None:
            raise ValueError('nothing to save: no prompt_embedding has come yet')
        run = Path(self.config.run_folder).expanduser().resolve()
        folder = (run / request.path).resolve()
        if folder.parent != run / CHECKPOINTS or not folder.is_dir():
            raise ValueError(
                f'path is {request.path!r}; accepted: the name of a folder that exists in'
                f' {run / CHECKPOINTS}'
            )
        for stamp in request.newest:
            check_stamp(stamp)
        return folder

    def missing(self, newest: Sequence[Time]) -> list[str]:
        """What has not been taken in of what a request wants to be saved."""
        wanted = [to_ns(stamp) for stamp in newest]
        return [
            f'{source or "the source"} up to {stamp / NANOSECONDS:.3f} s ({join.taken:,} taken)'
            for (source, join), stamp in zip(self.joins.items(), wanted, strict=False)
            if stamp > self.saved_up_to[source] and not join.has_passed(stamp)
        ]

    def give_up(self, newest: Sequence[Time]) -> list[Time]:
        """Go on without the scores that are missing up to these observations; returns stamps."""
        lacking = []
        wanted = map(to_ns, newest)
        for (source, join), stamp in zip(self.joins.items(), wanted, strict=False):
            if stamp > self.saved_up_to[source] and not join.has_passed(stamp):
                # None of its observations may have come, either.
                lacking += join.give_up(stamp) or [stamp]
        self.take_in()
        self.counts['steps given up'] += len(lacking)
        self.get_logger().error(
            f'saving without {len(lacking)} steps that never came whole:'
            f' {", ".join(map(str, lacking))} ns'
        )
        return [to_time(stamp) for stamp in lacking]

    def work(self, stop: threading.Event) -> int:
        """Serve until stopped; then wait until a learner that is there has gone.

        Ctrl-C reaches all nodes at once, and the learner's farewell needs this node's state. It may
        be saving already: that was not its last checkpoint.
        """
        stop.wait()
        deadline = time.monotonic() + FAREWELL_S
        while time.monotonic() < deadline and self.count_publishers('training_status'):
            time.sleep(0.05)
        return 0

    def diagnose(self) -> tuple[Level, str, dict[str, object]]:
        if self.aligner is None:
            return OK, 'waiting for prompt_embedding', {}
        values = {
            'transitions': self.aligner.transitions,
            'transitions_per_s': round(self.rate(self.aligner.transitions, time.monotonic()), 1),
            'steps_waiting': max(join.in_flight for join in self.joins.values()),
            'not_finite': count_not_finite(self.losses.values()),
            'version': self.aligner.version,
            'stage': self.aligner.stage,
            'positives': len(self.aligner.positives),
            'negatives': len(self.aligner.negatives),
            'goal_image': self.aligner.goal is not None,
        }
        values |= {f'loss/{name}': f'{value:.4f}' for name, value in self.losses.items()}
        return OK, f'stage {self.aligner.stage}, version {self.aligner.version}', values


def main() -> None:
    """Entry point of ``ros2 run furl_ros alignment_node``."""
    sys.exit(run(AlignmentNode))


if __name__ == '__main__':
    main()
