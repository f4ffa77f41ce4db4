# SPDX-License-Identifier: Apache-2.0
"""Any message gives a picture, a step or a ValueError; anything else that is raised ends a node."""

from array import array
from unittest import mock

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from encoding_support import PLANES, pixel_bytes
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from furl_interfaces.msg import Observation, PromptEmbedding, RewardHeads, SourceInfo
from furl_ros.bridge import compressed, convert
from furl_ros.bridge.steps import from_observation, spaces_of, to_action, to_observation

many = settings(max_examples=4 * settings().max_examples)

UINT32 = 2**32 - 1
OTHERS = ['RGB8', 'rgb8 ', '8UC3', '16UC1', '32FC1', 'nv42', 'rgb', '\u00e9\u4e2d', '\0']

encodings = st.sampled_from(convert.ENCODINGS)
texts = st.one_of(st.sampled_from(OTHERS), st.text(max_size=300))
sizes = st.integers(0, 8)
fields = st.one_of(sizes, st.integers(0, UINT32), st.just(UINT32))
endian = st.sampled_from([0, 1, 2, 255])
frames = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32)).map(
    lambda t: np.random.default_rng(t[2]).integers(0, 256, (*t[:2], 3), np.uint8)
)
floats = st.one_of(
    st.lists(st.floats(width=32), max_size=6),
    st.lists(st.floats(-10, 10, width=32), max_size=6),
).map(lambda values: array('f', values))
times = st.builds(
    Time,
    sec=st.integers(-(2**31), 2**31 - 1),
    nanosec=st.one_of(st.integers(0, 10**9 - 1), st.integers(0, UINT32)),
)
# The check of fields takes the largest numbers for too large.
rewards = st.floats(width=32).filter(lambda value: not 3.4e38 < abs(value) < float('inf'))
headers = st.builds(Header, stamp=times, frame_id=st.text(max_size=5))


def image(encoding, height, width, step, data, is_bigendian=0):
    message = Image(height=height, width=width, encoding=encoding, step=step)
    message.is_bigendian = is_bigendian
    message.data = array('B', data)
    return message


@st.composite
def fitting_images(draw, least=4):
    """Pictures that are right in every field, with padded rows."""
    encoding = draw(encodings)
    even = 2 if encoding in ('nv12', 'nv21') else 1
    height = even * draw(st.integers(least // even, 8 // even))
    width = 2 * draw(st.integers(least // 2, 4))
    step = width * pixel_bytes(encoding) + draw(st.integers(0, 5))
    generator = np.random.default_rng(draw(st.integers(0, UINT32)))
    size = round(height * step * PLANES.get(encoding, 1))
    return image(encoding, height, width, step, generator.bytes(size), draw(endian))


@st.composite
def any_images(draw):
    """Pictures with anything in any field; often all but one are right."""
    message = draw(fitting_images(least=0))
    changes = {
        'encoding': st.one_of(encodings, texts),
        'height': fields,
        'width': fields,
        'step': fields,
        'data': st.binary(max_size=60).map(lambda data: array('B', data)),
    }
    for name in draw(st.sets(st.sampled_from(sorted(changes)), max_size=2)):
        setattr(message, name, draw(changes[name]))
    return message


def result_of(function, *arguments):
    """What the function returns; None where it says in a short text why it refuses."""
    try:
        return function(*arguments)
    except ValueError as caught:
        error = caught
    text = str(error)
    assert any(word in text for word in ('accepted', 'cannot be decoded', 'not finite'))
    assert len(text) < 500
    return None


def is_picture(frame):
    return frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3 and frame.size


@many
@given(any_images())
def test_any_image_is_a_picture_or_refused(message):
    frame = result_of(convert.from_image_msg, message)
    if frame is not None:
        assert is_picture(frame)
        assert frame.shape[:2] == (message.height, message.width)


@many
@given(fitting_images())
def test_what_fits_is_a_picture(message):
    assert is_picture(convert.from_image_msg(message))


@given(frames, st.integers(-(2**31) * 10**9, 2**31 * 10**9 - 1))
def test_frames_there_and_back(frame, stamp):
    for back, message in (
        (convert.from_image_msg, convert.to_image_msg(frame, stamp, 'c')),
        (convert.from_compressed_msg, convert.to_compressed_msg(frame, stamp, 'c', 'png')),
    ):
        assert np.array_equal(back(message), frame)
        assert convert.to_ns(message.header.stamp) == stamp


# Sound pictures of several kinds, to be spoilt.
FRAME = cv2.resize(np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8), (24, 20))
FILES = [
    cv2.imencode(*arguments)[1].tobytes()
    for arguments in (
        ('.jpg', FRAME),
        ('.jpg', FRAME[..., 0]),
        ('.jpg', FRAME, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 1]),
        ('.png', FRAME),
        ('.png', FRAME[..., 0]),
        ('.png', cv2.cvtColor(FRAME, cv2.COLOR_BGR2BGRA).astype(np.uint16) * 257),
    )
]


@st.composite
def spoilt_files(draw):
    data = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(0, 3))):
        # Most often where the headers are.
        most = draw(st.sampled_from([40, 200, len(data)]))
        place = draw(st.integers(0, max(0, min(len(data), most) - 1)))
        action = draw(st.sampled_from(['flip', 'set', 'insert', 'remove', 'cut']))
        if action == 'flip' and data:
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif action == 'set':
            data[place : place + 1] = draw(st.sampled_from([b'\0', b'\x7f', b'\xff']))
        elif action == 'insert':
            data[place:place] = draw(st.binary(min_size=1, max_size=4))
        elif action == 'remove':
            del data[place : place + draw(st.integers(1, 8))]
        else:
            del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


