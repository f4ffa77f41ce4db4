# SPDX-License-Identifier: Apache-2.0
"""Messages to arrays and back, against cv_bridge where it knows the encoding."""

import zlib
from array import array

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

from furl_interfaces.msg import FrameScore, PromptEmbedding
from furl_ros.bridge import convert

CHANNELS = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1}
LARGEST = 2**32 - 1


def raw_message(encoding, channels, height=6, width=8, padding=0):
    generator = np.random.default_rng(3)
    step = width * channels + padding
    data = generator.integers(0, 256, (height, step), np.uint8)
    message = Image(height=height, width=width, encoding=encoding, step=step)
    message.data = array('B', data.tobytes())
    return message


@pytest.fixture(scope='module')
def bridge():
    return pytest.importorskip('cv_bridge').CvBridge()


@pytest.mark.parametrize(('encoding', 'channels'), CHANNELS.items())
def test_reads_what_cv_bridge_reads(bridge, encoding, channels):
    message = raw_message(encoding, channels)
    frame = convert.from_image_msg(message)
    assert frame.dtype == np.uint8
    assert frame.shape == (6, 8, 3)
    assert np.array_equal(frame, bridge.imgmsg_to_cv2(message, 'rgb8'))


def test_rgb_is_not_copied():
    message = raw_message('rgb8', 3, padding=5)
    assert np.shares_memory(convert.from_image_msg(message), np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'encoding': '16UC1'}, "encoding is '16UC1'; accepted: rgb8, bgr8, rgba8"),
        ({'encoding': 'mono16', 'step': 15}, 'step is 15; accepted: at least 16 bytes for 8 pix'),
        ({'encoding': 'grün'}, "encoding is 'grün'; accepted: rgb8"),
        ({'encoding': 'x' * 10**6}, "encoding is 'xxxxxxxxxxxx...xxxxxxxxxxxxx'; accepted: rgb8"),
        ({'height': 0}, 'size is 8x0; accepted: at least 1x1'),
        ({'width': 0}, 'size is 0x6; accepted: at least 1x1'),
        ({'step': 23}, 'step is 23; accepted: at least 24 bytes for 8 pixels of rgb8'),
        ({'height': 5}, 'data has 144 bytes; accepted: 120 for 5 rows of 24 bytes'),
        ({'data': array('B', b'')}, 'data has 0 bytes; accepted: 144'),
        ({'encoding': 'uyvy', 'width': 7}, 'width is 7; accepted for uyvy: even widths'),
        ({'encoding': 'bayer_rggb16', 'height': 2}, 'at least 3x3'),
        ({'encoding': 'nv21', 'width': 7}, 'size is 7x6; accepted for nv21: even widths and hei'),
        ({'encoding': 'nv12', 'height': 5}, 'size is 8x5; accepted for nv12: even widths and hei'),
        ({'encoding': 'nv21', 'step': 7}, 'step is 7; accepted: at least 8 bytes for nv21'),
        ({'encoding': 'nv24', 'height': 5}, 'data has 144 bytes; accepted: 360 for nv24 of 5 rows'),
        ({'encoding': 'nv21', 'height': LARGEST - 1}, 'data has 144 bytes; accepted: 154618822584'),
        ({'height': LARGEST}, 'data has 144 bytes; accepted: 103079215080 for'),
        ({'step': LARGEST}, 'data has 144 bytes; accepted: 25769803770 for'),
        ({'width': LARGEST}, 'step is 24; accepted: at least 12884901885 bytes'),
        (
            {'height': LARGEST, 'width': LARGEST, 'step': LARGEST, 'encoding': 'mono8'},
            'data has 144 bytes; accepted: 18446744065119617025',
        ),
    ],
)
def test_bad_images_say_what_is_accepted(changes, text):
    message = raw_message('rgb8', 3)
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(ValueError, match=text):
        convert.from_image_msg(message)


def test_images_there_and_back():
    frame = np.random.default_rng(0).integers(0, 256, (10, 14, 3), np.uint8)
    message = convert.to_image_msg(frame, 12_345_678_901, 'camera')
    assert isinstance(message.data, array)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (12, 345_678_901)
    assert message.header.frame_id == 'camera'
    assert np.array_equal(convert.from_image_msg(message), frame)
    mirrored = frame[:, ::-1]
    back = convert.from_image_msg(convert.to_image_msg(mirrored, 0, ''))
    assert np.array_equal(back, mirrored), 'a view with negative strides'


