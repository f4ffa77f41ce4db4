# SPDX-License-Identifier: Apache-2.0
"""Films of a robot's episodes, with their rewards: MP4 in the run folder, strips in TensorBoard.

The executor's thread puts frames, steps and scores of an episode together; the main thread makes
the film. Where reward_node does not score this robot in any case, it is asked to, a few frames at a
time, so that those of the training never wait behind a whole episode. Nobody waits for this node:
what it misses is missing in the film alone.
"""

import contextlib
import queue
import sys
import threading
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rclpy.task import Future
from sensor_msgs.msg import Image
from torch.utils.tensorboard import SummaryWriter

from furl_interfaces.msg import FrameScore, Observation, PromptEmbedding, SourceInfo, TrainingStatus
from furl_interfaces.srv import ScoreFrames
from furl_ros.bridge.config import VideoNodeConfig
from furl_ros.bridge.convert import from_image_msg, to_ns
from furl_ros.bridge.join import Sensed
from furl_ros.bridge.node import OK, FurlNode, run
from furl_ros.bridge.parameters import declare
from furl_ros.bridge.qos import ALIGNED, LATCHED, LOCKSTEP
from furl_ros.bridge.steps import from_observation
from furl_ros.bridge.topics import prefix_of
from furl_ros.core.health import Level
from furl_ros.core.settings import SettingError
from furl_ros.monitor.films import Film, Shelf, film_strip
from furl_ros.monitor.pictures import Moment

VIDEOS, STRIPS = 'videos', 'tensorboard/films'  # folders within the run's
AGENT = 'eval'
BATCH = 16  # frames that are scored by one call
MOST_WAITING = 3  # films that wait to be made
LONGEST = 5_000  # frames of a film; the rest of a longer episode is left out
EARLY = 128  # frames, and scores, that may come before their observations
PATIENCE_S = 10.0  # seconds after the end of an episode for what has not come yet
FAREWELL_S = 3.0  # seconds of that when the node is to stop
LOOK_S = 0.2  # seconds between two looks at whether a film can be made
NAN = float('nan')


class Score(NamedTuple):
    """What the model says of a frame; NaN and 0 where it could say nothing."""

    cosine: float = NAN
    reward: float = NAN
    heads_version: int = 0

    @classmethod
    def of(cls, message: FrameScore) -> 'Score':
        """From a message."""
        if message.status != FrameScore.OK:
            return cls()
        return cls(message.cosine, message.reward, message.heads_version)


class Take:
    """An episode that is filmed: its steps, and what has come of their frames, by stamp."""

    def __init__(self, episode: int) -> None:
        self.episode = episode
        self.steps: list[Sensed] = []
        self.frames: dict[int, Image] = {}
        self.scores: dict[int, Score] = {}
        self.unscored: deque[int] = deque()  # stamps of frames that nobody was asked about
        self.asked: dict[Future, list[int]] = {}
        self.ended = 0.0  # when its last step came; 0 before
        self.total_steps = 0  # of the run by then: it may go on before the film is made

    @property
    def is_whole(self) -> bool:
        """Whether the episode has ended and nothing more will come of it."""
        frames = len(self.frames) == len(self.steps)
        return bool(self.ended) and frames and not self.unscored and not self.asked


