# SPDX-License-Identifier: Apache-2.0
"""From embeddings to VLM rewards: one formula each, for live frames and for relabelling.

Embeddings are raw (not of unit length), float32; all formulas look at directions only. A vector of
length 0 has no direction: its cosine is 0, never NaN.
"""

import torch.nn.functional as F
from torch import Tensor

from furl_ros.core.config import ScoringConfig
from furl_ros.core.scorings import GOAL_BASELINE, GOAL_IMAGE


def cosine(embeddings: Tensor, target: Tensor) -> Tensor:
    """cos(s, g): the plain CLIP or LIV reward.

    With the prompt's embedding as target it is the reward of VLM-RM without regularisation
    (arXiv 2310.12921, equation 2) and LIV's value of a frame for a goal in words; with that of a
    goal image, LIV's for a goal in a picture (arXiv 2306.00958, sections 4.3 and 5.1; its S is
    this, but for a constant factor). For vectors of unit length it is 1 - |s - g|^2 / 2: it falls
    with the distance that VIP (arXiv 2210.00030) uses, in a fixed range.

    Args:
        embeddings: float32 [..., E].
        target: float32 [E], or broadcast against embeddings.

    Returns:
        float32 [...], in [-1, 1].
    """
    return F.cosine_similarity(embeddings, target, dim=-1)


def goal_baseline(embeddings: Tensor, goal: Tensor, baseline: Tensor, alpha: float) -> Tensor:
    """Goal-baseline regularisation of VLM-RM (arXiv 2310.12921, definition 1).

        r = 1 - 1/2 | alpha proj_L(s) + (1 - alpha) s - g |^2

    where s, g and b are the embeddings of frame, goal and baseline, each of unit length, and L is
    the line through b and g: what tells nothing between goal and baseline counts the less the
    larger alpha is. 0 gives the cosine with the goal; 1 looks along L alone.

    Args:
        embeddings: float32 [..., E].
        goal, baseline: text embeddings, float32 [E]. Where they point the same way the line is
            the point g.
        alpha: strength of the regularisation, 0 to 1.

    Returns:
        float32 [...], in [-1, 1].
    """
    state, goal, baseline = (F.normalize(v, dim=-1) for v in (embeddings, goal, baseline))
    direction = F.normalize(goal - baseline, dim=-1)
    # g lies on L, so proj_L(s) - g is the part of s - g along L.
    offset = state - goal
    along = (offset @ direction)[..., None] * direction
    return 1 - (alpha * along + (1 - alpha) * offset).square().sum(-1) / 2


def potential_difference(
    before: Tensor | float, after: Tensor | float, gamma: float
) -> Tensor | float:
    """gamma Phi(s') - Phi(s): potential-based shaping (Ng, Harada and Russell, ICML 1999).

    Its discounted sum over an episode is gamma^T Phi(s_T) - Phi(s_0), whatever happened between.
    It has no say in which behaviour is best, so what it teaches fades as the critics learn.
    VIP's and LIV's reward S(s') - S(s) (arXiv 2210.00030; arXiv 2306.00958, equation 2; scoring
    'progress') is this term and (1 - gamma) S(s'): it goes on preferring frames near the goal. No
    exception is made for a step that terminates: its last frame keeps its potential.

    Args:
        before, after: Phi of the frames before and after the action, [...].
        gamma: discount of the agent that learns from it.
    """
    return gamma * after - before


def check_targets(config: ScoringConfig, goal: object, baseline: object) -> None:
    """Check that what frames are compared with is there.

    Raises:
        ValueError: it is None.
    """
    for scoring, name, value in (
        (GOAL_IMAGE, 'goal image', goal),
        (GOAL_BASELINE, 'baseline prompt', baseline),
    ):
        if config.scoring == scoring and value is None:
            raise ValueError(f'scoring {scoring} needs the embedding of a {name}')


def frame_scores(
    config: ScoringConfig,
    embeddings: Tensor,
    text: Tensor,
    goal: Tensor | None = None,
    baseline: Tensor | None = None,
) -> Tensor:
    """What single frames are worth without heads; Phi of 'potential' and 'progress'.

    Args:
        config: which formula.
        embeddings: of the frames, float32 [..., E].
        text, goal, baseline: of prompt, goal image and baseline prompt, float32 [E]; the last two
            may be None where the scoring looks at neither.

    Returns:
        float32 [...], in [-1, 1].

    Raises:
        ValueError: the embedding that the scoring needs is None.
    """
    check_targets(config, goal, baseline)
    if config.scoring == GOAL_BASELINE:
        return goal_baseline(embeddings, text, baseline, config.baseline_alpha)
    return cosine(embeddings, goal if config.scoring == GOAL_IMAGE else text)