@pytest.mark.parametrize('function', [convert.to_image_msg, convert.to_compressed_msg])
@pytest.mark.parametrize('frame', [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_other_arrays_are_no_frames(function, frame):
    with pytest.raises(ValueError, match=r'accepted: uint8 \[height, width, 3\]'):
        function(frame, 0, '')


def test_compressed_images_there_and_back():
    frame = cv2.resize(np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8), (64, 48))
    png = convert.to_compressed_msg(frame, 5, 'camera', 'png')
    assert convert.to_ns(png.header.stamp) == 5
    assert np.array_equal(convert.from_compressed_msg(png), frame)
    jpeg = convert.to_compressed_msg(frame, 5, 'camera')
    difference = convert.from_compressed_msg(jpeg).astype(int) - frame
    assert np.abs(difference).mean() < 4
    jpeg.format = 'rgb8; jpeg compressed bgr8'
    assert convert.from_compressed_msg(jpeg).shape == frame.shape


def test_grey_pictures_become_rgb():
    _, data = cv2.imencode('.png', np.full((5, 6), 77, np.uint8))
    message = CompressedImage(format='png', data=array('B', data.tobytes()))
    assert np.array_equal(convert.from_compressed_msg(message), np.full((5, 6, 3), 77))


@pytest.mark.parametrize(
    ('data', 'text'),
    [
        (b'', 'accepted: jpeg, png'),
        (b'GIF89a', r"format 'jpeg'\) begins with b'GIF8'; accepted: jpeg, png"),
        (b'\xff\xd8\xff\xe0 no picture', 'of 15 bytes cannot be decoded'),
        (b'\x89PNG\r\n\x1a\n', 'cannot be decoded'),
    ],
)
def test_bad_compressed_images_are_refused(data, text):
    message = CompressedImage(format='jpeg', data=array('B', data))
    with pytest.raises(ValueError, match=text):
        convert.from_compressed_msg(message)


# Where the first row and the first column of the sensor's picture belong, as EXIF numbers it.
TURNED = {
    1: lambda frame: frame,
    2: lambda frame: frame[:, ::-1],
    3: lambda frame: frame[::-1, ::-1],
    4: lambda frame: frame[::-1],
    5: lambda frame: frame.transpose(1, 0, 2),
    6: lambda frame: np.rot90(frame, -1),
    7: lambda frame: frame.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda frame: np.rot90(frame),
}
PNG_HAS_EXIF = tuple(map(int, cv2.__version__.split('.')[:2])) >= (4, 12)


@pytest.mark.parametrize('orientation', TURNED)
@pytest.mark.parametrize(
    'kind',
    [
        'jpeg',
        pytest.param('png', marks=pytest.mark.skipif(not PNG_HAS_EXIF, reason='older OpenCV')),
    ],
)
def test_pictures_are_turned_as_their_exif_says(kind, orientation):
    frame = np.zeros((16, 32, 3), np.uint8)
    frame[:8, :16] = 255
    data = bytes(convert.to_compressed_msg(frame, 0, '', kind).data)
    tiff = b'MM\0*\0\0\0\x08' + b'\0\x01'
    tiff += b'\x01\x12\0\x03\0\0\0\x01\0' + bytes([orientation]) + bytes(6)
    if kind == 'jpeg':
        exif = b'Exif\0\0' + tiff
        place, segment = 2, b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif
    else:
        check = zlib.crc32(b'eXIf' + tiff).to_bytes(4, 'big')
        place = data.index(b'IDAT') - 4
        segment = len(tiff).to_bytes(4, 'big') + b'eXIf' + tiff + check
    message = CompressedImage(data=array('B', data[:place] + segment + data[place:]))
    expected = TURNED[orientation](frame)
    turned = convert.from_compressed_msg(message)
    assert turned.shape == expected.shape
    assert np.abs(turned.astype(int) - expected).max() < 30


def test_unknown_compression_is_refused():
    with pytest.raises(ValueError, match="kind is 'gif'; accepted: jpeg, png"):
        convert.to_compressed_msg(np.zeros((2, 2, 3), np.uint8), 0, '', 'gif')


@pytest.mark.parametrize('values', [np.arange(6.0).reshape(2, 3).T, np.zeros(0), np.array([0.1])])
def test_float_fields(values):
    message = FrameScore(embedding=convert.to_float_field(values))
    back = convert.from_float_field(message.embedding)
    assert back.dtype == np.float32
    assert np.array_equal(back, values.astype(np.float32).ravel())


def test_heads():
    image, text = np.arange(8, dtype=np.float32), -np.arange(8, dtype=np.float32)
    anchor, center = np.ones(3, np.float32), np.zeros(3, np.float32)
    for frame in ((), (anchor, center)):
        message = convert.to_heads_msg((3, 2), image, text, *frame)
        back = convert.from_heads_msg(message)
        assert back.pop('layer_sizes') == [3, 2]
        sent = {'image_head': image, 'text_head': text, 'anchor': (), 'center': ()}
        sent |= dict(zip(('anchor', 'center'), frame, strict=False))
        assert back.keys() == sent.keys()
        assert all(np.array_equal(back[name], sent[name]) for name in sent)


@pytest.mark.parametrize('goal', [(), (4.0, 5.0, 6.0)])
@pytest.mark.parametrize('baseline', [(), (7.0, 8.0, 9.0)])
def test_prompts(goal, baseline):
    message = PromptEmbedding(
        text_embedding=[1.0, 2.0, 3.0], goal_embedding=goal, baseline_embedding=baseline
    )
    text, *others = convert.from_prompt_msg(message)
    assert text.dtype == np.float32
    assert text.tolist() == [1, 2, 3]
    for found, sent in zip(others, (goal, baseline), strict=True):
        assert (() if found is None else tuple(found)) == sent


@pytest.mark.parametrize(
    ('values', 'text'),
    [
        (((), (), ()), r'they have \[0, 0, 0\] values; accepted: equally many'),
        (((), (1.0,), ()), r'\[0, 1, 0\] values'),
        (((1.0, 2.0), (1.0,), ()), r'\[2, 1, 0\] values'),
        (((1.0, 2.0), (), (1.0, 2.0, 3.0)), r'\[2, 0, 3\] values'),
        (((float('nan'), 2.0), (), ()), 'not finite'),
        (((1.0, 2.0), (1.0, float('inf')), ()), 'not finite'),
    ],
)
def test_prompts_that_cannot_be_used(values, text):
    names = ('text_embedding', 'goal_embedding', 'baseline_embedding')
    with pytest.raises(ValueError, match=text):
        convert.from_prompt_msg(PromptEmbedding(**dict(zip(names, values, strict=True))))