class VideoNode(FurlNode):
    """See the module's docstring; docs/videos.md tells what comes of it."""

    def __init__(self, **options: Any) -> None:
        super().__init__('video_node', **options)
        self.config = declare(self, VideoNodeConfig)
        if not self.config.run_folder:
            raise SettingError("run_folder is ''; accepted: the folder of the run")
        self.folder = Path(self.config.run_folder).expanduser()
        self.shelf = Shelf(self.folder / VIDEOS)
        self.board: SummaryWriter | None = None
        self.prompt, self.period, self.total_steps = '', 0.05, 0
        self.take: Take | None = None
        self.takes: list[Take] = []  # the one that runs, and those that wait for something
        self.early: dict[int, Image] = {}
        self.early_scores: dict[int, Score] = {}
        self.films: queue.SimpleQueue[Film] = queue.SimpleQueue()
        self.made = 0
        prefix = prefix_of(self.config.source)
        self.scorer = self.create_client(ScoreFrames, 'score_frames')
        for kind, topic, handler, qos in (
            (Image, f'{prefix}{self.config.image_topic}', self.on_frame, LOCKSTEP),
            (Observation, f'{prefix}observation', self.on_observation, ALIGNED),
            (SourceInfo, f'{prefix}source_info', self.on_source, LATCHED),
            (PromptEmbedding, 'prompt_embedding', self.on_prompt, LATCHED),
            (TrainingStatus, 'training_status', self.on_status, LATCHED),
        ):
            self.create_subscription(kind, topic, handler, qos)
        if self.config.scores == 'listen':
            self.create_subscription(FrameScore, f'{prefix}frame_score', self.on_score, ALIGNED)
        self.create_timer(LOOK_S, self.look, clock=self.steady_clock)

    # In the executor's thread

    def on_source(self, message: SourceInfo) -> None:
        """The robot says how long a step takes."""
        if message.control_period > 0:
            self.period = message.control_period

    def on_prompt(self, message: PromptEmbedding) -> None:
        """There is a prompt, or another one."""
        if self.is_ours(message, 'prompt_embedding'):
            self.prompt = message.prompt

    def on_status(self, message: TrainingStatus) -> None:
        """The run has come this far."""
        if self.is_ours(message, 'training_status'):
            self.total_steps = message.total_steps

    def on_frame(self, message: Image) -> None:
        """Keep a frame until it is known whether its episode is filmed."""
        stamp = to_ns(message.header.stamp)
        if take := self.take_of(stamp):
            self.add_frame(take, stamp, message)
        else:
            _keep_some(self.early, stamp, message)

    def on_score(self, message: FrameScore) -> None:
        """Keep the score of a frame, as the frame itself."""
        if not self.is_ours(message, 'frame_score'):
            return
        stamp, score = to_ns(message.header.stamp), Score.of(message)
        if take := self.take_of(stamp):
            take.scores[stamp] = score
        else:
            _keep_some(self.early_scores, stamp, score)

    def take_of(self, stamp: int) -> Take | None:
        """The episode that is filmed with a step of this stamp."""
        for take in self.takes:
            if any(step.stamp == stamp for step in reversed(take.steps)):
                return take
        return None

    def on_observation(self, message: Observation) -> None:
        """One step: of an episode that is filmed, or that is not."""
        if not self.is_ours(message, 'observation'):
            return
        try:
            step = from_observation(message)
        except ValueError as error:
            self.count_bad('bad observations', str(error))
            return
        frame = self.early.pop(step.stamp, None)
        score = self.early_scores.pop(step.stamp, None)
        if step.step == 0:
            self.begin(message.seed, step)
        take = self.take
        if take is None or step.episode != take.episode:
            return
        if take.steps and step.previous_stamp != take.steps[-1].stamp:
            self.drop('a step was lost')
            return
        if len(take.steps) < LONGEST:
            take.steps.append(step)
            if frame is not None:
                self.add_frame(take, step.stamp, frame)
            if score is not None:
                take.scores[step.stamp] = score
        if step.last:
            take.ended, take.total_steps = time.monotonic(), self.total_steps
            self.take = None

    def begin(self, seed: int, step: Sensed) -> None:
        """An episode begins; one that was not played to its end is not kept."""
        self.drop('')
        if self.config.only_seed in (-1, seed):
            self.take = Take(step.episode)
            self.takes.append(self.take)

    def drop(self, why: str) -> None:
        """Film the running episode no longer."""
        if self.take is not None:
            self.takes.remove(self.take)
            self.take = None
            if why:
                self.count_bad('films dropped', why)

    def add_frame(self, take: Take, stamp: int, frame: Image) -> None:
        """Keep the frame of a step, and have it scored together with others."""
        take.frames[stamp] = frame
        if self.config.scores == 'ask':
            take.unscored.append(stamp)
            if len(take.unscored) >= BATCH:
                self.ask(take)

    def ask(self, take: Take) -> None:
        """Have the newest frames scored, where there is somebody who can."""
        stamps = list(take.unscored)
        take.unscored.clear()
        if not stamps or not self.scorer.service_is_ready():
            return
        future = self.scorer.call_async(
            ScoreFrames.Request(images=[take.frames[stamp] for stamp in stamps])
        )
        take.asked[future] = stamps
        future.add_done_callback(partial(self.on_scores, take))

    def on_scores(self, take: Take, future: Future) -> None:
        """The model has answered."""
        stamps, answer = take.asked.pop(future), future.result()
        if answer is None:
            return
        for stamp, score in zip(stamps, answer.scores, strict=False):
            take.scores[stamp] = Score.of(score)

    def look(self) -> None:
        """Have films made of the episodes that are whole, or late."""
        for take in [take for take in self.takes if take.ended]:
            self.ask(take)
            late = time.monotonic() > take.ended + PATIENCE_S
            scored = self.config.scores != 'listen' or len(take.scores) == len(take.steps)
            if not (take.is_whole and scored) and not late:
                continue
            self.takes.remove(take)
            if film := self.film_of(take):
                self.films.put(film)
                self.forget_some()

    def forget_some(self) -> None:
        """Let the oldest films go when episodes end faster than they can be made."""
        with contextlib.suppress(queue.Empty):
            while self.films.qsize() > MOST_WAITING:
                self.films.get_nowait()
                self.counts['films dropped'] += 1

    def film_of(self, take: Take) -> Film | None:
        """The film of an episode; steps whose frames never came, or are none, are left out."""
        frames, moments = [], []
        for step in take.steps:
            score = take.scores.get(step.stamp, Score())
            try:
                frame = from_image_msg(take.frames[step.stamp])
            except (KeyError, ValueError) as error:
                self.count_bad('frames missing', str(error))
                continue
            if frames and frame.shape != frames[0].shape:
                self.count_bad('frames missing', 'the size has changed')
                continue
            frames.append(frame)
            moments.append(
                Moment(
                    step.step,
                    score.cosine,
                    score.reward,
                    step.success,
                    AGENT,
                    score.heads_version,
                )
            )
        if not frames:
            return None
        task_return = float(sum(step.task_reward for step in take.steps))
        return Film(take.total_steps, self.prompt, frames, moments, self.period, task_return)

    def diagnose(self) -> tuple[Level, str, dict[str, object]]:
        values = {
            'films': self.made,
            'waiting': self.films.qsize(),
            'total_steps': self.total_steps,
        }
        return OK, f'{self.made} films made', values

    # In the main thread

    def work(self, stop: threading.Event) -> int:
        """Make films until stopped; those of episodes that have ended by then, too."""
        while not stop.is_set():
            self.make_next(timeout=LOOK_S)
        deadline = time.monotonic() + FAREWELL_S
        while any(take.ended for take in self.takes.copy()) and time.monotonic() < deadline:
            self.make_next(timeout=LOOK_S)
        while not self.films.empty():
            self.make_next(timeout=0)
        if self.board is not None:
            # A disk that is full was told with the film.
            with contextlib.suppress(OSError):
                self.board.close()
        return 0

    def make_next(self, timeout: float) -> None:
        """Make the film that waits, if there is one."""
        try:
            film = self.films.get(timeout=timeout)
        except queue.Empty:
            return
        try:
            with self.stages('make'):
                names = self.shelf.add(film)
                if self.board is None:
                    self.board = SummaryWriter(str(self.folder / STRIPS))
                self.board.add_image(
                    'evaluation/film', film_strip(film), film.total_steps, dataformats='HWC'
                )
                self.board.flush()
        except (OSError, ValueError) as error:
            self.count_bad('films not written', str(error))
            return
        self.made += 1
        self.get_logger().info(
            f'{self.folder / VIDEOS}: {", ".join(names)}'
            f' ({len(film.frames)} frames, step {film.total_steps:,})'
        )


def _keep_some(early: dict[int, Any], stamp: int, what: Any) -> None:
    """Keep what came before its observation, but only the newest of these."""
    early[stamp] = what
    while len(early) > EARLY:
        del early[next(iter(early))]


def main() -> None:
    """Entry point of ``ros2 run furl_ros video_node``."""
    sys.exit(run(VideoNode))


if __name__ == '__main__':
    main()
