# SPDX-License-Identifier: Apache-2.0
"""The learner's side of the reward: what reward node and alignment node say, what they are asked.

The callbacks only fill the inbox; everything else runs in the thread that drains it.
"""

import math
import queue
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from std_msgs.msg import Float64

from furl_interfaces.msg import PromptEmbedding, RewardHeads
from furl_interfaces.srv import SaveCheckpoint
from furl_ros.bridge.config import LearnerNodeConfig
from furl_ros.bridge.convert import from_heads_msg, from_prompt_msg, to_ns, to_time
from furl_ros.bridge.inbox import Inbox
from furl_ros.bridge.limits import ALIGNED_DEPTH
from furl_ros.bridge.node import FurlNode
from furl_ros.bridge.qos import LATCHED
from furl_ros.bridge.source import Source, SourceError
from furl_ros.core.config import ScoringConfig
from furl_ros.core.head_versions import HeadVersions
from furl_ros.core.heads import RewardHeads as Heads
from furl_ros.core.methods import Method
from furl_ros.core.reward import check_targets
from furl_ros.core.settings import SettingError
from furl_ros.core.trainer import Trainer

SAVE_S = 10.0  # seconds that a checkpoint waits for the alignment's part, at least
ASK_AGAIN_S = 8.0  # seconds without an answer after which it is asked again
POLL_S = 0.5
MOST_LOSS = 1e6  # no head loss comes near: a stranger said so


