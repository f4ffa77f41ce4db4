# SPDX-License-Identifier: Apache-2.0
"""The learner without ROS: relay SAC on one replay (arXiv 2406.00645, algorithm 1)."""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np
import torch

from furl_ros.core.agents import Agent, unscaled
from furl_ros.core.alignment import count_positives
from furl_ros.core.config import PLAIN_COSINE, ScoringConfig, TrainConfig
from furl_ros.core.demonstrations import SOURCE as SHOWN
from furl_ros.core.demonstrations import Demonstrations, check_sizes
from furl_ros.core.exported import to_onnx
from furl_ros.core.heads import RewardHeads
from furl_ros.core.methods import METHODS
from furl_ros.core.observe import check_observe
from furl_ros.core.policy_input import PolicyInput
from furl_ros.core.relay import SAC, VLM, Relay
from furl_ros.core.relay_update import RelayUpdate
from furl_ros.core.replay import NO_EMBEDDING, Batch, Replay, Transition
from furl_ros.core.reward import check_targets, frame_scores, potential_difference
from furl_ros.core.run import TRAINER_FILE
from furl_ros.core.scorings import PAIRED, PROGRESS, check_n_step, check_scoring
from furl_ros.core.settings import SettingError
from furl_ros.core.storage import (
    generator_from_json,
    generator_to_json,
    load_tree,
    save_tree,
)
from furl_ros.core.timing import Stages

RANDOM = 'random'
# Of the file names of nets that take scaled states.
SCALED = '_agent_scaled'
WINDOW = 20


@dataclass
class Running:
    """An episode under way: one value per action, or per step that was taken in, JSON-able."""

    actions: list[list[float]] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    successes: list[bool] = field(default_factory=list)
    interventions: list[bool] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def state(self) -> dict[str, list]:
        """Everything but the scores: under which heads they came about is chance."""
        state = asdict(self)
        del state['scores']
        return state

    @classmethod
    def restored(cls, state: dict[str, list]) -> 'Running':
        """From ``state``; the return of the scores is not known."""
        return cls(**state, scores=[float('nan')] * len(state['successes']))


class Episode(NamedTuple):
    """One finished training episode."""

    total_steps: int
    source: int
    episode: int
    length: int
    phase: str
    task_return: float
    vlm_return: float
    success_any_step: bool
    success_last_step: bool
    intervened: float = 0.0
    """Share of its actions that an operator chose."""
    judged: bool = False
    """Its success was judged by the reward."""


class Trial(NamedTuple):
    """One finished evaluation episode."""

    seed: int
    length: int
    task_return: float
    success_any_step: bool
    success_last_step: bool


class Evaluation(NamedTuple):
    """Success rates of some evaluation episodes, by name."""

    total_steps: int
    episodes: int
    success_any_step: float
    success_last_step: float
    task_return: float


class EvaluationStep(Protocol):
    """What evaluation needs to know of a step (see ``sim.envs.Step``)."""

    state: np.ndarray
    task_reward: float
    success: bool
    terminated: bool
    truncated: bool


def _tensor(embedding: np.ndarray | None) -> torch.Tensor | None:
    return None if embedding is None else torch.from_numpy(np.array(embedding, np.float32))


