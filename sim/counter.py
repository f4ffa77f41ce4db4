# SPDX-License-Identifier: Apache-2.0
"""An environment that draws its step number into the picture.

It proves that frames, states and rewards are joined rightly, however they travelled, and its step
costs next to nothing, so that benches measure everything else.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

# The picture is a grid of black and white cells, most significant bit first: the first row is a
# check byte, the other three the bytes of the number. At 32 pixels a cell has 4 x 8.
_ROWS, _COLUMNS = 4, 8
_LIMIT = 1 << 24
# Success comes in every second episode, from this step on.
_SUCCESS_FROM = 10


def _check_byte(number: int) -> int:
    # The constant keeps an all black picture from being a valid zero.
    return (number + (number >> 8) + (number >> 16)) & 0xFF ^ 0xA5


def draw_counter(number: int, width: int, height: int) -> np.ndarray:
    """Draw a number of 24 bits: uint8 [height, width, 3]; width and height 32 or more."""
    code = _check_byte(number) << 24 | number
    bits = np.array([[code >> (31 - i) & 1] for i in range(_ROWS * _COLUMNS)], np.uint8)
    cells = (bits * 255).reshape(_ROWS, _COLUMNS)
    rows = np.arange(height) * _ROWS // height
    columns = np.arange(width) * _COLUMNS // width
    return np.repeat(cells[rows][:, columns, None], 3, axis=2)


def read_counter(frame: np.ndarray) -> int:
    """Read the number back from a frame: uint8 [H, W, 3], H and W 32 or more.

    Raises:
        ValueError: when the frame does not show one (wrong picture, turned, mirrored, damaged).
    """
    height, width = frame.shape[:2]
    rows = (2 * np.arange(_ROWS) + 1) * height // (2 * _ROWS)
    columns = (2 * np.arange(_COLUMNS) + 1) * width // (2 * _COLUMNS)
    bits = frame[rows][:, columns, 1].ravel() > 127
    code = int.from_bytes(np.packbits(bits).tobytes(), 'big')
    check, number = code >> 24, code & (_LIMIT - 1)
    if check != _check_byte(number):
        raise ValueError(f'the frame shows no step number (read {number}, check byte {check})')
    return number


def read_state(state: np.ndarray) -> int:
    """Read the number back from a state of the environment: float32 [3]."""
    return round(float(state[0]) * 4096) * 4096 + round(float(state[1]) * 4096)


class StampCounterEnv(gymnasium.Env):
    """Counts resets and steps since its construction: 0 at the first reset, then 1, 2, ...

    State: float32 [3], exact: the number's upper and lower 12 bits, each divided by 4096, and
    min(step of the episode, 4096) / 4096. Action: float32 [4] in [-1, 1], ignored. Every second
    episode (the second, the fourth, ...) is successful from its tenth step on. Episodes last 100
    steps; ``gymnasium.make(..., max_episode_steps=n)`` or `SimConfig.horizon` change that.

    Args:
        width, height: size of the picture in pixels.
        render_mode: 'rgb_array' or None.
    """

    metadata = {'render_modes': ['rgb_array'], 'render_fps': 80}  # noqa: RUF012 (Gymnasium's API)
    observation_space = Box(0.0, 1.0, (3,), np.float32)
    action_space = Box(-1.0, 1.0, (4,), np.float32)

    def __init__(self, width: int = 112, height: int = 112, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._size = (width, height)
        self._number = -1
        self._episode = -1
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; the seed changes nothing."""
        super().reset(seed=seed)
        self._episode += 1
        self._step = 0
        return self._count(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Count one step; ``info['success']`` as the class says."""
        self._step += 1
        success = self._episode % 2 == 1 and self._step >= _SUCCESS_FROM
        return self._count(), float(success) - 1.0, False, False, {'success': success}

    def render(self) -> np.ndarray:
        """Draw the number, see `draw_counter`."""
        return draw_counter(self._number, *self._size)

    def _count(self) -> np.ndarray:
        self._number = (self._number + 1) % _LIMIT
        upper, lower = divmod(self._number, 4096)
        return np.array([upper / 4096, lower / 4096, min(self._step, 4096) / 4096], np.float32)
