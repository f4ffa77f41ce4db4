# SPDX-License-Identifier: Apache-2.0
"""What a JPEG or PNG asks of its decoder, found out before it is decoded.

OpenCV believes what a file says of itself: 91 bytes can make it take 2 GB, and 1 MB can keep it
busy for minutes, by its size, by scans, by texts or by pixels beyond the last. Such files are
refused here. The markers of a JPEG are found as libjpeg finds them: the size read is the decoder's.
"""

import re
import struct
import zlib
from collections.abc import Iterator

LARGEST_PIXELS = 4096 * 4096
"""Most pixels of a compressed picture."""

# A progressive JPEG has about ten, and each makes the decoder go over all pixels.
MOST_SCANS = 50
# Texts of a PNG that are inflated on their own, to 8 MB each.
MOST_TEXTS = 16
# Up to here the pixels of a PNG are not inflated beforehand, which takes two thirds as long as to
# decode them: at worst, OpenCV is busy for two seconds.
MOST_UNCHECKED = 512 * 1024
# 16 bits in four channels; interlacing adds at most two bytes a pixel.
LARGEST_PIXEL = 10

# 00 to BF and D0 to D7 (restarts) are left out: they begin no segment, and may stand among pixels.
_MARKER = re.compile(rb'\xff([\xc0-\xcf\xd8-\xfe])')
_SCAN, _END = 0xDA, 0xD9
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def check_jpeg(data: memoryview) -> None:
    """Refuse a JPEG that is large or slow to decode; data as bytes.

    Raises:
        ValueError: it has more than ``LARGEST_PIXELS``, no size, or more than ``MOST_SCANS``.
    """
    sized, scans, position = False, 0, 2
    while found := _MARKER.search(data, position):
        code, position = found[1][0], found.end()
        if code == _END or len(data) < position + 7:
            break
        length, height, width = struct.unpack_from('>HxHH', data, position)
        if code in _FRAMES:
            _check_size(width, height)
            sized = True
        scans += code == _SCAN
        position += length
    if not sized:
        raise ValueError(f'JPEG of {len(data)} bytes cannot be decoded: it does not tell its size')
    if scans > MOST_SCANS:
        raise ValueError(f'JPEG has {scans} scans; accepted: at most {MOST_SCANS}')


def check_png(data: memoryview) -> None:
    """Refuse a PNG that is large or slow to decode; data as bytes.

    Raises:
        ValueError: it has more than ``LARGEST_PIXELS``, no size, parts that are missing, more than
            ``MOST_TEXTS``, or more data than pixels.
    """
    if bytes(data[8:16]) != b'\0\0\0\rIHDR' or len(data) < 24:
        raise ValueError(f'PNG of {len(data)} bytes cannot be decoded: it does not tell its size')
    width, height = struct.unpack_from('>II', data, 16)
    _check_size(width, height)
    pixels, texts = [], 0
    for kind, content in _chunks(data):
        if kind == b'IDAT':
            pixels.append(content)
        texts += kind in (b'iTXt', b'zTXt')
    if texts > MOST_TEXTS:
        raise ValueError(f'PNG has {texts} compressed texts; accepted: at most {MOST_TEXTS}')
    if sum(map(len, pixels)) > MOST_UNCHECKED:
        _check_inflated(pixels, LARGEST_PIXEL * width * height)


def _check_size(width: int, height: int) -> None:
    if width * height > LARGEST_PIXELS:
        raise ValueError(
            f'compressed picture is {width}x{height}; accepted: at most {LARGEST_PIXELS} pixels'
        )


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and content of each chunk of a PNG; each of them must be whole."""
    position, kind = 8, b''
    while kind != b'IEND':
        if len(data) < position + 12:
            raise ValueError(f'PNG of {len(data)} bytes cannot be decoded: it has no end')
        length, kind = struct.unpack_from('>I4s', data, position)
        start, position = position + 8, position + 12 + length
        if position > len(data):
            raise ValueError(
                f'PNG of {len(data)} bytes cannot be decoded: {kind!r} has {length} bytes'
            )
        yield kind, data[start : start + length]


def _check_inflated(parts: list[memoryview], most: int) -> None:
    inflater, inflated = zlib.decompressobj(), 0
    for part in parts:
        while part and not inflater.eof:
            try:
                inflated += len(inflater.decompress(part, 2**16))
            except zlib.error as error:
                raise ValueError(f'PNG cannot be decoded: {error}') from error
            if inflated > most:
                raise ValueError(
                    f'PNG has more than {most} bytes of pixels; accepted: as its size says'
                )
            part = inflater.unconsumed_tail
