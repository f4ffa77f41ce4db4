# SPDX-License-Identifier: Apache-2.0
"""Observation, Action, SourceInfo and CameraInfo messages to and from the cores' types."""

import itertools
import reprlib

import gymnasium
import numpy as np
from sensor_msgs.msg import CameraInfo

from furl_interfaces.msg import Action, Observation, SourceInfo
from furl_ros.bridge.convert import check_stamp, to_float_field, to_ns, to_time
from furl_ros.bridge.join import Sensed
from sim.renderer import CameraIntrinsics

MOST_VALUE = 1e6
"""Of what a robot senses: in units of a robot nothing is so large, and its squares stay finite."""
LARGEST_STATE = 100_000
"""Most values of a state; a source may claim more than there is memory."""


def to_observation(sensed: Sensed, frame_id: str, seed: int) -> Observation:
    """Fill an Observation message."""
    message = Observation()
    message.header.stamp = to_time(sensed.stamp)
    message.header.frame_id = frame_id
    message.previous_stamp = to_time(sensed.previous_stamp)
    message.episode, message.step, message.seed = sensed.episode, sensed.step, seed
    message.state, message.action = to_float_field(sensed.state), to_float_field(sensed.action)
    message.asked_action = to_float_field(sensed.asked_action)
    message.task_reward = float(sensed.task_reward)
    message.success = bool(sensed.success)
    message.terminated, message.truncated = bool(sensed.terminated), bool(sensed.truncated)
    message.evaluation = bool(sensed.evaluation)
    message.discarded, message.intervened = bool(sensed.discarded), bool(sensed.intervened)
    message.judged = bool(sensed.judged)
    return message


def from_observation(
    message: Observation, state_size: int | None = None, action_size: int | None = None
) -> Sensed:
    """Read an Observation message.

    Raises:
        ValueError: state or action has another length than the given one, or asked_action than
            the action; a value is not finite or too large, or a stamp is none (`check_stamp`).
    """
    for stamp in (message.header.stamp, message.previous_stamp):
        check_stamp(stamp)
    state = np.asarray(message.state, np.float32)
    action = np.asarray(message.action, np.float32)
    asked = np.asarray(message.asked_action, np.float32)
    if state_size is not None and len(state) != state_size:
        raise ValueError(f'state has {len(state)} values; accepted: {state_size}')
    if action_size is not None and len(action) != (action_size if message.step else 0):
        raise ValueError(f'action has {len(action)} values; accepted: {action_size}')
    if len(asked) not in (0, len(action)):
        raise ValueError(f'asked_action has {len(asked)} values; accepted: {len(action)}, or none')
    if not (np.abs([*state, *action, *asked, message.task_reward]) <= MOST_VALUE).all():
        raise ValueError(
            'state, action, asked_action or task_reward has a value that is not finite, or too'
            f' large; accepted: up to {MOST_VALUE:g} in size'
        )
    return Sensed(
        to_ns(message.header.stamp),
        to_ns(message.previous_stamp),
        message.episode,
        message.step,
        state,
        action,
        message.task_reward,
        message.success,
        message.terminated,
        message.truncated,
        message.evaluation,
        message.discarded,
        message.intervened,
        message.judged,
        asked,
    )


def to_action(stamp: int, action: np.ndarray, agent: str) -> Action:
    """Fill the Action message that answers the observation with this stamp (nanoseconds)."""
    message = Action()
    message.header.stamp = to_time(stamp)
    message.action = to_float_field(action)
    message.agent = agent
    return message


def spaces_of(info: SourceInfo) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Box]:
    """Observation and action space (Boxes, float32) that a source describes.

    Raises:
        ValueError: the bounds are empty, of unequal length, or not finite and ordered, or the
            state's size is not 1 to ``LARGEST_STATE``.
    """
    low, high = np.asarray(info.action_low), np.asarray(info.action_high)
    if not len(low) or low.shape != high.shape or not (low < high).all():
        raise ValueError(
            f'action_low is {reprlib.repr(low.tolist())}, action_high'
            f' {reprlib.repr(high.tolist())}; accepted: equally many, low < high'
        )
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError('action_low or action_high is not finite; accepted: finite bounds')
    if not 1 <= info.state_size <= LARGEST_STATE:
        raise ValueError(f'state_size is {info.state_size}; accepted: 1 to {LARGEST_STATE}')
    observation = gymnasium.spaces.Box(-np.inf, np.inf, (info.state_size,), np.float32)
    return observation, gymnasium.spaces.Box(low.astype(np.float32), high.astype(np.float32))


def proprioception_of(info: SourceInfo) -> tuple[int, ...]:
    """Indices of what a source senses of itself in its state; none: all of it.

    Raises:
        ValueError: they are not indices of the state, in their order.
    """
    indices = tuple(info.proprioception)
    ordered = all(one < next_one for one, next_one in itertools.pairwise(indices))
    if indices and not (ordered and indices[-1] < info.state_size):
        raise ValueError(
            f'proprioception is {reprlib.repr(list(indices))}; accepted: growing indices below'
            f' state_size ({info.state_size})'
        )
    return indices


def to_camera_info(intrinsics: CameraIntrinsics, stamp: int, frame_id: str) -> CameraInfo:
    """Describe a pinhole camera without distortion; stamp in nanoseconds."""
    fx, fy, cx, cy = intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy
    message = CameraInfo(width=intrinsics.width, height=intrinsics.height)
    message.header.stamp = to_time(stamp)
    message.header.frame_id = frame_id
    message.distortion_model = 'plumb_bob'
    message.d = [0.0] * 5
    message.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message
