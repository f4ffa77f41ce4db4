# SPDX-License-Identifier: Apache-2.0
"""Scores camera frames with a vision-language model and the newest reward heads."""

import math
import queue
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.event_handler import QoSMessageLostInfo, SubscriptionEventCallbacks
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Float64, Header

from furl_interfaces.msg import FrameScore, PromptEmbedding, RewardHeads
from furl_interfaces.srv import ScoreFrames
from furl_ros.bridge.config import RewardNodeConfig
from furl_ros.bridge.convert import (
    Picture,
    from_heads_msg,
    from_picture_msg,
    to_float_field,
)
from furl_ros.bridge.live import UNREPEATABLE
from furl_ros.bridge.node import OK, FurlNode, run
from furl_ros.bridge.parameters import declare
from furl_ros.bridge.qos import ALIGNED, EVENTS, LATCHED, LOCKSTEP, SENSOR, VIEWS
from furl_ros.bridge.topics import prefix_of
from furl_ros.core.config import ScoringConfig, VlmConfig
from furl_ros.core.health import Age, Level, Rate
from furl_ros.core.methods import METHODS
from furl_ros.core.scorings import GOAL_IMAGE, check_baseline, check_scoring
from furl_ros.core.settings import SettingError
from furl_ros.core.vlm import Scorer, load_vlm

POLL_S = 0.1  # seconds between two looks at the stop signal while nothing arrives
STREAMS = {'lockstep': LOCKSTEP, 'views': VIEWS, 'sensor': SENSOR}  # by image_qos
LATENCIES = 1_000  # newest frames whose latency the diagnostics tell


class Frame(NamedTuple):
    """A picture that waits to be scored."""

    picture: Picture
    source: str
    received: float


class GoalImage(NamedTuple):
    """The goal image, waiting to be encoded."""

    picture: Image


class Prompt(NamedTuple):
    """A new prompt, waiting to be encoded."""

    text: str


class Request(NamedTuple):
    """A call of ``score_frames`` that waits for its answer."""

    request: ScoreFrames.Request
    future: Future