starts = st.sampled_from([b'', b'\xff\xd8\xff', b'\x89PNG', b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR'])
any_bytes = st.builds(bytes.__add__, starts, st.binary(max_size=200))


@many
@given(st.one_of(spoilt_files(), any_bytes), st.text(max_size=300))
def test_any_compressed_image_is_a_picture_or_refused(data, name):
    message = CompressedImage(format=name, data=array('B', data))
    frame = result_of(convert.from_compressed_msg, message)
    assert frame is None or is_picture(frame)


@many
@given(spoilt_files())
def test_the_size_is_read_as_the_decoder_reads_it(data):
    """With a limit of the sound pictures' size, nothing larger comes through."""
    most = FRAME.shape[0] * FRAME.shape[1]
    with mock.patch.object(compressed, 'LARGEST_PIXELS', most):
        frame = result_of(convert.from_compressed_msg, CompressedImage(data=array('B', data)))
    assert frame is None or frame.shape[0] * frame.shape[1] <= most


@pytest.mark.parametrize('data', FILES)
def test_the_files_are_sound(data):
    message = CompressedImage(data=array('B', data))
    assert convert.from_compressed_msg(message).shape == FRAME.shape


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 10**9 - 1))
def test_stamps_there_and_back(sec, nanosec):
    stamp = Time(sec=sec, nanosec=nanosec)
    assert convert.to_time(convert.to_ns(stamp)) == stamp


@given(
    st.builds(
        PromptEmbedding,
        header=headers,
        vlm=st.text(max_size=5),
        prompt=st.text(max_size=5),
        text_embedding=floats,
        goal_embedding=floats,
        baseline_embedding=floats,
    )
)
def test_any_prompt_is_read_or_refused(message):
    found = result_of(convert.from_prompt_msg, message)
    if found is None:
        return
    sent = (message.text_embedding, message.goal_embedding, message.baseline_embedding)
    for embedding, field in zip(found, sent, strict=True):
        assert (() if embedding is None else tuple(embedding)) == tuple(field)
        assert embedding is None or np.isfinite(embedding).all()


@given(
    st.builds(
        RewardHeads,
        version=st.integers(0, 2**64 - 1),
        layer_sizes=st.lists(st.integers(0, UINT32), max_size=4).map(lambda s: array('I', s)),
        image_head=floats,
        text_head=floats,
        anchor=floats,
        center=floats,
    )
)
def test_any_heads_are_read(message):
    found = convert.from_heads_msg(message)
    assert found['layer_sizes'] == list(message.layer_sizes)
    for name in ('image_head', 'text_head', 'anchor', 'center'):
        assert found[name].dtype == np.float32
        assert np.array_equal(found[name], getattr(message, name), equal_nan=True)


observations = st.builds(
    Observation,
    header=headers,
    previous_stamp=times,
    episode=fields,
    step=fields,
    seed=st.integers(0, 2**64 - 1),
    state=floats,
    action=floats,
    task_reward=rewards,
    success=st.booleans(),
    terminated=st.booleans(),
    truncated=st.booleans(),
)


@many
@given(observations, st.one_of(st.just(()), st.tuples(fields, fields)))
def test_any_observation_is_read_or_refused(message, widths):
    sensed = result_of(from_observation, message, *widths)
    if sensed is None:
        return
    assert not widths or len(sensed.state) == widths[0]
    back = to_observation(sensed, message.header.frame_id, message.seed)
    assert back == message
    # The answer carries the same stamp.
    assert to_action(sensed.stamp, sensed.action, '').header.stamp == message.header.stamp


@given(st.builds(SourceInfo, state_size=fields, action_low=floats, action_high=floats))
def test_any_source_has_spaces_or_is_refused(info):
    spaces = result_of(spaces_of, info)
    if spaces is None:
        return
    states, actions = spaces
    assert states.shape == (info.state_size,)
    assert actions.low.tolist() == list(info.action_low)
    assert actions.high.tolist() == list(info.action_high)
    assert (actions.low < actions.high).all()
    assert actions.is_bounded()
