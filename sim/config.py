# SPDX-License-Identifier: Apache-2.0
"""What can be set about a simulated environment."""

from dataclasses import dataclass

from furl_ros.core.settings import setting

MINUS_ONE_ZERO, ZERO_ONE = SUCCESS_REWARDS = ('-1/0', '0/1')


@dataclass(frozen=True)
class SimConfig:
    """Everything that determines one simulated environment."""

    task: str = setting(
        'drawer-close-v3', 'Meta-World v3 task, or the id of any Gymnasium environment.'
    )
    goal: str = setting(
        'fixed',
        'fixed: one goal and layout drawn from the seed, hidden from the state; random: a new one '
        'each episode, visible in the state. Meta-World only.',
        choices=('fixed', 'random'),
    )
    # The upper bound is that of the generator with which Meta-World draws its fixed goals.
    seed: int = setting(0, 'Seed of the goal and of the episodes.', low=0, high=2**32 - 1)
    camera: str = setting(
        'auto', 'Name of a camera of the MuJoCo model; auto: the usual one (Meta-World: corner2).'
    )
    width: int = setting(112, 'Width of the frames in pixels.', low=32, high=2048)
    height: int = setting(112, 'Height of the frames in pixels.', low=32, high=2048)
    quality: str = setting(
        'fast',
        'fast: no shadows, reflections or multisampling; full: as the MuJoCo model says.',
        choices=('fast', 'full'),
    )
    horizon: int = setting(
        0,
        "Simulation steps until an episode is truncated; 0: the environment's own (Meta-World:"
        ' 500).',
        low=0,
    )
    render: bool = setting(True, 'Return a frame with every step.')
    action_repeat: int = setting(
        1,
        'Simulation steps that each action is held for; only the last is drawn. Steps of a run are'
        ' actions.',
        low=1,
        high=100,
    )
    success_reward: str = setting(
        MINUS_ONE_ZERO,
        'Task reward of a step without / with success. Environments without a success signal keep'
        ' their own.',
        choices=SUCCESS_REWARDS,
    )
    end_at_success: bool = setting(
        False, 'The first success ends the episode, with no value beyond it (the paper: false).'
    )
