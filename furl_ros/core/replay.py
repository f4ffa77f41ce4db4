# SPDX-License-Identifier: Apache-2.0
"""One replay for both agents: embeddings instead of VLM rewards, relabelled when sampled."""

from collections import deque
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from furl_ros.core.settings import SettingError

NO_EMBEDDING = np.zeros(0, np.float32)
NO_ACTION = np.zeros(0, np.float32)
_MOST = float(np.finfo(np.float16).max)


def can_be_kept(embedding: np.ndarray) -> bool:
    """Whether all values of an embedding, float32 [E], are finite as float16, too."""
    return bool((np.abs(embedding) <= _MOST).all())


class Transition(NamedTuple):
    """One step of the robot.

    ``embedding`` belongs to the frame after the action. ``stamp`` (nanoseconds) is that frame's.
    """

    state: np.ndarray
    """float32 [S], before the action."""
    action: np.ndarray
    """float32 [A], as carried out, scaled to [-1, 1]."""
    next_state: np.ndarray
    """float32 [S]."""
    task_reward: float
    success: bool
    terminated: bool
    """No value beyond next_state. A time limit is no termination: there the value bootstraps."""
    embedding: np.ndarray
    """Raw image embedding [E], kept as float16; [0] for methods without a VLM."""
    stamp: int
    source: int
    episode: int
    step: int
    previous_embedding: np.ndarray = NO_EMBEDDING
    """Raw embedding [E] of the frame before the action, where the replay keeps it."""
    lag: int = 0
    """Steps by which the frame that the policy saw was older than that one."""
    demonstration: bool = False
    """A person, or a script, chose the action."""
    asked_action: np.ndarray = NO_ACTION
    """float32 [A], what was asked for before the robot's limits cut it, scaled likewise; [0]: the
    action itself."""


class Batch(NamedTuple):
    """What both agents learn from, torch tensors on the CPU.

    With n-step returns next_states, terminated and embeddings are those n steps ahead, and
    task_rewards the discounted sum up to there.
    """

    states: Tensor
    """float32 [B, S]"""
    actions: Tensor
    """float32 [B, A]"""
    next_states: Tensor
    """float32 [B, S]"""
    terminated: Tensor
    """float32 [B, 1], 0 or 1"""
    task_rewards: Tensor
    """float32 [B, 1]"""
    embeddings: Tensor
    """float32 [B, E]"""
    returns: Tensor = torch.zeros(0, 1)
    """Discounted task rewards of the episode from here on, as far as it went, float32 [B, 1]; minus
    infinity as long as it has not ended."""
    previous_embeddings: Tensor = torch.zeros(0, 0)
    """Of the frames before the actions, float32 [B, E]; [0, 0] where the replay keeps none."""
    discounts: Tensor = torch.zeros(0, 1)
    """Of the value beyond next_states, float32 [B, 1]: gamma ** n; [0, 1]: the agents' gamma."""
    succeeded: Tensor = torch.zeros(0, 1, dtype=torch.bool)
    """The episode has ended, and had a success, bool [B, 1]."""
    seen: Tensor = torch.zeros(0, 0)
    """Embeddings that the policy saw when it acted, float32 [B, E]; [0, 0] where the replay keeps
    no previous ones."""
    next_seen: Tensor = torch.zeros(0, 0)
    """Those that it sees in next_states, float32 [B, E]; likewise."""


class _Overwritten(NamedTuple):
    """A transition that has given way."""

    slot: int
    values: dict[str, np.ndarray]
    returned: np.float32
    succeeded: np.bool_
    apart: np.ndarray | None
    """Embedding of the frame before it, where the replay keeps these."""