class Alignment:
    """Prompt and heads as they come, and the alignment's part of a checkpoint.

    Args:
        node: makes subscriptions and the client; counts what cannot be used.
        inbox: where the callbacks put what arrives.
        sources: the robots; are told the width of the embeddings, and what the heads have seen.
        config: of the node.
        method: of the comparison; without a VLM there is nothing to wait for, nor to save.
        scoring: how embeddings become the VLM reward.

    Attributes:
        stage, negatives, loss: of the head training, as the alignment said last: its stage, frames
            in the ring of the negatives, the sum of its losses (NaN: none yet).
        embeddings: of prompt, goal image and baseline prompt, float32 [E] or None.
        prompt: the task in words.
    """

    def __init__(
        self,
        node: FurlNode,
        inbox: Inbox,
        sources: Sequence[Source],
        config: LearnerNodeConfig,
        method: Method,
        scoring: ScoringConfig,
    ) -> None:
        self.stage = self.negatives = 0
        self.loss = math.nan
        self.embeddings: tuple[np.ndarray | None, ...] = (None, None, None)
        self.prompt = ''
        self._node, self._sources, self._name = node, sources, config.alignment
        self._method, self._scoring = method, scoring
        every = config.publish_every if method.heads == 'trained' else 0
        self._versions = HeadVersions(every if config.deterministic else None)
        self._trainer: Trainer | None = None
        for kind, topic, handler in (
            (PromptEmbedding, 'prompt_embedding', self._on_prompt),
            (RewardHeads, 'reward_heads', self._on_heads),
            (Float64, 'head_loss', self._on_loss),
        ):
            node.create_subscription(kind, topic, lambda m, h=handler: inbox.put(h, m), LATCHED)
        self._service = f'{self._name}/save_checkpoint'
        self._client = node.create_client(SaveCheckpoint, self._service)

    @property
    def missing(self) -> list[str]:
        """What has not come yet that training needs, by name."""
        if not self._method.vlm:
            return []
        here = {
            'prompt_embedding': self.embeddings[0] is not None,
            'reward_heads': len(self._versions) > 0,
            self._service: self._client.service_is_ready(),
        }
        return [name for name, is_here in here.items() if not is_here]

    def begin(self, trainer: Trainer, on_prompt: Callable[[str], None]) -> None:
        """Training begins: this trainer gets prompt, goal image and heads from now on.

        Args:
            on_prompt: told each further prompt.
        """
        self._trainer, self._on_new_prompt = trainer, on_prompt
        self._versions.begin(trainer, self._most_transitions)

    def give_due_heads(self) -> bool:
        """Before an update: use the heads that belong to it; False when they have not come."""
        return self._versions.give_due()

    def save(
        self,
        folder: Path,
        newest: Iterable[int],
        patience: float,
        say_wait: Callable[[str], None],
    ) -> None:
        """Have the alignment node write its part of a checkpoint, as of this very step.

        What it has not received whole is given up, and said, once it has stood still at that for
        half of ``patience``: a checkpoint without a few frames of the heads is worth more than
        none. One that was paused has all its time from when it answers again.

        Args:
            folder: where, relative to the run folder.
            newest: stamps of the newest observations that were learned from, one per source.
            patience: seconds to wait for any answer, but never less than ``SAVE_S``.
            say_wait: told what is waited for.

        Raises:
            SourceError: it could not, or did not answer in time.
        """
        if not self._method.vlm:
            return
        request = SaveCheckpoint.Request(run=self._node.run_id, path=str(folder))
        request.newest = [to_time(stamp) for stamp in newest]
        patience = max(patience, SAVE_S)
        answers: queue.SimpleQueue[SaveCheckpoint.Response] = queue.SimpleQueue()
        reason, asked = 'no answer', -math.inf
        answered, stands_since = time.monotonic(), math.inf
        while True:
            now = time.monotonic()
            # Middleware that took us for dead in a long pause has let the request fall.
            if now > asked + ASK_AGAIN_S:
                asked = now
                request.give_up = now > stands_since + patience / 2
                future = self._client.call_async(request)
                future.add_done_callback(lambda done: answers.put(done.result()))
            try:
                response = answers.get(timeout=POLL_S)
            except queue.Empty:
                if time.monotonic() > answered + patience:
                    raise SourceError(f'the alignment could not save: {reason}') from None
                say_wait(f'saving: waiting for {self._name}')
                continue
            answered = time.monotonic()
            if response.error_code == SaveCheckpoint.Response.OK:
                break
            if response.error_code == SaveCheckpoint.Response.FAILED:
                raise SourceError(f'the alignment could not save: {response.error_msg}')
            if response.error_msg != reason:
                reason, stands_since = response.error_msg, answered
            time.sleep(0.01)
            asked = -math.inf
        if response.lacking:
            self._node.counts['steps that the alignment lacks'] += len(response.lacking)
            stamps = ', '.join(str(to_ns(stamp)) for stamp in response.lacking)
            self._node.get_logger().error(f'the alignment lacks the steps stamped {stamps} ns')

    def _on_prompt(self, message: PromptEmbedding) -> None:
        """The fixed side of the reward: tells the width of the embeddings.

        Raises:
            SettingError: the reward node scores in another way, and training has not begun.
        """
        if not self._method.vlm or not self._node.is_ours(message, 'prompt_embedding'):
            return
        ours = self._scoring.scoring
        if message.scoring != ours:
            text = f"scoring is {ours!r}, but the reward node's {message.scoring!r}"
            if self._trainer is None:
                raise SettingError(f'{text}; accepted: the same in both')
            self._node.count_bad('bad prompt embeddings', text)
            return
        try:
            text, goal, baseline = from_prompt_msg(message)
            check_targets(self._scoring, goal, baseline)
            if self._trainer is not None and len(text) != len(self._trainer.text):
                raise ValueError(f'{len(text)} values; accepted: {len(self._trainer.text)}')
        except ValueError as error:
            self._node.count_bad('bad prompt embeddings', str(error))
            return
        self.embeddings = text, goal, baseline
        for source in self._sources:
            source.embedding_width = len(text)
        before, self.prompt = self.prompt, message.prompt
        if self._trainer is None:
            return
        if goal is not None:
            self._trainer.set_goal(goal)
        if self.prompt != before:
            self._trainer.set_text(text)
            self._on_new_prompt(self.prompt)

    def _on_heads(self, message: RewardHeads) -> None:
        """A version of the heads: used from the next update on, or when it is due."""
        if not self._node.is_ours(message, 'reward_heads'):
            return
        try:
            heads = Heads.from_flat(**from_heads_msg(message))
            most, text = self._most_transitions, self.embeddings[0]
            if message.transitions > most:
                raise ValueError(
                    f'{message.transitions} transitions; accepted: at most {most}, since no more'
                    ' have begun'
                )
            if text is not None and heads.layer_sizes[0] != len(text):
                raise ValueError(
                    f'heads take {heads.layer_sizes[0]} values; accepted: {len(text)}, the width of'
                    ' the embeddings'
                )
        except ValueError as error:
            self._node.count_bad('bad heads', str(error))
            return
        self.stage, self.negatives = message.stage, message.negatives
        for source, stamp in zip(self._sources, message.newest, strict=False):
            source.aligned(to_ns(stamp))
        self._versions.add(heads, message.version, message.transitions)

    def _on_loss(self, message: Float64) -> None:
        """For people alone: it names no run."""
        if abs(message.data) <= MOST_LOSS:
            self.loss = message.data

    @property
    def _most_transitions(self) -> float:
        """Transitions that the alignment can have seen; it may be ahead of us."""
        if self._trainer is None:
            return float('inf')
        begun = self._trainer.steps + sum(source.in_flight for source in self._sources)
        return begun + ALIGNED_DEPTH
