# SPDX-License-Identifier: Apache-2.0
"""Between ROS messages and arrays.

Pictures are uint8 RGB [H, W, 3] on our side. All encodings are read here, with NumPy and OpenCV:
cv_bridge copies more, not every build of it knows padded rows, all Bayer patterns or 16 bits with
the upper byte first, and what it raises depends on NumPy. The tests compare with cv_bridge what it
does read.
"""

import reprlib
from array import array
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image

from furl_interfaces.msg import PromptEmbedding, RewardHeads
from furl_ros.bridge.compressed import check_jpeg, check_png

Picture = Image | CompressedImage

NANOSECONDS = 1_000_000_000
LATEST_S = 2_100_000_000
"""Seconds of the latest stamp that is accepted; a Time holds 1.5 years more."""


class _Encoding(NamedTuple):
    """How a pixel lies in memory, and OpenCV's conversion to RGB (None: it is RGB already)."""

    channels: int
    depth: int  # bytes of a channel
    conversion: int | None


_ENCODINGS = {
    'rgb8': _Encoding(3, 1, None),
    'bgr8': _Encoding(3, 1, cv2.COLOR_BGR2RGB),
    'rgba8': _Encoding(4, 1, cv2.COLOR_RGBA2RGB),
    'bgra8': _Encoding(4, 1, cv2.COLOR_BGRA2RGB),
    'mono8': _Encoding(1, 1, cv2.COLOR_GRAY2RGB),
    'uyvy': _Encoding(2, 1, cv2.COLOR_YUV2RGB_UYVY),
    'yuv422': _Encoding(2, 1, cv2.COLOR_YUV2RGB_UYVY),
    'yuyv': _Encoding(2, 1, cv2.COLOR_YUV2RGB_YUYV),
    'yuv422_yuy2': _Encoding(2, 1, cv2.COLOR_YUV2RGB_YUYV),
    'rgb16': _Encoding(3, 2, None),
    'bgr16': _Encoding(3, 2, cv2.COLOR_BGR2RGB),
    'rgba16': _Encoding(4, 2, cv2.COLOR_RGBA2RGB),
    'bgra16': _Encoding(4, 2, cv2.COLOR_BGRA2RGB),
    'mono16': _Encoding(1, 2, cv2.COLOR_GRAY2RGB),
}
# Named by the first two rows, as ROS does; OpenCV's older names (BayerBG for rggb) are not.
_BAYER = {
    'rggb': cv2.COLOR_BayerRGGB2RGB,
    'bggr': cv2.COLOR_BayerBGGR2RGB,
    'gbrg': cv2.COLOR_BayerGBRG2RGB,
    'grbg': cv2.COLOR_BayerGRBG2RGB,
}
_ENCODINGS |= {
    f'bayer_{pattern}{8 * depth}': _Encoding(1, depth, conversion)
    for depth in (1, 2)
    for pattern, conversion in _BAYER.items()
}


class _Planar(NamedTuple):
    """A plane of brightness, and below it one of pairs of colours."""

    conversion: int | None
    colours: float  # bytes of the second plane for each of the first


_PLANAR = {
    'nv12': _Planar(cv2.COLOR_YUV2RGB_NV12, 0.5),
    'nv21': _Planar(cv2.COLOR_YUV2RGB_NV21, 0.5),
    'nv24': _Planar(None, 2),
}
ENCODINGS = (*_ENCODINGS, *_PLANAR)
"""Accepted values of Image.encoding."""

# First bytes of the compressed formats, and what their files are checked with.
_COMPRESSED = {'jpeg': (b'\xff\xd8\xff', check_jpeg), 'png': (b'\x89PNG', check_png)}


def check_stamp(stamp: Time) -> None:
    """Check that a stamp is one, and that a run can go on after it.

    Raises:
        ValueError: its nanoseconds are whole seconds, so that no answer could repeat it, or it is
            so late that those after it could not be told.
    """
    if stamp.nanosec >= NANOSECONDS:
        raise ValueError(
            f'stamp has {stamp.nanosec} nanoseconds; accepted: less than {NANOSECONDS}'
        )
    if stamp.sec > LATEST_S:
        raise ValueError(f'stamp has {stamp.sec} seconds; accepted: up to {LATEST_S}')


def to_ns(stamp: Time) -> int:
    """Nanoseconds of a stamp."""
    return stamp.sec * NANOSECONDS + stamp.nanosec


def to_time(nanoseconds: int) -> Time:
    """Stamp of nanoseconds since the epoch."""
    sec, nanosec = divmod(nanoseconds, NANOSECONDS)
    return Time(sec=sec, nanosec=nanosec)


def to_float_field(values: np.ndarray) -> array:
    """Values of a ``float32[]`` field, in row-major order; other types are slow to assign."""
    field = array('f')
    field.frombytes(np.ascontiguousarray(values, np.float32).tobytes())
    return field


