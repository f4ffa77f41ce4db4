# SPDX-License-Identifier: Apache-2.0
"""The environment that draws its step number."""

import cv2
import numpy as np
import pytest

from sim.config import SimConfig
from sim.counter import draw_counter, read_counter, read_state
from sim.envs import make


@pytest.mark.parametrize('size', [(32, 32), (33, 47), (112, 112), (640, 480)])
def test_numbers_survive_drawing_and_reading(size):
    for number in (0, 1, 2, 255, 4095, 4096, 5000, 2**23, 2**24 - 1):
        frame = draw_counter(number, *size)
        assert frame.shape == (size[1], size[0], 3)
        assert frame.dtype == np.uint8
        assert read_counter(frame) == number


def test_numbers_survive_jpeg():
    _, data = cv2.imencode('.jpg', draw_counter(12345, 64, 64), [cv2.IMWRITE_JPEG_QUALITY, 60])
    assert read_counter(cv2.imdecode(data, cv2.IMREAD_COLOR)) == 12345


def test_wrong_pictures_are_refused():
    frame = draw_counter(4711, 64, 64)
    for wrong in (frame[::-1], frame[:, ::-1], np.rot90(frame), np.zeros_like(frame), ~frame):
        with pytest.raises(ValueError, match='shows no step number'):
            read_counter(wrong)


def test_frames_and_states_count_resets_and_steps():
    env = make(SimConfig(task='furl/StampCounter-v0', width=48, height=32, horizon=20))
    success = []
    for number in range(21 * 4):
        step = env.reset() if number % 21 == 0 else env.step(np.zeros(4))
        assert step.frame.shape == (32, 48, 3)
        assert read_counter(step.frame) == read_state(step.state) == number
        assert step.truncated == (number % 21 == 20)
        success.append(step.success)
    assert np.array_equal(success, ([False] * 21 + [False] * 10 + [True] * 11) * 2)
    env.close()
