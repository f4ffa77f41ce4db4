# SPDX-License-Identifier: Apache-2.0
"""A picture is the same in every encoding, as far as the encoding can hold it."""

import numpy as np
import pytest
from encoding_support import PLANES, YUV, encode, scene, seen

from furl_ros.bridge import convert
from furl_ros.core.config import VlmConfig
from furl_ros.core.vlm import cosine, load_vlm

# OpenCV computes the colours of video in whole numbers.
ROUNDING = {encoding: 1 if encoding in YUV else 0 for encoding in convert.ENCODINGS}
WHOLE = [e for e in convert.ENCODINGS if e not in YUV and not e.startswith(('mono', 'bayer'))]


def error(encoding, size, padding=0, is_bigendian=0):
    """Largest difference between what is read and what the encoding holds of a picture."""
    picture = scene(*size)
    frame = convert.from_image_msg(encode(picture, encoding, padding, is_bigendian))
    assert frame.dtype == np.uint8
    return np.abs(frame.astype(int) - seen(picture, encoding)).max()


@pytest.mark.parametrize('is_bigendian', [0, 1])
@pytest.mark.parametrize('padding', [0, 1, 32])
@pytest.mark.parametrize('encoding', convert.ENCODINGS)
def test_every_encoding_is_read(encoding, padding, is_bigendian):
    assert error(encoding, (96, 128), padding, is_bigendian) <= ROUNDING[encoding]


@pytest.mark.parametrize('encoding', [e for e in convert.ENCODINGS if not e.startswith('mono')])
def test_no_channel_is_taken_for_another(encoding):
    """Each channel of the scene is its own; where it changes slowly, every encoding shows it."""
    picture = scene(480, 640)
    frame = convert.from_image_msg(encode(picture, encoding)).astype(int)
    assert np.abs(frame - picture).max() <= 3


@pytest.mark.parametrize('padding', [0, 4])
@pytest.mark.parametrize('encoding', PLANES)
def test_step_may_count_a_row_of_all_planes(encoding, padding):
    message = encode(scene(12, 16), encoding, padding)
    expected = convert.from_image_msg(message)
    message.step = round(message.step * PLANES[encoding])
    assert np.array_equal(convert.from_image_msg(message), expected)


@pytest.mark.parametrize('encoding', WHOLE)
def test_odd_sizes_of_whole_pixels(encoding):
    assert error(encoding, (97, 131), 3) == 0


@pytest.mark.parametrize('encoding', [e for e in convert.ENCODINGS if e.startswith('bayer')])
def test_odd_sizes_of_mosaics(encoding):
    """The neighbours of the last rows differ; what matters is that all are read."""
    picture = scene(97, 131)
    frame = convert.from_image_msg(encode(picture, encoding, 3)).astype(int)
    assert np.abs(frame - picture).max() < 10


def test_scores_are_the_same_in_every_encoding():
    """As that of the picture in rgb8; of what the encoding holds of it, where that is less."""
    vlm = load_vlm(VlmConfig(device='cpu'))
    picture, text = scene(240, 320), vlm.encode_text('open a drawer')

    def scores(frames):
        return cosine(vlm.encode_images(np.stack(frames)), text)

    read = [convert.from_image_msg(encode(picture, e, 7, 1)) for e in convert.ENCODINGS]
    expected = scores([seen(picture, e) for e in convert.ENCODINGS])
    np.testing.assert_allclose(scores(read), expected, atol=1e-3)
    whole = [convert.ENCODINGS.index(encoding) for encoding in WHOLE]
    np.testing.assert_allclose(expected[whole], scores([picture])[0], atol=1e-6)