class RewardNode(FurlNode):
    """See the module's docstring; topics and services are listed in docs/topics.md.

    The callbacks only queue (and swap the heads); the model is used by the main thread alone.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__('reward_node', **options)
        self.vlm_config = declare(self, VlmConfig)
        self.scoring = declare(self, ScoringConfig)
        self.config = declare(self, RewardNodeConfig)
        check_scoring(self.config.method, self.scoring.scoring)
        if self.config.image_qos == 'lockstep':
            self.gather = self.config.gather
        self.check_prompt(self.config.prompt)
        if not self.config.sources:
            raise SettingError("sources is empty; accepted: at least one namespace, '' for its own")
        torch.set_num_threads(self.config.torch_threads)
        vlm = load_vlm(self.vlm_config)
        self.scorer = Scorer(
            vlm,
            self.config.prompt,
            one_by_one=self.config.deterministic,
            scoring=self.scoring,
            baseline_prompt=self.config.baseline_prompt,
            views=self.config.views,
        )
        self.jobs: queue.SimpleQueue[Frame | GoalImage | Prompt | Request] = queue.SimpleQueue()
        self.frames = self.batches = 0
        # When the oldest frame of those that are scored now has come.
        self.oldest: float | None = None
        self.frame_rate, self.heads_age = Rate(time.perf_counter()), Age(time.perf_counter())
        self.latencies: deque[float] = deque(maxlen=LATENCIES)

        stream = STREAMS[self.config.image_qos]
        kind = CompressedImage if self.config.compressed else Image
        topic = 'camera/image_raw' + ('/compressed' if self.config.compressed else '')
        self.outputs = {}
        for source in self.config.sources:
            prefix = prefix_of(source)
            self.outputs[source] = (
                self.create_publisher(FrameScore, f'{prefix}frame_score', ALIGNED),
                self.create_publisher(Float64, f'{prefix}vlm_reward', EVENTS),
            )
            self.create_subscription(
                kind,
                prefix + topic,
                lambda message, source=source: self.jobs.put(
                    Frame(message, source, time.perf_counter())
                ),
                stream,
                event_callbacks=SubscriptionEventCallbacks(message_lost=self.on_lost),
            )
        self.prompt_publisher = self.create_publisher(PromptEmbedding, 'prompt_embedding', LATCHED)
        first = prefix_of(self.config.sources[0])
        self.create_subscription(
            Image, f'{first}goal_image', lambda message: self.jobs.put(GoalImage(message)), LATCHED
        )
        # The alignment publishes heads for every method, but not every reward goes through them.
        if METHODS[self.config.method].heads != 'none':
            self.create_subscription(RewardHeads, 'reward_heads', self.on_heads, LATCHED)
        # In its own group: while a call waits for the model, topics are still taken in.
        self.create_service(
            ScoreFrames,
            'score_frames',
            self.on_score_frames,
            callback_group=ReentrantCallbackGroup(),
        )
        self.live.add(RewardNodeConfig, self.change, self.check_change)
        self.goal_header = Header()
        # What is said before the goal image is there would not be all that there is to say.
        self.told = not (self.config.expect_goal_image or self.scorer.waits_for_goal)
        if self.told:
            self.publish_prompt()
        self.get_logger().info(
            f'{vlm.name} on {vlm.device}: embeddings of {vlm.embedding_dim},'
            f' {vlm.image_size} pixels; prompt {self.config.prompt!r},'
            f' scoring {self.scoring.scoring}'
        )

    def check_prompt(self, prompt: str) -> None:
        """Check that a prompt says something.

        Raises:
            SettingError: it does not, or what the baseline prompt says.
        """
        if not prompt.strip():
            raise SettingError(
                f"prompt is {prompt!r}; accepted: the task in words, for example 'open a drawer'"
            )
        check_baseline(self.scoring.scoring, prompt, self.config.baseline_prompt)

    # In the executor's thread

    def check_change(self, values: dict[str, Any]) -> None:
        """Whether the prompt may be changed to this one.

        Raises:
            SettingError: it may not.
        """
        self.check_prompt(values['prompt'])
        if self.config.deterministic:
            raise SettingError(UNREPEATABLE.format('prompt'))

    def change(self, values: dict[str, Any]) -> None:
        """Have the main thread use another prompt."""
        self.jobs.put(Prompt(values['prompt']))

    def on_lost(self, event: QoSMessageLostInfo) -> None:
        """The middleware says that frames never reached us."""
        self.count_bad('frames lost', f'{event.total_count} so far, on the way here')

    def on_heads(self, message: RewardHeads) -> None:
        """Score with these heads from the next batch on."""
        if not self.is_ours(message, 'reward_heads'):
            return
        try:
            self.scorer.use_heads(message.version, **from_heads_msg(message))
        except ValueError as error:
            self.count_bad('heads refused', f'version {message.version}: {error}')

    async def on_score_frames(
        self, request: ScoreFrames.Request, response: ScoreFrames.Response
    ) -> ScoreFrames.Response:
        """Have the main thread score the pictures of a call."""
        future = Future(executor=self.executor)
        self.jobs.put(Request(request, future))
        return await future

    def diagnose(self) -> tuple[Level, str, dict[str, object]]:
        now, oldest = time.perf_counter(), self.oldest
        rate = self.frame_rate(self.frames, now)
        latencies = sorted(self.latencies.copy())
        values = {
            'model': self.scorer.vlm.name,
            'prompt': self.scorer.prompt,
            'scoring': self.scoring.scoring,
            'frames': self.frames,
            'frames_per_s': round(rate, 1),
            'frames_per_batch': round(self.frames / max(1, self.batches), 2),
            'frames_waiting': self.jobs.qsize(),
            'frame_age_s': 0.0 if oldest is None else round(now - oldest, 3),
            'heads_version': self.scorer.heads_version,
            'heads_age_s': round(self.heads_age(self.scorer.heads_version, now), 1),
        }
        if latencies:
            values['latency_p50_ms'] = round(1e3 * statistics.median(latencies), 2)
            values['latency_p99_ms'] = round(1e3 * latencies[len(latencies) * 99 // 100], 2)
        return OK, f'{rate:.0f} frames/s', values

    # In the main thread

    def work(self, stop: threading.Event) -> int:
        """Score what arrives until stopped."""
        # torch keeps this number per thread.
        torch.set_num_threads(self.config.torch_threads)
        while not stop.is_set():
            jobs = self.take()
            # First, since frames may need it.
            for job in jobs:
                if isinstance(job, GoalImage):
                    self.use_goal(job.picture)
                elif isinstance(job, Prompt):
                    self.use_prompt(job.text)
            frames = [job for job in jobs if isinstance(job, Frame)]
            if frames:
                self.oldest = frames[0].received
                self.score_frames(frames)
                self.oldest = None
            for job in jobs:
                if isinstance(job, Request):
                    job.future.set_result(self.answer(job.request))
                    # A coroutine that awaits is only looked at when the executor wakes.
                    self.executor.wake()
        return 0

    def take(self) -> list[Frame | GoalImage | Prompt | Request]:
        """What is waiting, up to a micro-batch; of a free-running camera the newest frames."""
        jobs = []
        most = self.vlm_config.micro_batch
        lockstep = self.config.image_qos == 'lockstep'
        try:
            jobs.append(self.jobs.get(timeout=POLL_S))
            while len(jobs) < most or not lockstep:
                jobs.append(self.jobs.get_nowait())
        except queue.Empty:
            pass
        too_many = sum(isinstance(job, Frame) for job in jobs) - most
        if too_many > 0:
            self.counts['frames dropped'] += too_many
            frames = [job for job in jobs if isinstance(job, Frame)]
            jobs = [job for job in jobs if not isinstance(job, Frame)] + frames[too_many:]
            for frame in frames[:too_many]:
                # Those who wait for its score have to know that there will be none.
                self.outputs[frame.source][0].publish(
                    self.no_score(frame.picture, FrameScore.DROPPED)
                )
        return jobs

    def score_frames(self, frames: Sequence[Frame]) -> None:
        """Score frames and publish the answers in the same order."""
        scores = self.score([frame.picture for frame in frames])
        with self.stages('publish'):
            for frame, score in zip(frames, scores, strict=True):
                score_publisher, reward_publisher = self.outputs[frame.source]
                score_publisher.publish(score)
                if reward_publisher.get_subscription_count():
                    reward_publisher.publish(Float64(data=score.reward))
                self.latencies.append(time.perf_counter() - frame.received)
        self.frames += len(frames)
        self.batches += 1

    def answer(self, request: ScoreFrames.Request) -> ScoreFrames.Response:
        """Score the pictures of a call."""
        response = ScoreFrames.Response()
        pictures = [*request.images, *request.compressed]
        if not pictures:
            response.error_code = ScoreFrames.Response.NO_FRAMES
            response.error_msg = 'the request holds no pictures'
            return response
        response.scores = self.score(pictures, request.prompt)
        bad = [i for i, s in enumerate(response.scores) if s.status != FrameScore.OK]
        if bad:
            response.error_code = ScoreFrames.Response.BAD_FRAME
            response.error_msg = f'pictures that cannot be scored: {bad}; see status'
        return response

    def score(self, pictures: Sequence[Picture], prompt: str = '') -> list[FrameScore]:
        """One score per picture, in order; pictures may differ in size, bad ones are marked."""
        scores = [self.no_score(picture, FrameScore.BAD_FRAME) for picture in pictures]
        if self.scorer.waits_for_goal:
            self.count_bad('frames before the goal image', f'{len(scores)} cannot be scored')
            for score in scores:
                score.status = FrameScore.NO_GOAL
            return scores
        same_size: dict[tuple[int, ...], list[tuple[FrameScore, np.ndarray]]] = {}
        with self.stages('convert'):
            for picture, score in zip(pictures, scores, strict=True):
                if isinstance(picture, Image) and picture.height == picture.width == 0:
                    # camera_node says so, that there was none for this observation.
                    self.counts['empty frames'] += 1
                    continue
                try:
                    frame = from_picture_msg(picture)
                except ValueError as error:
                    self.count_bad('bad frames', str(error))
                else:
                    same_size.setdefault(frame.shape, []).append((score, frame))
        for group in same_size.values():
            try:
                with self.stages('score'):
                    result = self.scorer.score(np.stack([frame for _, frame in group]), prompt)
            except ValueError as error:
                self.count_bad('bad frames', str(error))
                continue
            for row, (score, _) in enumerate(group):
                score.status = FrameScore.OK
                score.embedding = to_float_field(result.embeddings[row])
                score.cosine = float(result.cosines[row])
                score.reward = float(result.rewards[row])
                score.heads_version = result.heads_version
                if not math.isfinite(score.reward):
                    self.counts['rewards that are not finite'] += 1
        return scores

    def no_score(self, picture: Picture, status: int) -> FrameScore:
        """The answer for a picture that is not scored."""
        return FrameScore(
            header=picture.header,
            run=self.run_id,
            status=status,
            cosine=float('nan'),
            reward=float('nan'),
            heads_version=self.scorer.heads_version,
        )

    def use_prompt(self, prompt: str) -> None:
        """Score by another prompt from now on, and tell the others."""
        self.scorer.use_prompt(prompt)
        self.get_logger().info(f'prompt {prompt!r}')
        if self.told:
            self.publish_prompt()

    def use_goal(self, goal: Image) -> None:
        """Use a goal image, and tell the others; an empty one says that the task has none.

        Raises:
            SettingError: it has none, and the scoring needs one.
        """
        empty = not goal.height and not goal.width
        if empty and self.scoring.scoring == GOAL_IMAGE:
            if self.scorer.waits_for_goal:
                raise SettingError(
                    f'scoring is {GOAL_IMAGE!r}, but the task has no goal image: an empty one has'
                    ' come'
                )
            self.count_bad('bad goal images', 'an empty one, after one that is in use')
            return
        if not empty:
            try:
                embedding = self.scorer.encode(from_picture_msg(goal)[None])[0]
            except ValueError as error:
                self.count_bad('bad goal images', str(error))
                return
            self.scorer.use_goal(embedding)
            self.goal_header = goal.header
        self.told = True
        self.publish_prompt()

    def publish_prompt(self) -> None:
        """Publish (latched) what frames are compared with: prompt, goal image, baseline."""
        scorer = self.scorer
        message = PromptEmbedding(
            header=self.goal_header,
            run=self.run_id,
            vlm=scorer.vlm.name,
            prompt=scorer.prompt,
            scoring=self.scoring.scoring,
        )
        message.text_embedding = to_float_field(scorer.vlm.encode_text(scorer.prompt))
        if scorer.baseline is not None:
            message.baseline_prompt = self.config.baseline_prompt
            message.baseline_embedding = to_float_field(scorer.baseline)
        if scorer.goal is not None:
            message.goal_embedding = to_float_field(scorer.goal)
        self.prompt_publisher.publish(message)


def main() -> None:
    """Entry point of ``ros2 run furl_ros reward_node``."""
    sys.exit(run(RewardNode))


if __name__ == '__main__':
    main()
