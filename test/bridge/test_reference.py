# SPDX-License-Identifier: Apache-2.0
"""The pages of the reference say what the code says."""

import dataclasses
from pathlib import Path

import pytest

from furl_ros.bridge.reference import NODES, PAGES, node_help


@pytest.mark.parametrize('name', PAGES)
def test_pages_are_up_to_date(name):
    page = Path(__file__).parents[2] / 'docs' / f'{name}.md'
    assert page.read_text() == PAGES[name](), (
        f'run: python -m furl_ros.bridge.reference {name} > docs/{name}.md'
    )


_TYPES = {str: 'str', int: 'int', float: 'float', bool: 'bool', tuple: 'list of str'}


@pytest.mark.parametrize('node', NODES)
def test_the_help_of_a_node_says_what_it_is_and_names_each_parameter(node):
    text = node_help(node)
    assert text.startswith(f'{node}: ')
    assert f'\nusage: ros2 run furl_ros {node} [--ros-args -p NAME:=VALUE' in text
    for kind in NODES[node]:
        for field in dataclasses.fields(kind):
            line = text.index(f'\n  {field.name} ({_TYPES[type(field.default)]}, default: ')
            words = ' '.join(text[line:].split())
            assert ' '.join(field.metadata['doc'].split()) in words
    assert max(map(len, text.splitlines())) <= 120


def test_defaults_in_the_help_are_written_as_parameters_are():
    assert '\n  image_qos (str, default: "lockstep")\n' in node_help('reward_node')
    assert '\n  sources (list of str, default: [""])\n' in node_help('learner_node')
    assert '\n  render (bool, default: true)\n' in node_help('sim_node')
    assert 'Accepted: 0.1 to 1000.\n' in node_help('sim_node')
