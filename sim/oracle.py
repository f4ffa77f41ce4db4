# SPDX-License-Identifier: Apache-2.0
"""Scripted policies that solve the Meta-World tasks, and the goal images made with them."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from sim.config import SimConfig
from sim.envs import SimEnv, Step, make
from sim.tasks import TASKS

Policy = Callable[[Step], np.ndarray]


def oracle(env: SimEnv) -> Policy | None:
    """Return Meta-World's scripted policy for the task of an environment; None without one."""
    if env.config.task not in TASKS:
        return None
    # Imported here: other environments need not pay for it.
    from metaworld.policies import ENV_POLICY_MAP

    # The scripts ask for more than the action box on purpose, and warn of it themselves.
    warnings.filterwarnings('ignore', message='Constant.s. may be too high')
    policy = ENV_POLICY_MAP[env.config.task]()

    def act(step: Step) -> np.ndarray:
        # The scripts read the goal from the state, where a fixed goal is hidden.
        state = np.concatenate([step.state[:-3], env.goal_position()])
        return np.asarray(policy.get_action(state), np.float32)

    return act


def rollout(env: SimEnv, policy: Policy, seed: int | None = None) -> Iterator[Step]:
    """Run one episode to its end, yielding the step of the reset and then each further one.

    Args:
        policy: takes the latest step, returns the action [A].
        seed: as in `SimEnv.reset`.
    """
    step = env.reset(seed)
    yield step
    while not (step.terminated or step.truncated):
        step = env.step(policy(step))
        yield step


def goal_image(config: SimConfig) -> np.ndarray | None:
    """Draw the first successful state of a scripted episode, exactly as live frames are drawn.

    The episode is the first one of an environment with this configuration, on an instance of its
    own, and lasts as long as the environment's own horizon allows.

    Returns:
        uint8 [height, width, 3] as in `Step.frame`; None where no scripted policy exists or where
        it does not succeed.

    Raises:
        SettingError: as `sim.envs.make`, and when frames cannot be drawn on this machine.
    """
    env = make(replace(config, horizon=0, render=False, action_repeat=1))
    try:
        policy = oracle(env)
        if policy is None:
            return None
        solved = any(step.success for step in rollout(env, policy))
        return env.render() if solved else None
    finally:
        env.close()