class Replay:
    """Ring of transitions in flat arrays; memory is taken as it fills.

    A frame after one action is the frame before the next, so it is stored once: ``_previous``
    tells in which slot. Where that slot is not to be had (the first step of an episode, a step
    whose predecessor was left out or has given way), the frame is kept in ``_apart``: one for each
    episode and one for each source, little beside the ring.

    A robot's limits are part of the world that an action meets: what was asked for leads where the
    action that they left of it leads. Of a batch every other row has the one, the others have the
    other. Were only the latter learned from, nothing would ever correct the value of asking for
    more than the limits allow.

    Args:
        capacity: transitions kept.
        state_width, action_width, embedding_width: S, A and E.
        keeps_previous: give the embedding of the frame before each action, too.
        n_step: steps that a drawn transition reaches ahead, within its episode.
        gamma: discount per step.
    """

    def __init__(
        self,
        capacity: int,
        state_width: int,
        action_width: int,
        embedding_width: int,
        keeps_previous: bool = False,
        n_step: int = 1,
        gamma: float = 1.0,
    ) -> None:
        self.capacity = capacity
        self.keeps_previous = keeps_previous
        self.n_step, self.gamma = n_step, gamma
        self.written = 0
        self.arrays: dict[str, np.ndarray] = {
            'state': np.zeros((capacity, state_width), np.float32),
            'action': np.zeros((capacity, action_width), np.float32),
            'asked_action': np.zeros((capacity, action_width), np.float32),
            'next_state': np.zeros((capacity, state_width), np.float32),
            'task_reward': np.zeros(capacity, np.float32),
            'success': np.zeros(capacity, bool),
            'terminated': np.zeros(capacity, bool),
            'embedding': np.zeros((capacity, embedding_width), np.float16),
            'stamp': np.zeros(capacity, np.int64),
            'source': np.zeros(capacity, np.int32),
            'episode': np.zeros(capacity, np.int32),
            'step': np.zeros(capacity, np.int32),
            'lag': np.zeros(capacity, np.uint8),
            'demonstration': np.zeros(capacity, bool),
        }
        self._returns = np.full(capacity, -np.inf, np.float32)
        # Rows of finished episodes with a success; their slots, None when they have changed.
        self._succeeded = np.zeros(capacity, bool)
        self._success_slots: np.ndarray | None = None
        self._demonstration_slots: np.ndarray | None = None
        # Slots of the transitions before and after, -1 for none.
        self._linked = keeps_previous or n_step > 1
        links = capacity if self._linked else 0
        self._previous = np.full(links, -1, np.int32)
        self._next = np.full(links, -1, np.int32)
        self._newest: dict[int, int] = {}
        self._most_lag = 0
        # Of each running episode (source, episode) the number of its first transition; and what the
        # transitions since the first of these have taken the place of.
        self._running: dict[tuple[int, int], int] = {}
        self._overwritten: deque[_Overwritten] = deque()
        self._apart: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return min(self.written, self.capacity)

    def add(self, transition: Transition) -> None:
        """Append a transition; the oldest one gives way when the ring is full.

        Raises:
            ValueError: the replay keeps previous embeddings, and this one has another width.
        """
        slot = self.written % self.capacity
        self._running.setdefault((transition.source, transition.episode), self.written)
        if self.written >= self.capacity:
            self._overwritten.append(self._row(slot))
        if self._linked:
            self._link(slot, transition)
        if not len(transition.asked_action):
            transition = transition._replace(asked_action=transition.action)
        if transition.demonstration or self.arrays['demonstration'][slot]:
            self._demonstration_slots = None
        for name, array in self.arrays.items():
            array[slot] = getattr(transition, name)
        self._most_lag = max(self._most_lag, transition.lag)
        self._returns[slot] = -np.inf
        if self._succeeded[slot]:
            self._succeeded[slot] = False
            self._success_slots = None
        self.written += 1

    @property
    def has_success(self) -> bool:
        """Whether a finished episode with a success is in it."""
        return len(self._slots_of_successes()) > 0

    def _slots_of_successes(self) -> np.ndarray:
        if self._success_slots is None:
            self._success_slots = np.flatnonzero(self._succeeded)
        return self._success_slots

    def _slots_of_demonstrations(self) -> np.ndarray:
        if self._demonstration_slots is None:
            shown = self.arrays['demonstration'][: len(self)]
            self._demonstration_slots = np.flatnonzero(shown)
        return self._demonstration_slots

    def newest_stamp(self, source: int) -> int:
        """Stamp of the newest transition of a source, nanoseconds; 0 where there is none."""
        used = slice(len(self))
        stamps = self.arrays['stamp'][used][self.arrays['source'][used] == source]
        return int(stamps.max(initial=0))

    def end_episode(self, source: int, episode: int, gamma: float) -> None:
        """Note of a finished episode's rows whether it had a success, and what each led to.

        Args:
            source, episode: which one.
            gamma: discount of the returns.
        """
        self._running.pop((source, episode), None)
        self._forget_overwritten()
        used = slice(len(self))
        slots = np.flatnonzero(
            (self.arrays['source'][used] == source) & (self.arrays['episode'][used] == episode)
        )
        if not len(slots):
            return
        slots = slots[np.argsort(self.arrays['step'][slots])]
        rewards = self.arrays['task_reward'][slots].astype(np.float64)
        # Beyond a time limit no reward is worse than the worst so far, or none.
        lowest = min(0.0, rewards.min()) / (1 - gamma) if gamma < 1 else -np.inf
        value = 0.0 if self.arrays['terminated'][slots[-1]] else lowest
        for slot, reward in zip(slots[::-1], rewards[::-1], strict=True):
            value = reward + gamma * value
            self._returns[slot] = value
        if self.arrays['success'][slots].any():
            self._succeeded[slots] = True
            self._success_slots = None

    def forget_episode(self, source: int, episode: int) -> int:
        """Forget a running episode, as if it had never been; what it has overwritten comes back.

        Returns:
            How many transitions of it the ring still held: all, unless it outlived the ring.
        """
        began = self._running.pop((source, episode), self.written)
        numbers = np.arange(max(began, self.written - self.capacity), self.written)
        slots = numbers % self.capacity
        gone = (self.arrays['source'][slots] == source) & (self.arrays['episode'][slots] == episode)
        count = int(gone.sum())
        if not count:
            self._forget_overwritten()
            return 0
        kept, apart = slots[~gone], dict(self._apart)
        for slot in slots.tolist():
            self._apart.pop(slot, None)
        for new, old in zip(slots.tolist(), kept.tolist(), strict=False):
            if old in apart:
                self._apart[new] = apart[old]
        for array in (*self.arrays.values(), self._returns, self._succeeded):
            array[slots[: len(kept)]] = array[kept]
        self.written -= count
        # Of the running episodes the others have moved up.
        self._running = {
            key: first - int(gone[: max(0, first - int(numbers[0]))].sum())
            for key, first in self._running.items()
        }
        for _ in range(min(count, len(self._overwritten))):
            self._put_back(self._overwritten.pop())
        self._success_slots = self._demonstration_slots = None
        if self._linked:
            self._restore_links()
            # A frame whose predecessor is there again is no longer kept apart.
            for slot in [slot for slot in self._apart if self._previous[slot] >= 0]:
                del self._apart[slot]
        self._forget_overwritten()
        return count

    def _row(self, slot: int) -> '_Overwritten':
        """Everything of a transition that is about to be overwritten."""
        apart = self._apart.get(slot)
        if self._linked and apart is None and self._previous[slot] >= 0:
            apart = self.arrays['embedding'][self._previous[slot]].copy()
        return _Overwritten(
            slot,
            {name: array[slot].copy() for name, array in self.arrays.items()},
            self._returns[slot],
            self._succeeded[slot],
            apart,
        )

    def _put_back(self, row: '_Overwritten') -> None:
        for name, value in row.values.items():
            self.arrays[name][row.slot] = value
        self._returns[row.slot], self._succeeded[row.slot] = row.returned, row.succeeded
        if self.keeps_previous and row.apart is not None:
            self._apart[row.slot] = row.apart

    def _forget_overwritten(self) -> None:
        """Let go of what no running episode can bring back."""
        first = min(self._running.values(), default=self.written)
        while self._overwritten and len(self._overwritten) > self.written - first:
            self._overwritten.popleft()

    def _draw(
        self,
        generator: np.random.Generator,
        count: int,
        success_share: float,
        demonstration_share: float = 0.0,
    ) -> np.ndarray:
        """Slots of a batch, int64 [count]."""
        parts: list[np.ndarray] = []
        # Nobody looks for slots that no share asks for: in a full ring each step would.
        for share, slots_of in (
            (success_share, self._slots_of_successes),
            (demonstration_share, self._slots_of_demonstrations),
        ):
            size = min(round(share * count), count - sum(map(len, parts)))
            if size and len(slots := slots_of()):
                parts.append(slots[generator.integers(len(slots), size=size)])
        parts.append(generator.integers(len(self), size=count - sum(map(len, parts))))
        return np.concatenate(parts)

    def _link(self, slot: int, transition: Transition) -> None:
        """Note which transition comes before one that is about to be written to a slot."""
        embeddings = self.arrays['embedding']
        shape = np.shape(transition.previous_embedding)
        if self.keeps_previous and shape != embeddings.shape[1:]:
            raise ValueError(
                f'previous_embedding has shape {shape}; accepted: {embeddings.shape[1:]}'
            )
        orphan = int(self._next[slot])
        if orphan >= 0:
            if self.keeps_previous:
                self._apart[orphan] = embeddings[slot].copy()
            self._previous[orphan] = -1
        self._apart.pop(slot, None)
        self._previous[slot] = self._next[slot] = -1

        before = self._newest.get(transition.source, slot)
        follows = before != slot and all(
            self.arrays[name][before] == value
            for name, value in (
                ('source', transition.source),
                ('episode', transition.episode),
                ('step', transition.step - 1),
            )
        )
        if follows:
            self._previous[slot], self._next[before] = before, slot
        elif self.keeps_previous:
            self._apart[slot] = np.array(transition.previous_embedding, embeddings.dtype)
        self._newest[transition.source] = slot

    def sample(
        self,
        generator: np.random.Generator,
        count: int,
        success_share: float = 0.0,
        demonstration_share: float = 0.0,
    ) -> Batch:
        """Draw transitions uniformly, with replacement.

        Args:
            generator: of the draws.
            count: B.
            success_share: share of them that is drawn from the episodes with a success alone, if
                there is one.
            demonstration_share: share that is drawn from demonstrations alone, likewise; at most
                what the other leaves.
        """
        rows = self._draw(generator, count, success_share, demonstration_share)
        ends, rewards, discounts = self._ahead(rows)

        def column(name: str, rows: np.ndarray = rows) -> Tensor:
            return torch.from_numpy(self.arrays[name][rows]).float()

        actions = column('action')
        actions[1::2] = column('asked_action', rows[1::2])
        previous = self._previous_embeddings(rows) if self.keeps_previous else torch.zeros(0, 0)
        embeddings = column('embedding', ends)
        seen, next_seen = self._seen(rows, ends, previous, embeddings)
        return Batch(
            column('state'),
            actions,
            column('next_state', ends),
            column('terminated', ends)[:, None],
            torch.from_numpy(rewards).float()[:, None],
            embeddings,
            torch.from_numpy(self._returns[rows])[:, None],
            previous,
            torch.from_numpy(discounts).float()[:, None],
            torch.from_numpy(self._succeeded[rows])[:, None],
            seen,
            next_seen,
        )

    def _ahead(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where ``n_step`` steps from each row lead, or as many as its episode still has.

        Returns:
            Slots of the last ones, the discounted rewards on the way, and what the value beyond is
            discounted by.
        """
        ends = rows
        rewards = self.arrays['task_reward'][rows]
        discounts = np.full(len(rows), self.gamma)
        for _ in range(self.n_step - 1):
            following = self._next[ends]
            goes_on = following >= 0
            ends = np.where(goes_on, following, ends)
            further = discounts * self.arrays['task_reward'][ends]
            rewards = np.where(goes_on, rewards + further, rewards)
            discounts = np.where(goes_on, discounts * self.gamma, discounts)
        return ends, rewards, discounts

    def _seen(
        self, rows: np.ndarray, ends: np.ndarray, previous: Tensor, embeddings: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the policy saw at ``rows``, and what it sees after ``ends``.

        Args:
            previous: embeddings of the frames before the actions of ``rows``.
            embeddings: of those after ``ends``.
        """
        if not self.keeps_previous or not self._most_lag:
            return previous, embeddings
        lags = self.arrays['lag']
        seen = self._previous_embeddings(self._back(rows, lags[rows]))
        # Where nobody has acted since, the policy is taken to be as late as before.
        following = self._next[ends]
        late = np.where(following >= 0, lags[following], lags[ends])
        next_seen, (behind,) = embeddings.clone(), np.nonzero(late)
        # One step back is the frame before, which may be kept apart.
        next_seen[behind] = self._previous_embeddings(self._back(ends[behind], late[behind] - 1))
        return seen, next_seen

    def _back(self, slots: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Slots so many steps before, or of the first steps that are still there."""
        for step in range(int(steps.max(initial=0))):
            before = self._previous[slots]
            slots = np.where((steps > step) & (before >= 0), before, slots)
        return slots

    def _previous_embeddings(self, rows: np.ndarray) -> Tensor:
        slots = self._previous[rows]
        embeddings = self.arrays['embedding'][slots]
        for index in np.flatnonzero(slots < 0):
            embeddings[index] = self._apart[int(rows[index])]
        return torch.from_numpy(embeddings).float()

    def state(self) -> dict[str, np.ndarray]:
        """What has been written, for a checkpoint."""
        state = {name: array[: len(self)] for name, array in self.arrays.items()}
        state['succeeded'] = self._succeeded[: len(self)]
        state['return'] = self._returns[: len(self)]
        if self.keeps_previous:
            slots = np.array(sorted(self._apart), np.int32)
            embeddings = np.zeros((len(slots), self.arrays['embedding'].shape[1]), np.float16)
            for row, slot in enumerate(slots.tolist()):
                embeddings[row] = self._apart[slot]
            state['apart_slots'], state['apart_embeddings'] = slots, embeddings
        return {**state, 'written': np.array([self.written], np.int64)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take over ``state``.

        Raises:
            SettingError: the replay had another size or other widths, or kept no previous
                embeddings where this one does.
        """
        written = int(state['written'][0])
        used = min(written, self.capacity)
        if self.keeps_previous and 'apart_slots' not in state:
            raise SettingError(
                "the checkpoint's replay has no embeddings of previous frames; accepted: a"
                ' checkpoint of a run with the same scoring'
            )
        # Checkpoints of earlier versions have no such columns.
        missing = {
            'asked_action': state['action'],
            'lag': np.zeros(used, np.uint8),
            'demonstration': np.zeros(used, bool),
        }
        state = missing | state
        for name, array in self.arrays.items():
            if state[name].shape != (used, *array.shape[1:]):
                raise SettingError(
                    f"the checkpoint's replay has {name} of shape {list(state[name].shape)};"
                    f' accepted: {[used, *array.shape[1:]]} (the same buffer_size, task and model)'
                )
        for name, array in self.arrays.items():
            array[:used] = state[name]
        self._most_lag = int(self.arrays['lag'][:used].max(initial=0))
        self._succeeded[:] = False
        # Checkpoints of earlier versions have no such columns.
        self._succeeded[:used] = state.get('succeeded', False)
        self._returns[:used] = state.get('return', -np.inf)
        self._success_slots = self._demonstration_slots = None
        self.written = written
        self._running.clear()
        self._overwritten.clear()
        if self._linked:
            self._restore_links()
        if self.keeps_previous:
            self._apart = dict(
                zip(state['apart_slots'].tolist(), state['apart_embeddings'].copy(), strict=True)
            )

    def _restore_links(self) -> None:
        used = len(self)
        source, episode, step = (self.arrays[n][:used] for n in ('source', 'episode', 'step'))
        order = np.lexsort((step, episode, source))
        before, after = order[:-1], order[1:]
        follows = (
            (source[before] == source[after])
            & (episode[before] == episode[after])
            & (step[before] + 1 == step[after])
        )
        self._previous[:], self._next[:] = -1, -1
        self._previous[after[follows]] = before[follows]
        self._next[before[follows]] = after[follows]
        newest_first = (self.written - 1 - np.arange(used)) % self.capacity
        sources, first = np.unique(self.arrays['source'][newest_first], return_index=True)
        self._newest = dict(zip(sources.tolist(), newest_first[first].tolist(), strict=True))
