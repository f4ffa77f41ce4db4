# SPDX-License-Identifier: Apache-2.0
"""Messages from and to YAML."""

import pytest
import yaml
from geometry_msgs.msg import PoseWithCovariance
from rcl_interfaces.msg import ParameterValue
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Byte, Float64, UInt8
from visualization_msgs.msg import Marker

from ros2_pip.errors import CommandError
from ros2_pip.messages import from_yaml, load_type, to_plain, to_yaml


@pytest.mark.parametrize(
    ('message_class', 'fields'),
    [
        (Float64, {'data': 1.5}),
        (Byte, {'data': 7}),
        (JointState, {'header': {'frame_id': 'base'}, 'name': ['a', 'b'], 'position': [1.0, 2.0]}),
        (PoseWithCovariance, {'covariance': [float(i) for i in range(36)]}),
        (Marker, {'points': [{'x': 1.0, 'y': 2.0, 'z': 3.0}], 'lifetime': {'sec': 1}}),
        (Image, {'data': [1, 2, 255], 'encoding': 'mono8'}),
        (ParameterValue, {'byte_array_value': [1, 2], 'bool_array_value': [True, False]}),
    ],
)
def test_round_trip(message_class, fields):
    message = from_yaml(message_class, yaml.safe_dump(fields))
    plain = to_plain(message)
    for name, value in fields.items():
        if isinstance(value, dict):
            assert value.items() <= plain[name].items()
        else:
            assert plain[name] == value
    assert yaml.safe_load(to_yaml(message)) == plain


def test_integers_become_floats():
    assert from_yaml(Float64, '{data: 2}').data == 2.0
    assert list(from_yaml(JointState, '{position: [1, 2]}').position) == [1.0, 2.0]


def test_empty_text_is_the_default_message():
    assert from_yaml(Float64, '') == Float64()


@pytest.mark.parametrize(
    ('message_class', 'text'),
    [
        (UInt8, '{data: 256}'),
        (UInt8, '{data: 1.5}'),
        (Byte, '{data: 300}'),
        (PoseWithCovariance, '{covariance: [1.0]}'),
        (Marker, '{points: [1]}'),
        (JointState, '{header: {frame: base}}'),
        (Image, '{data: [256]}'),
    ],
)
def test_what_does_not_fit(message_class, text):
    with pytest.raises(CommandError, match='Failed to populate field'):
        from_yaml(message_class, text)


def test_long_fields_are_cut():
    image = Image(data=bytes(300), encoding='x' * 300)
    plain = to_plain(image, max_length=10)
    assert plain['data'] == [*[0] * 10, '...']
    assert plain['encoding'] == 'x' * 10 + '...'
    assert to_plain(image, arrays=False)['data'] == '<array type: sequence<uint8>[300]>'


def test_types():
    assert load_type('msg', 'std_msgs/msg/UInt8') is UInt8
    assert load_type('msg', 'std_msgs/UInt8') is UInt8
    for name in ('UInt8', 'std_msgs/srv/UInt8', 'std_msgs/msg/Nothing', 'nothing/msg/UInt8', '/x'):
        with pytest.raises(CommandError):
            load_type('msg', name)
