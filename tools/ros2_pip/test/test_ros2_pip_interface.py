# SPDX-License-Identifier: Apache-2.0
"""`ros2 interface`: which types there are, and their texts."""

import io

import pytest

PIECE = """\
# A piece.
# Of two lines.

Point[<=2] ends  # Where it is.
uint8 RED=1  # Like an apple.

string<=9 colour 'none'
"""
POINT = """\
# A point.

float64 x  # Metres.
float64[3] rest
"""
MOVE = """\
# What to move.
lab/Piece piece
---
bool done
---
std_msgs/String word
"""
FILES = {
    'msg/Piece.msg': PIECE,
    'msg/Point.msg': POINT,
    'action/Move.action': MOVE,
    'srv/Stop.srv': '---\n',
}


@pytest.fixture(autouse=True)
def interfaces(package):
    """Give the package `lab` types."""
    index = package / 'share/ament_index/resource_index/rosidl_interfaces/lab'
    index.parent.mkdir()
    index.write_text('\n'.join([*FILES, *(f'{name.split(".")[0]}.idl' for name in FILES)]))
    for name, text in FILES.items():
        path = package / 'share/lab' / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def test_show_keeps_the_comments_of_the_file_itself(run_cli):
    assert run_cli('interface', 'show', 'lab/msg/Piece') == (
        None,
        '# A piece.\n'
        '# Of two lines.\n'
        '\n'
        'Point[<=2] ends  # Where it is.\n'
        '\tfloat64 x\n'
        '\tfloat64[3] rest\n'
        'uint8 RED=1  # Like an apple.\n'
        '\n'
        "string<=9 colour 'none'\n",
    )


def test_show_all_comments(run_cli):
    assert run_cli('interface', 'show', '--all-comments', 'lab/action/Move') == (
        None,
        '# What to move.\n'
        'lab/Piece piece\n'
        '\t# A piece.\n'
        '\t# Of two lines.\n'
        '\n'
        '\tPoint[<=2] ends  # Where it is.\n'
        '\t\t# A point.\n'
        '\n'
        '\t\tfloat64 x  # Metres.\n'
        '\t\tfloat64[3] rest\n'
        '\tuint8 RED=1  # Like an apple.\n'
        '\n'
        "\tstring<=9 colour 'none'\n"
        '---\n'
        'bool done\n'
        '---\n'
        'std_msgs/String word\n'
        '\t# This was originally provided as an example message.\n'
        '\t# It is deprecated as of Foxy\n'
        '\t# It is recommended to create your own semantically meaningful message.\n'
        '\t# However if you would like to continue using this please use the equivalent in '
        'example_msgs.\n'
        '\n'
        '\tstring data\n',
    )


def test_show_no_comments(run_cli):
    assert run_cli('interface', 'show', 'lab/msg/Piece', '--no-comments') == (
        None,
        "Point[<=2] ends\n\tfloat64 x\n\tfloat64[3] rest\nuint8 RED=1\nstring<=9 colour 'none'\n",
    )


def test_show_reads_the_type_from_stdin(run_cli, monkeypatch):
    monkeypatch.setattr('sys.stdin', io.StringIO('lab/srv/Stop\n'))
    assert run_cli('interface', 'show', '-') == (None, '---\n')


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('Piece', "Invalid name 'Piece'; expected 'package/msg|srv|action/Type'"),
        ('lab/Piece', "Invalid name 'lab/Piece'"),
        ('lab/msg/Nothing', "Could not find the interface '"),
        ('nothing/msg/Piece', "Package 'nothing' not found"),
    ],
)
def test_unknown_types(run_cli, name, message):
    assert run_cli('interface', 'show', name)[0].startswith(message)


def test_list(run_cli):
    result, output = run_cli('interface', 'list')
    assert result is None
    lines = output.splitlines()
    messages, services, actions = (
        lines.index(title) for title in ('Messages:', 'Services:', 'Actions:')
    )
    assert {'    lab/msg/Piece', '    lab/msg/Point', '    std_msgs/msg/String'} <= set(
        lines[messages:services]
    )
    assert {'    lab/srv/Stop', '    std_srvs/srv/SetBool'} <= set(lines[services:actions])
    assert '    lab/action/Move' in lines[actions:]
    assert run_cli('interface', 'list', '--only-actions')[1].splitlines() == lines[actions:]


def test_package(run_cli):
    assert run_cli('interface', 'package', 'lab') == (
        None,
        'lab/action/Move\nlab/msg/Piece\nlab/msg/Point\nlab/srv/Stop\n',
    )
    assert run_cli('interface', 'package', 'lab', '-s', '-a') == (
        None,
        'lab/action/Move\nlab/srv/Stop\n',
    )
    assert "Package 'nothing' not found" in run_cli('interface', 'package', 'nothing')[0]


def test_packages(run_cli):
    _, output = run_cli('interface', 'packages')
    assert {'lab', 'std_msgs', 'std_srvs'} <= set(output.splitlines())
    _, output = run_cli('interface', 'packages', '--only-srvs')
    assert 'lab' in output.splitlines()
    assert 'std_msgs' not in output.splitlines()
