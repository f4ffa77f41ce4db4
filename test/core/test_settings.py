# SPDX-License-Identifier: Apache-2.0
"""Settings as data: what is accepted, and what people are told when it is not."""

import argparse
import dataclasses
import re
from dataclasses import dataclass

import pytest

from furl_ros.core.config import AlignConfig, TrainConfig, VlmConfig
from furl_ros.core.settings import (
    SettingError,
    accepted,
    add_arguments,
    check,
    from_arguments,
    from_mapping,
    section,
    setting,
    table,
)


@dataclass(frozen=True)
class Example:
    """One field of each kind."""

    rate: float = setting(0.5, 'A rate, 100 % is 1.', low=0, high=1)
    count: int = setting(3, 'A number.', low=1)
    limit: int = setting(3, 'A limit.', high=9)
    mode: str = setting('fast', 'A choice.', choices=('fast', 'full'))
    render: bool = setting(True, 'A switch.')
    names: tuple[str, ...] = setting(('',), 'Some names.')


@pytest.mark.parametrize('kind', [TrainConfig, AlignConfig, VlmConfig])
def test_every_setting_of_the_cores_has_an_accepted_default_and_a_sentence(kind):
    check(kind())
    for field in dataclasses.fields(kind):
        assert field.metadata['doc'].endswith('.'), field.name
        if isinstance(field.default, float):
            assert accepted(field), f'{field.name}: the text for NaN would name no values'


@pytest.mark.parametrize('values', [{'rate': 0.0}, {'rate': 1.0}, {'count': 1}, {'limit': 9}])
def test_bounds_are_inclusive(values):
    assert dataclasses.asdict(from_mapping(Example, values)).items() >= values.items()


def test_an_integer_stands_for_a_float():
    rate = from_mapping(Example, {'rate': 1}).rate
    assert type(rate) is float
    assert rate == 1.0


@pytest.mark.parametrize(
    ('values', 'text'),
    [
        ({'rate': 1.5}, 'rate is 1.5; accepted: 0 to 1'),
        ({'rate': float('nan')}, 'rate is nan; accepted: 0 to 1'),
        ({'rate': float('inf')}, 'rate is inf; accepted: 0 to 1'),
        ({'rate': True}, 'rate is True; accepted: a value of type float'),
        ({'rate': 10**400}, 'accepted: 0 to 1'),
        ({'count': 0}, 'count is 0; accepted: 1 or more'),
        ({'count': 2.0}, 'count is 2.0; accepted: a value of type int'),
        ({'count': True}, 'count is True; accepted: a value of type int'),
        ({'limit': 10}, 'limit is 10; accepted: 9 or less'),
        ({'limit': 10**400}, 'accepted: 9 or less'),
        ({'mode': 'slow'}, "mode is 'slow'; accepted: fast, full"),
        ({'mode': None}, 'mode is None; accepted: a value of type str'),
        ({'render': 1}, 'render is 1; accepted: a value of type bool'),
        ({'names': 'a'}, "names is 'a'; accepted: a value of type tuple"),
        ({'names': ('a', 1)}, "names is ('a', 1); accepted: text values"),
        ({'raet': 1.0}, "there is no setting 'raet'; accepted: rate, count, limit, mode, render"),
    ],
)
def test_what_is_not_accepted_is_told_in_one_line(values, text):
    with pytest.raises(SettingError, match=re.escape(text)) as caught:
        from_mapping(Example, values)
    assert '\n' not in str(caught.value)


@dataclass(frozen=True)
class Part:
    """A section, with tuples of numbers and of texts."""

    sizes: tuple[float, ...] = setting((), 'Sizes.', low=0, item=float)
    kinds: tuple[str, ...] = setting((), 'Kinds.', choices=('a', 'b'), item=str)


@dataclass(frozen=True)
class Nested:
    """A section and a table of them."""

    rate: float = setting(0.5, 'A rate.', low=0)
    part: Part = section(Part, 'A part.')
    parts: dict[str, Part] = table(Part, 'Parts by name.')


def test_sections_and_tables():
    assert from_mapping(Nested, {}) == Nested()
    given = {'part': {'sizes': [1, 2.5]}, 'parts': {'z': {'kinds': 'b'}, 'y': {'sizes': 3}}}
    nested = from_mapping(Nested, given)
    assert nested.part == Part(sizes=(1.0, 2.5))
    assert type(nested.part.sizes[0]) is float
    assert list(nested.parts.items()) == [('z', Part(kinds=('b',))), ('y', Part(sizes=(3.0,)))]


@pytest.mark.parametrize(
    ('values', 'text'),
    [
        ({'part': {'sizes': [1, -2]}}, 'part.sizes is -2; accepted: 0 or more'),
        ({'part': {'sizes': [float('nan')]}}, 'part.sizes is nan; accepted: 0 or more'),
        ({'part': {'sizes': ['1']}}, "part.sizes is '1'; accepted: a value of type float"),
        ({'part': {'sizes': None}}, 'part.sizes is None; accepted: a value of type float'),
        ({'part': {'kinds': ['a', 'c']}}, "part.kinds is 'c'; accepted: a, b"),
        ({'part': {'size': 1}}, "there is no setting 'part.size'; accepted: sizes, kinds"),
        ({'part': None}, 'part is None; accepted: a mapping of sizes, kinds'),
        ({'parts': {'z': {'sizes': [-1]}}}, 'parts.z.sizes is -1; accepted: 0 or more'),
        ({'parts': {'z': 3}}, 'parts.z is 3; accepted: a mapping of sizes, kinds'),
        ({'parts': ['z']}, "parts is ['z']; accepted: a mapping of names"),
        ({'parts': {1: {}}}, 'parts is {1: {}}; accepted: a mapping of names'),
    ],
)
def test_errors_in_sections_name_the_whole_path(values, text):
    with pytest.raises(SettingError, match=re.escape(text)):
        from_mapping(Nested, values)


def parse(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser, Example, skip=('limit',))
    return from_arguments(Example, parser.parse_args(words))


def test_command_line():
    assert parse() == Example()
    given = parse('--rate', '1', '--mode', 'full', '--no-render', '--names', 'a', 'b')
    assert given == Example(rate=1.0, mode='full', render=False, names=('a', 'b'))
    with pytest.raises(SettingError, match='count is 0; accepted: 1 or more'):
        parse('--count', '0')
    with pytest.raises(SystemExit):
        parse('--limit', '3')


def test_the_help_text_tells_meaning_values_and_default(capsys):
    with pytest.raises(SystemExit):
        parse('--help')
    text = ' '.join(capsys.readouterr().out.split())
    assert 'A rate, 100 % is 1. Accepted: 0 to 1. Default: 0.5.' in text