class Trainer:
    """Chooses actions, keeps the replay, trains both agents.

    Args:
        config: hyper-parameters; those that are live may be replaced at any time.
        observation_space, action_space: Boxes of the environment.
        text_embedding: raw phi_L(prompt), float32 [E]; None for methods without a VLM.
        scoring: how embeddings become the VLM reward.
        goal_embedding: raw embedding of the goal image, float32 [E], for scoring 'goal_image'.
        baseline_embedding: that of the baseline prompt, for scoring 'goal_baseline'.
        proprioception: indices of what a robot senses of itself in the state; none: all of it.

    Attributes:
        input: what the policy is given.

    Raises:
        SettingError: the method does not take the scoring, or what is to be observed.
        ValueError: an embedding that method or scoring need is None.
    """

    def __init__(
        self,
        config: TrainConfig,
        observation_space: gymnasium.spaces.Box,
        action_space: gymnasium.spaces.Box,
        text_embedding: np.ndarray | None,
        scoring: ScoringConfig = PLAIN_COSINE,
        goal_embedding: np.ndarray | None = None,
        baseline_embedding: np.ndarray | None = None,
        proprioception: Sequence[int] = (),
    ) -> None:
        self.config = config
        self.method = METHODS[config.method]
        check_observe(config.observe, self.method.vlm, config.method)
        check_scoring(config.method, scoring.scoring)
        check_targets(scoring, goal_embedding, baseline_embedding)
        check_n_step(config.method, scoring.scoring, config.n_step)
        self.scoring = scoring
        if self.method.vlm and text_embedding is None:
            raise ValueError(f'method {config.method} needs a text embedding')
        self.action_space = action_space
        self.input = PolicyInput(
            config.observe,
            int(np.prod(observation_space.shape)),
            proprioception,
            0 if text_embedding is None else len(text_embedding),
        )
        self.agents = {VLM: Agent(config, self.input.space, action_space, config.seed)}
        if self.method.relay:
            self.agents[SAC] = Agent(config, self.input.space, action_space, config.seed + 1)
        self.text = _tensor(text_embedding) if self.method.vlm else torch.zeros(0)
        self.goal, self.baseline = _tensor(goal_embedding), _tensor(baseline_embedding)
        self.replay = Replay(
            config.buffer_size,
            len(self.input.kept),
            int(np.prod(action_space.shape)),
            len(self.text),
            keeps_previous=self.method.vlm and (scoring.scoring in PAIRED or self.input.sees),
            n_step=config.n_step,
            gamma=config.gamma,
        )
        self.relay = Relay(
            self.method.relay, config.relay_positives, config.seed, config.relay_turn
        )
        self.relay_update: RelayUpdate | None = None
        self.generator = np.random.default_rng([config.seed, 3])
        self.stages = Stages()
        # Mean and scale of the states, float32 [S] each, once the warm-up has shown them.
        self.normalizer: tuple[np.ndarray, np.ndarray] | None = None
        self.heads: RewardHeads | None = None
        self.heads_version = self.heads_transitions = 0
        self.steps = 0
        self.acted = 0
        self.updates = 0
        self.episodes = 0
        self.forgiven = 0
        self.started: Counter[int] = Counter()
        self.vlm_reward_mean = float('nan')
        self.recent = deque[bool](maxlen=WINDOW)
        self.last_evaluation: Evaluation | None = None
        self._acting = ''  # who chose the last action
        self._running: dict[int, Running] = {}
        # The random action that is held, and for how many more steps, of each source.
        self._held: dict[int, tuple[np.ndarray, int]] = {}

    @property
    def success_rate(self) -> float:
        """Success rate (any step) of the last 20 training episodes; NaN before the first."""
        return float(np.mean(self.recent)) if self.recent else float('nan')

    @property
    def eval_success_rate(self) -> float:
        """Success rate (any step) of the last evaluation; NaN before the first."""
        last = self.last_evaluation
        return last.success_any_step if last else float('nan')

    @property
    def agent(self) -> str:
        """Who acts, in the words of ``Episode.phase``; '' before the first action."""
        return self._phase({self._acting}) if self._acting else ''

    @property
    def owed(self) -> int:
        """Updates that the transitions received so far call for and that are not made yet."""
        due = max(0, self.steps - self.config.warmup_steps) * self.config.updates_per_step
        return due - self.updates - self.forgiven

    def forgive(self, bound: int) -> None:
        """Let go of owed updates beyond ``bound``, where the robot does not wait for us."""
        self.forgiven += max(0, self.owed - bound)

    def start_episode(self, source: int = 0) -> int:
        """Begin an episode of a source, with its own relay schedule; returns its number."""
        self.relay.start_episode(source)
        number = self.started[source]
        self.started[source] += 1
        self._held.pop(source, None)
        self._running[source] = Running()
        return number

    def resume_episode(self, source: int = 0) -> tuple[int, int, np.ndarray] | None:
        """Go on with the episode of a source that was running at ``save``.

        Returns:
            Its number, how many of its steps were taken in, and the actions that were chosen
            (float32 [>= steps, A], in the environment's units): once they have been carried out
            again, it goes on. None when there is no such episode.
        """
        running = self._running.get(source)
        if running is None or not running.successes:
            return None
        steps = len(running.successes)
        self.acted = self.steps + len(running.actions) - steps
        return self.started[source] - 1, steps, np.array(running.actions, np.float32)

    def act(
        self,
        state: np.ndarray,
        step: int,
        source: int = 0,
        embedding: np.ndarray = NO_EMBEDDING,
    ) -> tuple[np.ndarray, str]:
        """Choose the action of a training step.

        Args:
            state: float32 [S].
            step: number of the step in its episode, from 0.
            source: which robot.
            embedding: raw one of the newest frame, float32 [E], where the policy sees.

        Returns:
            The action in the environment's units, float32 [A], and who chose it.
        """
        with self.stages('act'):
            if self.acted < self.config.warmup_steps:
                agent = RANDOM
                scaled = self._random_action(source, self.config.warmup_hold)
            elif (agent := self.relay.agent(step, source)) == SAC and self._searches:
                scaled = self._random_action(source, self.config.partner_hold)
            else:
                scaled = self.agents[agent].act(self.normalize(self.input.one(state, embedding)))
                if agent == SAC:
                    noise = self.generator.normal(0, self.config.partner_noise, scaled.shape)
                    scaled = np.clip(scaled + noise, -1, 1)
            self.acted += 1
            self._acting = agent
            action = self.unscale(scaled)
            self._running[source].agents.append(agent)
            self._running[source].actions.append(action.tolist())
            return action, agent

    @property
    def _searches(self) -> bool:
        """The SAC partner has nothing to learn from yet, and acts at random."""
        return self.config.partner_hold > 0 and not self.replay.has_success

    def _random_action(self, source: int, hold: int) -> np.ndarray:
        """Uniform in [-1, 1], and the same again for ``hold`` steps of an episode."""
        action, left = self._held.get(source, (None, 0))
        if not left:
            action = self.generator.uniform(-1, 1, self.action_space.shape)
            left = hold
        self._held[source] = (action, left - 1)
        return action

    def _best_action(self, state: np.ndarray, embedding: np.ndarray) -> np.ndarray:
        seen = self.normalize(self.input.one(state, embedding))
        return self.agents[VLM].act(seen, deterministic=True)

    def normalize(self, states: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
        """What the policy is given as the nets see it, float32 [..., O]."""
        if self.normalizer is None:
            return states
        mean, scale = self.normalizer
        if isinstance(states, torch.Tensor):
            mean, scale = torch.from_numpy(mean), torch.from_numpy(scale)
        return (states - mean) / scale

    def _fit_normalizer(self) -> None:
        """Take mean and scale from what the policy could see so far."""
        used, kept = slice(len(self.replay)), len(self.input.kept)
        states, embeddings = (
            torch.from_numpy(self.replay.arrays[name][used]).float()
            for name in ('state', 'embedding')
        )
        inputs = self.input.many(states, embeddings).numpy().astype(np.float64)
        deviation = inputs.std(0)
        # Values of one kind have one least scale.
        for part in (deviation[:kept], deviation[kept:]):
            np.maximum(part, max(0.1 * part.max(initial=0.0), 1e-6), out=part)
        self.normalizer = inputs.mean(0).astype(np.float32), deviation.astype(np.float32)

    def unscale(self, scaled: np.ndarray) -> np.ndarray:
        """Map an action from [-1, 1] to the environment's units, float32 [A]."""
        return unscaled(self.action_space, scaled)

    def scale(self, action: np.ndarray) -> np.ndarray:
        """Map an action from the environment's units to [-1, 1], float32 [A].

        Where these are its units already, every bit stays: what is learned from is what was done.
        """
        low, high = self.action_space.low, self.action_space.high
        middle, half = (high + low) / 2, (high - low) / 2
        return ((np.asarray(action, np.float32) - middle) / half).astype(np.float32)

    def add(
        self,
        transition: Transition,
        score: float = float('nan'),
        previous_score: float = float('nan'),
    ) -> None:
        """Take in one transition.

        Args:
            transition: with ``previous_embedding`` for scorings of pairs of frames, and where the
                policy sees.
            score, previous_score: what its frame and the one before were worth on the way here,
                for the episode log.
        """
        if self.scoring.scoring in PAIRED:
            score = self._gain(previous_score, score, self.config.gamma)
        self.replay.add(self._kept(transition))
        self.steps += 1
        running = self._running[transition.source]
        running.successes.append(bool(transition.success))
        running.interventions.append(bool(transition.demonstration))
        running.rewards.append(float(transition.task_reward))
        running.scores.append(float(score))

    def show(self, shown: Demonstrations) -> None:
        """Put demonstrations into the replay; they count as no steps of the run.

        Raises:
            SettingError: they are of another robot, or of another model.
        """
        action_size = int(np.prod(self.action_space.shape))
        width = len(self.text) if self.method.vlm else None
        check_sizes(shown, self.input.state_size, action_size, width)
        for transition in shown.transitions:
            if not self.method.vlm:
                transition = transition._replace(
                    embedding=NO_EMBEDDING, previous_embedding=NO_EMBEDDING
                )
            self.replay.add(self._kept(transition))
        for episode in shown.episodes:
            self.replay.end_episode(SHOWN, episode[0].episode, self.config.gamma)

    def _kept(self, transition: Transition) -> Transition:
        """A transition with what the policy is given of its states."""
        state, next_state = map(self.input.part, (transition.state, transition.next_state))
        return transition._replace(state=state, next_state=next_state)

    def end_episode(self, source: int, episode: int, judged: bool = False) -> Episode:
        """Close the running episode of a source: counts positives, may end the relay.

        Args:
            source, episode: which.
            judged: it is the reward that calls it a success.
        """
        running = self._running.pop(source)
        success = running.successes
        phase = self._phase(set(running.agents))
        self.relay.add_positives(count_positives(success))
        self.replay.end_episode(source, episode, self.config.gamma)
        self.recent.append(any(success))
        self.episodes += 1
        return Episode(
            self.steps,
            source,
            episode,
            len(success),
            phase,
            float(np.sum(running.rewards)),
            float(np.sum(running.scores)),
            any(success),
            bool(success and success[-1]),
            float(np.mean(running.interventions)) if running.interventions else 0.0,
            judged,
        )

    def forget_episode(self, source: int) -> int:
        """Forget the running episode of a source, as if it had never been.

        What was learned from it by then cannot be taken back: updates stay made, and are not owed
        again.

        Returns:
            How many steps it had.
        """
        running = self._running.pop(source, None)
        if running is None:
            return 0
        owed = self.owed
        self.started[source] -= 1
        self.relay.forget_episode(source)
        self._held.pop(source, None)
        steps = len(running.successes)
        self.replay.forget_episode(source, self.started[source])
        self.steps -= steps
        waiting = (len(r.actions) - len(r.successes) for r in self._running.values())
        self.acted = self.steps + sum(waiting)
        # Updates that were made for its steps do not keep the next ones waiting.
        self.forgiven -= max(0, min(owed, 0) - self.owed)
        return steps

    def _phase(self, acted: set[str]) -> str:
        """What people call it when these have acted, as the relay stands now."""
        if acted <= {RANDOM}:
            return RANDOM
        if not self.method.relay:
            return VLM if self.method.vlm else SAC
        return 'relay' if self.relay.active else VLM

    def set_heads(self, heads: RewardHeads, version: int, transitions: int = 0) -> None:
        """Use these heads, that have seen so many transitions, for relabelling from now on."""
        self.heads, self.heads_version, self.heads_transitions = heads, version, transitions

    def set_goal(self, goal_embedding: np.ndarray) -> None:
        """Compare with this goal image (raw embedding, float32 [E]) from now on."""
        self.goal = _tensor(goal_embedding)

    def set_text(self, text_embedding: np.ndarray) -> None:
        """Compare with this prompt (raw embedding, float32 [E]) from now on."""
        self.text = _tensor(text_embedding)

    def frame_scores(self, embeddings: torch.Tensor) -> torch.Tensor:
        """What frames are worth by themselves (Phi of pairs): [B] for raw [B, E]."""
        if self.method.heads == 'none':
            return frame_scores(self.scoring, embeddings, self.text, self.goal, self.baseline)
        if self.heads is None:
            raise RuntimeError('no reward heads were set')
        return self.heads(embeddings, self.text)

    def vlm_rewards(
        self,
        embeddings: torch.Tensor,
        previous_embeddings: torch.Tensor,
        discounts: torch.Tensor | float,
    ) -> torch.Tensor:
        """r_vlm of steps, under the newest heads where the method has any.

        Args:
            embeddings: raw ones of the frames after the actions, float32 [B, E].
            previous_embeddings: of the frames before, for scorings of pairs of frames.
            discounts: from those before to those after, float32 [B]: gamma for one step. The
                potential differences of n steps add up to that of their ends; what n steps of
                'progress' gained is that of their ends, not discounted on the way.

        Returns:
            float32 [B].
        """
        with torch.no_grad():
            if self.scoring.scoring not in PAIRED:
                return self.frame_scores(embeddings)
            both = self.frame_scores(torch.cat([previous_embeddings, embeddings]))
            return self._gain(*both.chunk(2), discounts)

    def _gain(
        self, before: torch.Tensor | float, after: torch.Tensor | float, discounts: Any
    ) -> torch.Tensor | float:
        """What the scoring gives for a pair of frames, from what each is worth."""
        if self.scoring.scoring == PROGRESS:
            return after - before
        return potential_difference(before, after, discounts)

    def vlm_bounds(self, batch: Batch) -> torch.Tensor:
        """What the VLM agent's values are at least, given the returns: float32 [B, 1].

        The VLM rewards of an episode add up to E - Phi(s_0), where E is gamma^T Phi(s_T) with
        scoring 'potential', and a weighted mean of Phi on the way with 'progress'. On the way to a
        success E is taken to be at least Phi(s_0), or 0 where that is positive. Of other episodes,
        and with other scorings, nothing is known.
        """
        nothing = torch.full_like(batch.returns, -torch.inf)
        if self.scoring.scoring not in PAIRED:
            return nothing
        with torch.no_grad():
            potential = self.frame_scores(batch.previous_embeddings)[:, None]
        least = batch.returns - self.config.rho * potential.clamp(min=0)
        return torch.where(batch.succeeded, least, nothing)

    def update(self, pause: Callable[[], None] = lambda: None) -> None:
        """One gradient step of each learning agent on one shared batch.

        Args:
            pause: called a few times on the way, where the agents can act.
        """
        if self.config.normalize_states and self.normalizer is None:
            self._fit_normalizer()
        with self.stages('sample'):
            config = self.config
            batch = self.replay.sample(
                self.generator, config.batch_size, config.success_share, config.demonstration_share
            )
            batch = batch._replace(
                states=self.normalize(self.input.many(batch.states, batch.seen)),
                next_states=self.normalize(self.input.many(batch.next_states, batch.next_seen)),
            )
        rewards = {VLM: batch.task_rewards, SAC: batch.task_rewards}
        bounds = {VLM: batch.returns, SAC: batch.returns} if self.config.return_bound else None
        if self.method.vlm:
            with self.stages('relabel'):
                vlm = self.vlm_rewards(
                    batch.embeddings, batch.previous_embeddings, batch.discounts[:, 0]
                )[:, None]
                rewards[VLM] = batch.task_rewards + self.config.rho * vlm
                if bounds is not None:
                    bounds[VLM] = self.vlm_bounds(batch)
                self.vlm_reward_mean = float(vlm.mean())
        with self.stages('relay_update'):
            learning = [VLM, SAC] if self.relay.active else [VLM]
            if self.relay_update is None or list(self.relay_update.agents) != learning:
                self.relay_update = RelayUpdate(
                    {name: self.agents[name].sac for name in learning}, self.stages
                )
            self.relay_update(batch, rewards, pause, bounds)
        self.updates += 1

    def figures(self) -> dict[str, float]:
        """Losses and other figures of the agents that learned last, by name."""
        return self.relay_update.figures() if self.relay_update is not None else {}

    def evaluate(
        self,
        reset: Callable[[int], EvaluationStep],
        step: Callable[[np.ndarray], EvaluationStep],
        seeds: Sequence[int],
        tell: Callable[[Trial], None] = lambda trial: None,
        look: Callable[[EvaluationStep], np.ndarray] = lambda step: NO_EMBEDDING,
    ) -> Evaluation:
        """Run episodes with the VLM agent's mean action on a separate environment.

        Args:
            reset: starts an episode from a seed.
            step: carries out an action, float32 [A] in the environment's units.
            seeds: one per episode.
            tell: is given each episode when it is over.
            look: raw embedding of the frame of a step, float32 [E], where the policy sees.
        """
        trials = []
        for seed in seeds:
            now = reset(seed)
            success, total = [], 0.0
            while not (now.terminated or now.truncated):
                now = step(self.unscale(self._best_action(now.state, look(now))))
                success.append(bool(now.success))
                total += float(now.task_reward)
            ended_well = bool(success) and success[-1]
            trials.append(Trial(seed, len(success), total, any(success), ended_well))
            tell(trials[-1])
        self.last_evaluation = Evaluation(
            self.steps,
            len(trials),
            float(np.mean([trial.success_any_step for trial in trials])),
            float(np.mean([trial.success_last_step for trial in trials])),
            float(np.mean([trial.task_return for trial in trials])),
        )
        return self.last_evaluation

    def save(self, folder: Path) -> None:
        """Write the learner's part of a checkpoint into an existing folder."""
        arrays = {'replay': self.replay.state(), 'torch_rng': torch.get_rng_state().numpy()}
        for name, agent in self.agents.items():
            agent.save(folder / f'{name}_agent.zip', self.steps, self.normalizer)
            about = {'method': self.config.method, 'agent': name, 'total_steps': str(self.steps)}
            low, high = self.action_space.low, self.action_space.high
            policy = to_onnx(agent.policy_layers(self.normalizer), low, high, about)
            (folder / f'{name}_agent.onnx').write_bytes(policy)
        if self.heads is not None:
            names = ('image_head', 'text_head', 'anchor', 'center')
            values = (*self.heads.flat(), *self.heads.frame_of_reference())
            arrays['heads'] = dict(zip(names, values, strict=True))
        if self.normalizer is not None:
            arrays['normalizer'] = dict(zip(('mean', 'scale'), self.normalizer, strict=True))
            # To go on from to the bit; the others are for those who use the policies.
            for name, agent in self.agents.items():
                agent.save(folder / f'{name}{SCALED}.zip', self.steps)
        save_tree(
            folder / TRAINER_FILE,
            arrays,
            {
                'steps': self.steps,
                'updates': self.updates,
                'episodes': self.episodes,
                'forgiven': self.forgiven,
                'started': list(self.started.items()),
                'recent': list(self.recent),
                'heads': {
                    'layer_sizes': self.heads.layer_sizes if self.heads is not None else (),
                    'version': self.heads_version,
                    'transitions': self.heads_transitions,
                },
                'running': [[source, r.state()] for source, r in self._running.items()],
                'held': [[source, a.tolist(), left] for source, (a, left) in self._held.items()],
                'relay': self.relay.state(),
                'agents': {name: agent.counters() for name, agent in self.agents.items()},
                'generator': generator_to_json(self.generator),
            },
        )

    def load(self, folder: Path) -> None:
        """Go on from ``save``.

        Raises:
            SettingError: a file is missing, unreadable, or does not fit these settings.
        """
        arrays, meta = load_tree(folder / TRAINER_FILE)
        if set(meta['agents']) != set(self.agents):
            raise SettingError(
                f'the checkpoint {folder} has agents {sorted(meta["agents"])}; accepted:'
                f' {sorted(self.agents)} for method {self.config.method}'
            )
        self.replay.restore(arrays['replay'])
        scaled = arrays.get('normalizer')
        if scaled is not None and not self.config.normalize_states:
            raise SettingError(
                f'normalize_states is False, but the checkpoint {folder} was made with True;'
                ' accepted: True'
            )
        self.normalizer = None
        if scaled is not None:
            self.normalizer = scaled['mean'].copy(), scaled['scale'].copy()
        for name, agent in self.agents.items():
            agent.load(folder / f'{name}{"_agent" if scaled is None else SCALED}.zip')
            agent.restore_counters(meta['agents'][name])
        # Checkpoints of earlier versions have no heads.
        if 'heads' in arrays:
            heads = RewardHeads.from_flat(meta['heads']['layer_sizes'], **arrays['heads'])
            self.set_heads(heads, meta['heads']['version'], meta['heads']['transitions'])
        self.relay_update = None
        self.relay.restore(meta['relay'])
        self.steps, self.updates = meta['steps'], meta['updates']
        self.episodes, self.forgiven = meta['episodes'], meta['forgiven']
        self.started = Counter(dict(meta['started']))
        # Actions whose frames had not come back are lost, unless their episode is gone on with.
        self.acted = self.steps
        self.recent = deque(meta['recent'], maxlen=WINDOW)
        # Checkpoints of earlier versions have no running episodes.
        self._running = {source: Running.restored(r) for source, r in meta.get('running', [])}
        self._held = {source: (np.array(a), left) for source, a, left in meta.get('held', [])}
        self.generator = generator_from_json(meta['generator'])
        torch.set_rng_state(torch.from_numpy(arrays['torch_rng'].copy()))

    def report(self) -> dict[str, Any]:
        """Where the run stands, in the terms of TrainingStatus.msg."""
        return {
            'total_steps': self.steps,
            'updates': self.updates,
            'episodes': self.episodes,
            'heads_version': self.heads_version,
            'positives': self.relay.positives,
            'relay': self.relay.active,
            'success_rate': self.success_rate,
        }

    def now(self) -> dict[str, Any]:
        """Who acts, and what was learned last, in the terms of TrainingStatus.msg."""
        figures, nan = self.figures(), float('nan')
        return {
            'agent': self.agent,
            'replay_size': len(self.replay),
            'rho': self.config.rho,
            'vlm_reward': self.vlm_reward_mean,
            **{
                f'{agent}_{loss}': figures.get(f'{agent}/{loss}', nan)
                for agent in (VLM, SAC)
                for loss in ('actor_loss', 'critic_loss')
            },
        }