def from_float_field(field: Sequence[float]) -> np.ndarray:
    """A ``float32[]`` field as float32 [N]; shares the memory of the message."""
    return np.asarray(field, np.float32)


def check_picture_msg(message: Picture) -> None:
    """Check what is seen without decoding: of compressed pictures no more than the first bytes.

    Raises:
        ValueError: unknown encoding or format, no pixels, or data that do not fit the sizes given.
    """
    if isinstance(message, CompressedImage):
        _check_of_format(message)
    else:
        _stride(message)


def from_image_msg(message: Image) -> np.ndarray:
    """The picture of a message as uint8 RGB [H, W, 3].

    Rows may be padded. Of 16 bits the upper 8 are kept; ``is_bigendian`` says which come first.
    'rgb8' is not copied: the array then shares the memory of the message.

    Raises:
        ValueError: unknown encoding, no pixels, or data that do not fit the sizes given.
    """
    name, height, width, stride = message.encoding, message.height, message.width, _stride(message)
    rows = np.frombuffer(message.data, np.uint8).reshape(-1, stride)
    if name in _PLANAR:
        return _from_planes(rows, height, width, _PLANAR[name].conversion)
    channels, depth, conversion = _ENCODINGS[name]
    rows = rows[:, : width * channels * depth]
    if depth == 1:
        pixels = rows.reshape(height, width, channels)
    else:
        both = rows.reshape(height, width, channels, depth)
        pixels = np.ascontiguousarray(both[..., 0 if message.is_bigendian else 1])
    return pixels if conversion is None else cv2.cvtColor(pixels, conversion)


def _stride(message: Image) -> int:
    """Bytes from one row of a picture, and of its planes, to the next.

    Raises:
        ValueError: see ``from_image_msg``.
    """
    name, height, width, step = message.encoding, message.height, message.width, message.step
    if name not in ENCODINGS:
        raise ValueError(f'encoding is {reprlib.repr(name)}; accepted: {", ".join(ENCODINGS)}')
    if height < 1 or width < 1:
        raise ValueError(f'size is {width}x{height}; accepted: at least 1x1')
    if name in _PLANAR:
        return _stride_of_planes(message)
    channels, depth, _ = _ENCODINGS[name]
    if channels == 2 and width % 2:
        raise ValueError(f'width is {width}; accepted for {name}: even widths')
    if name.startswith('bayer') and min(width, height) < 3:
        raise ValueError(f'size is {width}x{height}; accepted for {name}: at least 3x3')
    row = width * channels * depth
    if step < row:
        raise ValueError(
            f'step is {step}; accepted: at least {row} bytes for {width} pixels of {name}'
        )
    # Before anything is made: a message may claim more than there is memory.
    if len(message.data) != height * step:
        raise ValueError(
            f'data has {len(message.data)} bytes; accepted: {height * step}'
            f' for {height} rows of {step} bytes'
        )
    return step


def _stride_of_planes(message: Image) -> int:
    """``_stride`` for pictures in planes, of at least one pixel.

    ``step`` is that of the first plane; drivers for whom the data are ``height`` rows of ``step``
    bytes, as the text of the message has it, count a row of both planes.
    """
    name, height, width, step = message.encoding, message.height, message.width, message.step
    conversion, colours = _PLANAR[name]
    if conversion is not None and (width % 2 or height % 2):
        raise ValueError(f'size is {width}x{height}; accepted for {name}: even widths and heights')
    rows = round(height * (1 + colours))
    size = len(message.data)
    stride = step if size != height * step else size // rows
    if stride < width:
        raise ValueError(f'step is {step}; accepted: at least {width} bytes for {name}')
    if size != rows * stride:
        raise ValueError(
            f'data has {size} bytes; accepted: {rows * step} for {name} of {height} rows and'
            f' steps of {step} bytes'
        )
    return stride


def _from_planes(planes: np.ndarray, height: int, width: int, conversion: int | None) -> np.ndarray:
    """RGB of the rows of both planes, uint8 [N, stride]."""
    if conversion is not None:
        return cv2.cvtColor(planes[:, :width], conversion)
    # OpenCV does not know it: each pixel becomes a pair of equal ones of yuyv.
    light, stride = planes[:height, :width], planes.shape[1]
    pairs = planes[height:].reshape(height, 2 * stride)[:, : 2 * width].reshape(height, width, 2)
    doubled = np.stack([light, pairs[..., 0], light, pairs[..., 1]], axis=-1)
    rgb = cv2.cvtColor(doubled.reshape(height, 2 * width, 2), cv2.COLOR_YUV2RGB_YUYV)
    return np.ascontiguousarray(rgb[:, ::2])


