# SPDX-License-Identifier: Apache-2.0
"""Pictures in every encoding, by the definitions of the encodings alone (without OpenCV)."""

import itertools
from array import array

import numpy as np
from sensor_msgs.msg import Image

PLANES = {'nv12': 1.5, 'nv21': 1.5, 'nv24': 3}
"""Bytes of a picture for each pixel, of encodings in planes."""

YUV = ('uyvy', 'yuv422', 'yuyv', 'yuv422_yuy2', *PLANES)
_PACKED = {'uyvy': 'uyvy', 'yuv422': 'uyvy', 'yuyv': 'yuyv', 'yuv422_yuy2': 'yuyv'}

# BT.601 with the range of video: brightness from 16 to 235, colours from 16 to 240.
_OFFSET = np.float32([16, 128, 128])
_FROM_RGB = np.float32(
    [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]
) / np.float32(255)
# The inverse to as many digits as is usual.
_TO_RGB = np.array([[1.164, 0, 1.596], [1.164, -0.391, -0.813], [1.164, 2.018, 0]])


def scene(height: int, width: int) -> np.ndarray:
    """A picture whose channels differ everywhere, and change slowly: uint8 [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = y / height, x / width
    channels = (0.9 * x, 0.1 + 0.8 * y, 0.5 + 0.4 * np.sin(5 * x + 3 * y))
    return (255 * np.stack(channels, axis=-1)).astype(np.uint8)


def encode(picture: np.ndarray, encoding: str, padding: int = 0, is_bigendian: int = 0) -> Image:
    """The message of a picture, uint8 RGB [H, W, 3], with noise wherever nobody should look."""
    height, width, _ = picture.shape
    noise = np.random.default_rng(0)
    message = Image(height=height, width=width, encoding=encoding, is_bigendian=is_bigendian)
    if encoding in PLANES:
        message.step = width + padding
        light, colours = _planes(picture, encoding)
        parts = [light, colours.reshape(len(colours), -1)]
        # A row of colours that is twice as long is padded by twice as much.
        paddings = [padding, 2 * padding if encoding == 'nv24' else padding]
    else:
        pixels = _pixels(picture, encoding, noise)
        if encoding.endswith('16'):
            low = noise.integers(0, 256, pixels.shape, np.uint8)
            pixels = np.stack([pixels, low] if is_bigendian else [low, pixels], axis=-1)
        parts, paddings = [pixels.reshape(height, -1)], [padding]
        message.step = parts[0].shape[1] + padding
    data = b''
    for part, more in zip(parts, paddings, strict=True):
        rest = noise.integers(0, 256, (len(part), more), np.uint8)
        data += np.concatenate([part, rest], axis=1).tobytes()
    message.data = array('B', data)
    return message


def seen(picture: np.ndarray, encoding: str) -> np.ndarray:
    """What is left of a picture, uint8 RGB [H, W, 3], in an encoding."""
    if encoding.startswith('mono'):
        return np.repeat(_grey(picture)[..., None], 3, axis=2)
    if encoding.startswith('bayer'):
        return _without_mosaic(_pixels(picture, encoding), encoding)
    if encoding not in YUV:
        return picture
    if encoding in _PACKED:
        yuv = _yuv(picture, 1, 2)
    elif encoding == 'nv24':
        yuv = _yuv(picture, 1, 1)
    else:
        yuv = _yuv(picture, 2, 2)
    rgb = (yuv - _OFFSET) @ _TO_RGB.T
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def pixel_bytes(encoding: str) -> int:
    """Bytes of a pixel in a row; of encodings in planes those in the first plane."""
    name = encoding.rstrip('0123456789_')
    depth = 2 if encoding.endswith('16') else 1
    if encoding in _PACKED:
        return 2
    return depth * {'rgb': 3, 'bgr': 3, 'rgba': 4, 'bgra': 4}.get(name, 1)


def _grey(picture: np.ndarray) -> np.ndarray:
    return np.rint(picture @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)


def _pixels(
    picture: np.ndarray, encoding: str, noise: np.random.Generator | None = None
) -> np.ndarray:
    """Upper bytes of all channels, uint8 [H, W] or [H, W, C]."""
    height, width, _ = picture.shape
    if encoding.startswith('mono'):
        return _grey(picture)
    if encoding.startswith('bayer'):
        pattern = encoding.removeprefix('bayer_')[:4]
        mosaic = np.empty((height, width), np.uint8)
        for place, letter in enumerate(pattern):
            rows, columns = slice(place // 2, None, 2), slice(place % 2, None, 2)
            mosaic[rows, columns] = picture[rows, columns, 'rgb'.index(letter)]
        return mosaic
    if encoding in _PACKED:
        yuv = _yuv(picture, 1, 2)
        pairs = np.empty((height, width, 2), np.uint8)
        at = _PACKED[encoding].index('y')
        pairs[..., at] = yuv[..., 0]
        pairs[:, 0::2, 1 - at] = yuv[:, 0::2, 1]
        pairs[:, 1::2, 1 - at] = yuv[:, 0::2, 2]
        return pairs
    layers = {letter: picture[..., index] for index, letter in enumerate('rgb')}
    layers['a'] = noise.integers(0, 256, (height, width), np.uint8)
    return np.stack([layers[letter] for letter in encoding.rstrip('0123456789')], axis=-1)


def _planes(picture: np.ndarray, encoding: str) -> tuple[np.ndarray, np.ndarray]:
    """Brightness, uint8 [H, W], and colours, uint8 [h, w, 2]."""
    size = 1 if encoding == 'nv24' else 2
    yuv = _yuv(picture, size, size)
    order = [2, 1] if encoding == 'nv21' else [1, 2]
    return yuv[..., 0], yuv[::size, ::size, order]


def _yuv(picture: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Brightness, blue and red, uint8 [H, W, 3]; the colours are means of blocks of pixels."""
    height, width, _ = picture.shape
    yuv = picture.astype(np.float32) @ _FROM_RGB.T + _OFFSET
    blocks = yuv.reshape(height // rows, rows, width // columns, columns, 3)
    means = blocks[..., 1:].mean(axis=(1, 3), keepdims=True)
    blocks[..., 1:] = means
    return np.rint(blocks).astype(np.uint8).reshape(height, width, 3)


def _without_mosaic(mosaic: np.ndarray, encoding: str) -> np.ndarray:
    """The colours between those of a mosaic are means of their neighbours; the edge repeats."""
    height, width = mosaic.shape
    pattern = encoding.removeprefix('bayer_')[:4]
    y, x = np.mgrid[0:height, 0:width]
    letters = np.array(list(pattern))[2 * (y % 2) + x % 2]
    shifts = [*itertools.product((-1, 0, 1), repeat=2)]
    channels = []
    for letter in 'rgb':
        known = np.float32(letters == letter)
        around = [np.roll((known, known * mosaic), shift, (1, 2)) for shift in shifts]
        count, total = sum(around)
        channels.append(np.where(known > 0, mosaic, total / count))
    inner = np.stack(channels, axis=-1)[1:-1, 1:-1]
    return np.pad(np.floor(inner + 0.5).astype(np.uint8), ((1, 1), (1, 1), (0, 0)), mode='edge')
