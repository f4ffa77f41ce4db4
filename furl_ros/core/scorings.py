# SPDX-License-Identifier: Apache-2.0
"""The ways to score frames, as data, and who takes which; the formulas are in ``reward.py``."""

from furl_ros.core.methods import METHODS
from furl_ros.core.settings import SettingError

COSINE, GOAL_BASELINE, GOAL_IMAGE = 'cosine', 'goal_baseline', 'goal_image'
POTENTIAL, PROGRESS = 'potential', 'progress'
SCORINGS: dict[str, str] = {
    COSINE: 'picture against prompt',
    GOAL_BASELINE: 'the same, along the line from baseline_prompt to prompt (VLM-RM)',
    GOAL_IMAGE: 'picture against goal image (LIV)',
    POTENTIAL: 'gamma times the cosine of a frame, less that of the frame before (shaping)',
    PROGRESS: 'the cosine of a frame, less that of the frame before (VIP, LIV)',
}
# Rewards of two frames, before and after: those of n steps are known from the ones at their ends.
PAIRED = (POTENTIAL, PROGRESS)


def accepted_scorings(method: str) -> tuple[str, ...]:
    """Which scorings a method takes.

    A method whose VLM reward is the cosine through heads keeps that cosine. One without a VLM
    scores nothing; it takes what all others take, so that one file of settings serves all.
    """
    plain = METHODS[method].vlm and METHODS[method].heads == 'none'
    return tuple(SCORINGS) if plain else (COSINE, *PAIRED)


def check_scoring(method: str, scoring: str) -> None:
    """Check that a method takes a scoring.

    Raises:
        SettingError: it does not.
    """
    accepted = accepted_scorings(method)
    if scoring not in accepted:
        raise SettingError(
            f'scoring is {scoring!r}; accepted with method {method}: {", ".join(accepted)}'
        )


def check_n_step(method: str, scoring: str, n_step: int) -> None:
    """Check that the VLM rewards of n steps are known from the frames at their ends.

    Raises:
        SettingError: they are not.
    """
    if n_step > 1 and METHODS[method].vlm and scoring not in PAIRED:
        raise SettingError(
            f'n_step is {n_step} with scoring {scoring}; accepted: 1, or any with scoring'
            f' {" or ".join(PAIRED)}, or with method sac'
        )


def check_baseline(scoring: str, prompt: str, baseline_prompt: str) -> None:
    """Check that there is a line from the baseline prompt to the prompt, where one is needed.

    Raises:
        SettingError: the baseline prompt is empty, or says what the prompt says.
    """
    same = baseline_prompt.lower().split() == prompt.lower().split()
    if scoring == GOAL_BASELINE and (same or not baseline_prompt.strip()):
        raise SettingError(
            f'baseline_prompt is {baseline_prompt!r}; accepted with scoring {GOAL_BASELINE}: the'
            f' scene in words, and not what the prompt says ({prompt!r})'
        )
