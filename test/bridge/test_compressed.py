# SPDX-License-Identifier: Apache-2.0
"""Pictures that would take much time or memory are refused before they are decoded."""

import itertools
import struct
import zlib
from array import array

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage

from furl_ros.bridge import compressed, convert

FRAME = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
JPEG = cv2.imencode('.jpg', FRAME)[1].tobytes()
JFIF = 20  # bytes of its beginning and first segment
PNG = cv2.imencode('.png', FRAME)[1].tobytes()
SIGNATURE = b'\x89PNG\r\n\x1a\n'
END = struct.pack('>I4sI', 0, b'IEND', zlib.crc32(b'IEND'))


def message(data):
    return CompressedImage(data=array('B', data))


def chunk(kind, content):
    checked = kind + content
    return struct.pack('>I', len(content)) + checked + struct.pack('>I', zlib.crc32(checked))


def png(width, height, *chunks, depth=8):
    """A grey PNG with these chunks between its header and its end."""
    header = struct.pack('>IIBBBBB', width, height, depth, 0, 0, 0, 0)
    return SIGNATURE + chunk(b'IHDR', header) + b''.join(chunks) + END


def jpeg(width, height):
    """A JPEG whose header tells another size than its data have."""
    frame = JPEG.index(b'\xff\xc0')
    return JPEG[: frame + 5] + struct.pack('>HH', height, width) + JPEG[frame + 9 :]


@pytest.fixture
def no_decoder(monkeypatch):
    def never(*_):
        raise AssertionError('it was decoded')

    monkeypatch.setattr(cv2, 'imdecode', never)


@pytest.mark.parametrize(
    ('make', 'size'),
    [
        *itertools.product((png, jpeg), [(20_000, 20_000), (4097, 4096), (2**16 - 1, 2**16 - 1)]),
        (png, (2**32 - 1, 2**32 - 1)),
    ],
)
def test_large_pictures(make, size, no_decoder):
    text = f'compressed picture is {size[0]}x{size[1]}; accepted: at most 16777216 pixels'
    with pytest.raises(ValueError, match=text):
        convert.from_compressed_msg(message(make(*size)))


@pytest.mark.parametrize('kind', ['.jpg', '.png'])
def test_the_largest_picture_is_read(kind):
    data = cv2.imencode(kind, np.zeros((4096, 4096), np.uint8))[1].tobytes()
    assert convert.from_compressed_msg(message(data)).shape == (4096, 4096, 3)


def test_chunks_that_claim_more_than_there_is(no_decoder):
    place = PNG.index(b'IDAT') - 4
    claims = PNG[:place] + struct.pack('>I', 2**31 - 1) + PNG[place + 4 :]
    with pytest.raises(ValueError, match=r"cannot be decoded: b'IDAT' has 2147483647 bytes"):
        convert.from_compressed_msg(message(claims))


@pytest.mark.parametrize('left', [8, 20, 40, len(PNG) - 13, len(PNG) - 12, len(PNG) - 1])
def test_a_png_without_its_end(left, no_decoder):
    with pytest.raises(ValueError, match=f'PNG of {left} bytes cannot be decoded'):
        convert.from_compressed_msg(message(PNG[:left]))


@pytest.mark.parametrize('kind', [b'zTXt', b'iTXt'])
def test_texts_of_a_png(kind, no_decoder):
    text = chunk(kind, b'k\0\0' + zlib.compress(bytes(1000)))
    with pytest.raises(ValueError, match='PNG has 17 compressed texts; accepted: at most 16'):
        convert.from_compressed_msg(message(PNG[:33] + 17 * text + PNG[33:]))


def test_a_few_texts_are_fine():
    text = chunk(b'zTXt', b'k\0\0' + zlib.compress(bytes(1000)))
    data = PNG[:33] + 16 * text + PNG[33:]
    assert np.array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), 1), FRAME)
    assert convert.from_compressed_msg(message(data)).shape == FRAME.shape


def test_pixels_beyond_the_last(no_decoder):
    deflater = zlib.compressobj(0)
    pixels = deflater.compress(bytes(compressed.MOST_UNCHECKED)) + deflater.flush()
    halves = [chunk(b'IDAT', part) for part in (pixels[:1000], pixels[1000:])]
    with pytest.raises(ValueError, match='more than 40960 bytes of pixels; accepted: as its size'):
        convert.from_compressed_msg(message(png(64, 64, *halves)))


def test_pixels_that_cannot_be_inflated(no_decoder):
    pixels = chunk(b'IDAT', bytes(compressed.MOST_UNCHECKED + 1))
    with pytest.raises(ValueError, match='PNG cannot be decoded: Error -3'):
        convert.from_compressed_msg(message(png(64, 64, pixels)))


def test_a_png_of_noise_is_read():
    """Its pixels are inflated twice."""
    frame = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
    data = convert.to_compressed_msg(frame, 0, '', 'png')
    assert len(data.data) > compressed.MOST_UNCHECKED
    assert np.array_equal(convert.from_compressed_msg(data), frame)


def progressive(scans):
    """A progressive JPEG with its last scan repeated up to this number of them."""
    data = cv2.imencode('.jpg', FRAME, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    last = data[data.rindex(b'\xff\xda') : -2]
    return data[:-2] + (scans - data.count(b'\xff\xda')) * last + data[-2:]


def test_scans_of_a_jpeg():
    read = convert.from_compressed_msg(message(progressive(50)))
    assert read.shape == FRAME.shape
    with pytest.raises(ValueError, match='JPEG has 51 scans; accepted: at most 50'):
        convert.from_compressed_msg(message(progressive(51)))


@pytest.mark.parametrize(
    'between',
    [
        b'',
        b'\xff\xff\xff',
        b'garbage',
        b'\xff\xd0\xff\x01',
        b'\xff\xe1\0\x1a' + jpeg(9, 9)[:24],
        b'\xff\xfe\0\x08\xff\xc0\xff\xc0\xff\xda',
    ],
    ids=['nothing', 'fill', 'garbage', 'markers', 'thumbnail', 'comment'],
)
def test_markers_are_found_as_libjpeg_finds_them(between):
    data = JPEG[:JFIF] + between + JPEG[JFIF:]
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert np.array_equal(convert.from_compressed_msg(message(data)), decoded[..., ::-1])
    large = JPEG[:JFIF] + between + jpeg(20_000, 20_000)[JFIF:]
    with pytest.raises(ValueError, match='is 20000x20000'):
        convert.from_compressed_msg(message(large))


def test_what_follows_the_end_of_a_jpeg_does_not_count():
    assert convert.from_compressed_msg(message(JPEG + 60 * b'\xff\xda')).shape == FRAME.shape


@pytest.mark.parametrize('rest', [b'', JPEG[JPEG.index(b'\xff\xc4') :]], ids=['nothing', 'scan'])
def test_a_jpeg_without_a_size(rest, no_decoder):
    with pytest.raises(ValueError, match='cannot be decoded: it does not tell its size'):
        convert.from_compressed_msg(message(JPEG[: JPEG.index(b'\xff\xc0')] + rest))
