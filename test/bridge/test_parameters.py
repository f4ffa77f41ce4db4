# SPDX-License-Identifier: Apache-2.0
"""Settings as parameters of a real node."""

import re
from dataclasses import dataclass

import pytest
import rclpy
from domains import take_domain
from rcl_interfaces.msg import ParameterType
from rclpy.node import Node
from rclpy.parameter import Parameter

from furl_ros.bridge.config import LearnerNodeConfig, RewardNodeConfig
from furl_ros.bridge.parameters import declare
from furl_ros.core.config import AlignConfig, TrainConfig
from furl_ros.core.settings import SettingError, setting


@dataclass(frozen=True)
class Example:
    """One field of each kind."""

    rate: float = setting(0.5, 'A rate.', low=0, high=1)
    open_rate: float = setting(0.5, 'An open rate.', low=0)
    count: int = setting(3, 'A number.', low=1)
    mode: str = setting('fast', 'A choice.', choices=('fast', 'full'))
    render: bool = setting(True, 'A switch.')
    sources: tuple[str, ...] = setting(('',), 'Some names.')


@pytest.fixture(scope='module')
def context():
    context = rclpy.Context()
    domain = take_domain()
    rclpy.init(context=context, domain_id=domain)
    yield context
    rclpy.try_shutdown(context=context)


@pytest.fixture
def make(context):
    """Makes a node whose parameters were given from outside."""
    nodes = []

    def make(**given):
        overrides = [Parameter(name, value=value) for name, value in given.items()]
        nodes.append(
            Node(
                f'example_{len(nodes)}',
                context=context,
                parameter_overrides=overrides,
                start_parameter_services=False,
            )
        )
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


def test_given_values_and_defaults(make):
    assert declare(make(), Example) == Example()
    node = make(rate=0.25, count=9, mode='full', render=False, sources=['sim0', 'sim1'])
    assert declare(node, Example) == Example(0.25, 0.5, 9, 'full', False, ('sim0', 'sim1'))


def test_an_integer_stands_for_a_float(make):
    """``rate:=1`` on a command line is an integer for ROS."""
    rate = declare(make(rate=1), Example).rate
    assert type(rate) is float
    assert rate == 1.0


@pytest.mark.parametrize(
    ('given', 'text'),
    [
        ({'rate': 2}, 'rate is 2; accepted: 0 to 1'),
        ({'count': 1.0}, 'count is 1.0; accepted: a value of type int'),
        ({'sources': [1, 2]}, 'sources is (1, 2); accepted: text values'),
    ],
)
def test_what_is_not_accepted_is_told_in_one_line(make, given, text):
    with pytest.raises(SettingError, match=f'^{re.escape(text)}$'):
        declare(make(**given), Example)


def test_descriptions_tell_meaning_and_range(make):
    node = make(rate=1)
    declare(node, Example)
    rate = node.describe_parameter('rate')
    assert rate.description == 'A rate.'
    (bounds,) = rate.floating_point_range
    assert (bounds.from_value, bounds.to_value) == (0, 1)
    assert rate.additional_constraints == '0 to 1'
    assert rate.read_only
    count = node.describe_parameter('count')
    assert count.integer_range[0].from_value == 1
    assert count.integer_range[0].to_value == 2**63 - 1
    assert node.describe_parameter('open_rate').floating_point_range[0].to_value == float('inf')
    mode = node.describe_parameter('mode')
    assert mode.additional_constraints == 'fast, full'
    assert mode.type == ParameterType.PARAMETER_STRING
    assert not mode.integer_range
    assert not mode.floating_point_range


def test_they_cannot_be_changed_later(make):
    node = make()
    declare(node, Example)
    (result,) = node.set_parameters([Parameter('rate', value=0.75)])
    assert not result.successful
    assert node.get_parameter('rate').value == 0.5


def test_the_settings_of_the_nodes(make):
    node = make(method='vlm', seed=3)
    for kind in (TrainConfig, AlignConfig, LearnerNodeConfig, RewardNodeConfig):
        settings = declare(node, kind)
        for name in ('method', 'seed'):
            assert getattr(settings, name, None) in (None, {'method': 'vlm', 'seed': 3}[name])
    described = node.describe_parameter('gamma')
    assert described.description == 'Discount per step.'
