# SPDX-License-Identifier: Apache-2.0
"""Hyper-parameters; the defaults are the paper's (arXiv 2406.00645, appendix B)."""

from dataclasses import dataclass

from furl_ros.core.kinds import ANCHORED, HEADS
from furl_ros.core.methods import METHODS
from furl_ros.core.observe import OBSERVE, STATE
from furl_ros.core.relay import TURN
from furl_ros.core.scorings import SCORINGS
from furl_ros.core.settings import setting


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the learner: the run, the relay and SAC."""

    method: str = setting('furl', 'Method of the comparison.', choices=tuple(METHODS))
    seed: int = setting(0, 'Seed of everything that is drawn at random.', low=0, high=2**31 - 1)
    total_steps: int = setting(1_000_000, 'Environment steps of the run.', low=1, high=10**9)
    warmup_steps: int = setting(
        10_000, 'Uniformly random actions before learning starts.', low=1, high=10**9
    )
    warmup_hold: int = setting(
        1, 'Steps that each action of the warm-up is held for.', low=1, high=1_000
    )
    updates_per_step: int = setting(
        1, 'Gradient steps of each agent per environment step.', low=1, high=100
    )
    observe: str = setting(
        STATE,
        'What the policy is given: '
        + '; '.join(f'{name}: {doc}' for name, doc in OBSERVE.items())
        + '.',
        choices=tuple(OBSERVE),
    )
    rho: float = setting(
        0.05, 'Weight of the VLM reward beside the task reward.', low=0, high=1e3, live=True
    )
    learning_rate: float = setting(
        1e-4, 'Adam step size of actor, critics and temperature.', low=1e-8, high=1
    )
    initial_temperature: float = setting(
        1.0,
        "SAC's temperature at the start. Adam moves its logarithm by learning_rate at most, so that"
        ' short runs need a low one.',
        low=1e-8,
        high=1e3,
    )
    gamma: float = setting(0.99, 'Discount per step.', low=0, high=1)
    n_step: int = setting(
        1,
        'Steps whose rewards a target adds up before the value beyond; with a VLM reward, more than'
        ' 1 takes scoring potential or progress.',
        low=1,
        high=1_000,
    )
    tau: float = setting(0.01, 'Step of the target networks per update.', low=0, high=1)
    batch_size: int = setting(256, 'Transitions per update.', low=1, high=65_536)
    success_share: float = setting(
        0.0,
        'Share of each batch that is drawn from episodes with a success, once there is one'
        ' (symmetric sampling, arXiv 2302.02948, with the own successes as the demonstrations).',
        low=0,
        high=1,
        live=True,
    )
    demonstration_share: float = setting(
        0.0,
        'Share of each batch that is drawn from demonstrations and from what an operator did, once'
        ' there are any (RLPD, arXiv 2302.02948: one half).',
        low=0,
        high=1,
        live=True,
    )
    demonstrations: str = setting(
        '', 'File of demonstrate: its episodes are in the replay, and in the rings, from the start.'
    )
    return_bound: bool = setting(
        False,
        "Values learned are at least what an episode's task rewards really came to (self-imitation,"
        ' arXiv 1806.05635): one success reaches its whole episode at once.',
    )
    buffer_size: int = setting(500_000, 'Transitions that the replay keeps.', low=1_000, high=10**8)
    hidden_units: int = setting(
        256, 'Units of each of the two hidden layers of actor and critics.', low=1, high=65_536
    )
    normalize_states: bool = setting(
        False,
        "The nets see states less the warm-up's mean, divided by its standard deviation (for each"
        ' value, at least a tenth of the largest one). The saved policy takes plain states.',
    )
    partner_noise: float = setting(
        0.2,
        "Standard deviation of the noise on the SAC partner's actions, in units of the scaled"
        ' action space [-1, 1].',
        low=0,
        high=10,
        live=True,
    )
    partner_hold: int = setting(
        0,
        'Until the first success the SAC partner knows no reward. It acts at random then, and holds'
        ' each action for this many steps; 0: it acts as later, the paper.',
        low=0,
        high=1_000,
        live=True,
    )
    relay_turn: int = setting(
        TURN,
        'Shortest turn of an agent under the relay, in steps: each episode has turns of 1, 2, 3 or'
        ' 4 times it.',
        low=1,
        high=10**6,
    )
    relay_positives: int = setting(
        2_500, 'The relay stops for good at this many positive frames.', low=1, high=10**8
    )
    eval_every: int = setting(
        10_000,
        'Environment steps between evaluations; 0: no evaluation.',
        low=0,
        high=10**9,
        live=True,
    )
    eval_episodes: int = setting(1, 'Episodes per evaluation.', low=1, high=1_000, live=True)
    checkpoint_every: int = setting(
        10_000,
        'Environment steps between checkpoints, written at the next end of an episode; 0: only'
        ' at the end.',
        low=0,
        high=10**9,
        live=True,
    )
    keep_checkpoints: int = setting(2, 'Checkpoints that are kept.', low=1, high=10**6, live=True)


@dataclass(frozen=True)
class AlignConfig:
    """Settings of the reward heads and of their training."""

    heads: str = setting(
        ANCHORED,
        'anchored: they begin as the cosine with the goal image (without one: the prompt), less'
        ' what all frames have in common, and learn from the first success on; paper: they begin at'
        ' random, and learn from the goal image until then.',
        choices=HEADS,
    )
    heads_file: str = setting(
        '',
        'File of align_bag whose heads and frames the run begins with; launch files take it as'
        ' heads:=<file>, too.',
    )
    head_hidden_units: int = setting(
        256, 'Units of the hidden layer of each head.', low=1, high=65_536
    )
    output_units: int = setting(64, 'Width of the space that heads map to.', low=1, high=65_536)
    head_learning_rate: float = setting(1e-4, 'Adam step size of the heads.', low=1e-8, high=1)
    head_batch_size: int = setting(256, 'Frames per head update.', low=1, high=65_536)
    margin: float = setting(0.1, 'Margin d of the hinge losses.', low=0, high=2)
    lag: int = setting(
        10, 'Frames k between the two frames that the pos-pos loss orders.', low=1, high=10_000
    )
    positive_share: float = setting(
        1.0,
        'Share of a success, its end, that the pos-neg loss puts above the frames of failures. With'
        ' few of either, frames from its beginning look like those of failures; 1 is the paper.',
        low=0.01,
        high=1,
    )
    goal_gap: float = setting(
        0.25,
        'Least difference of distance to the goal image (L2 of raw embeddings) that the neg-neg'
        ' loss orders.',
        low=0,
        high=1e6,
    )
    ring_size: int = setting(
        20_000, 'Frames that each of the two rings (positive, negative) keeps.', low=1, high=10**8
    )
    head_updates_per_step: int = setting(
        1, 'Head updates per transition after the warm-up.', low=0, high=100
    )
    publish_every: int = setting(
        50, 'Transitions between two published versions of the heads.', low=1, high=500
    )


@dataclass(frozen=True)
class ScoringConfig:
    """How embeddings become the VLM reward; see ``furl_ros.core.reward`` for the formulas."""

    scoring: str = setting(
        'cosine',
        'The VLM reward: ' + '; '.join(f'{name}: {doc}' for name, doc in SCORINGS.items()) + '.'
        ' Methods with heads take cosine, potential and progress, of the cosine through the heads.',
        choices=tuple(SCORINGS),
    )
    # The example of VLM-RM's own code.
    baseline_alpha: float = setting(
        0.5,
        'Scoring goal_baseline: 0 gives the cosine, 1 looks along the line from baseline_prompt to'
        ' prompt alone.',
        low=0,
        high=1,
    )


PLAIN_COSINE = ScoringConfig()


@dataclass(frozen=True)
class VlmConfig:
    """Which model, where it runs, how many frames it takes at once."""

    vlm: str = setting(
        'furl-tiny',
        "Model: 'furl-tiny' (small, comes with the package), 'tiny-random' (small, untrained), "
        "'open_clip:<model>/<weights>', where weights are a pretrained tag of open_clip, a local "
        "file or 'random', 'liv:<file>' (a checkpoint of LIV) or "
        "'hf-hub:<organisation>/<repository>' (published for open_clip).",
    )
    device: str = setting(
        'auto',
        "Where the model runs; 'auto' takes CUDA where there is a device.",
        choices=('auto', 'cpu', 'cuda'),
    )
    precision: str = setting(
        'float32',
        'Numbers that frames are encoded with; float16 and bfloat16 make large models faster on a'
        ' GPU.',
        choices=('float32', 'float16', 'bfloat16'),
    )
    micro_batch: int = setting(8, 'Most frames encoded at once.', low=1, high=1024)