def from_compressed_msg(message: CompressedImage) -> np.ndarray:
    """The picture of a JPEG or PNG message as uint8 RGB [H, W, 3].

    The format is read from the data: drivers fill the format field in many ways. A picture is
    turned as its EXIF orientation says, which may exchange H and W.

    Raises:
        ValueError: another format, more than ``compressed.LARGEST_PIXELS`` (told before anything is
            decoded), or data that cannot be decoded.
    """
    data = np.frombuffer(message.data, np.uint8)
    _check_of_format(message)(memoryview(data))
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ValueError(f'compressed picture cannot be decoded: {error}') from error
    if pixels is None:
        raise ValueError(f'compressed picture of {len(data)} bytes cannot be decoded')
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _check_of_format(message: CompressedImage) -> Callable[[memoryview], None]:
    """What checks the files of its format; raises ValueError where that is another one."""
    start = bytes(message.data[:4])
    for first, check in _COMPRESSED.values():
        if start.startswith(first):
            return check
    raise ValueError(
        f'compressed picture (format {reprlib.repr(message.format)}) begins with {start!r};'
        f' accepted: {", ".join(_COMPRESSED)}'
    )


def from_picture_msg(message: Picture) -> np.ndarray:
    """The picture of either kind of message, uint8 RGB [H, W, 3]; raises ValueError."""
    if isinstance(message, CompressedImage):
        return from_compressed_msg(message)
    return from_image_msg(message)


def to_image_msg(frame: np.ndarray, stamp: int, frame_id: str) -> Image:
    """Make an 'rgb8' message of a frame, uint8 [H, W, 3]; stamp in nanoseconds.

    Raises:
        ValueError: the frame has another shape or dtype.
    """
    _check_frame(frame)
    message = Image(height=frame.shape[0], width=frame.shape[1], encoding='rgb8')
    message.header.stamp = to_time(stamp)
    message.header.frame_id = frame_id
    message.step = 3 * frame.shape[1]
    message.data = _bytes_field(np.ascontiguousarray(frame))
    return message


def to_compressed_msg(
    frame: np.ndarray, stamp: int, frame_id: str, kind: Literal['jpeg', 'png'] = 'jpeg'
) -> CompressedImage:
    """Compress a frame, uint8 [H, W, 3], as JPEG (lossy) or PNG; stamp in nanoseconds.

    Raises:
        ValueError: the frame has another shape or dtype, or ``kind`` is another one.
    """
    _check_frame(frame)
    if kind not in _COMPRESSED:
        raise ValueError(f'kind is {kind!r}; accepted: {", ".join(_COMPRESSED)}')
    _, data = cv2.imencode(f'.{kind}', cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    message = CompressedImage(format=kind)
    message.header.stamp = to_time(stamp)
    message.header.frame_id = frame_id
    message.data = _bytes_field(data)
    return message


def to_heads_msg(
    layer_sizes: Sequence[int],
    image_head: np.ndarray,
    text_head: np.ndarray,
    anchor: Sequence[float] = (),
    center: Sequence[float] = (),
) -> RewardHeads:
    """Make a message of both heads' parameters; the caller fills in the rest.

    Args:
        layer_sizes: widths, input first.
        image_head, text_head: float32 [P], layer by layer: weight [out, in], then bias.
        anchor, center: of anchored heads, float32 [E]; else empty.
    """
    return RewardHeads(
        layer_sizes=array('I', layer_sizes),
        image_head=to_float_field(image_head),
        text_head=to_float_field(text_head),
        anchor=to_float_field(anchor),
        center=to_float_field(center),
    )


def from_heads_msg(message: RewardHeads) -> dict[str, Any]:
    """What ``core.heads.RewardHeads.from_flat`` takes, by name; the arrays are float32 [...]."""
    names = ('image_head', 'text_head', 'anchor', 'center')
    arrays = {name: from_float_field(getattr(message, name)) for name in names}
    return {'layer_sizes': list(message.layer_sizes), **arrays}


def from_prompt_msg(
    message: PromptEmbedding,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Embeddings of prompt, goal image and baseline prompt, float32 [E]; None for an empty one.

    Raises:
        ValueError: that of the prompt is empty, their widths differ, or a value is not finite.
    """
    text, goal, baseline = (
        np.array(field, np.float32)
        for field in (message.text_embedding, message.goal_embedding, message.baseline_embedding)
    )
    widths = [len(embedding) for embedding in (text, goal, baseline)]
    if not widths[0] or not {*widths} <= {0, widths[0]}:
        raise ValueError(f'they have {widths} values; accepted: equally many, the last two or none')
    if not np.isfinite([*text, *goal, *baseline]).all():
        raise ValueError('they have values that are not finite')
    return text, goal if widths[1] else None, baseline if widths[2] else None


def _check_frame(frame: np.ndarray) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(
            f'frame is {frame.dtype} {list(frame.shape)}; accepted: uint8 [height, width, 3]'
        )


def _bytes_field(values: np.ndarray) -> array:
    """A ``uint8[]`` field: anything but array('B') is checked element by element."""
    field = array('B')
    field.frombytes(memoryview(values).cast('B'))
    return field
