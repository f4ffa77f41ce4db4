# SPDX-License-Identifier: Apache-2.0
"""tools/train gives each graph a ROS domain of its own, and tools/env.sh finds the newest one."""

import shutil
import subprocess
from pathlib import Path

import pytest

DOMAINS = Path(__file__).parents[2] / 'tools' / 'lib' / 'domains.sh'


class Shell:
    """A shell that has sourced domains.sh and keeps what it holds until it is ended."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            ['bash', '-eu'], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.send(f'. "{DOMAINS}"; _furl_domains={folder}; unset ROS_DOMAIN_ID')

    def send(self, line):
        self.process.stdin.write(line + '\n')
        self.process.stdin.flush()

    def take(self):
        """Take a domain and return its number; none when it has none."""
        self.send('furl_take_domain; echo "${ROS_DOMAIN_ID:-none}"')
        return self.process.stdout.readline().strip()

    def find(self):
        """The domain that a second shell looks at."""
        self.send('furl_find_domain; echo')
        return self.process.stdout.readline().strip()

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def shells(tmp_path):
    """Makes shells that share a folder of locks."""
    made = []

    def make():
        made.append(Shell(tmp_path / 'domains'))
        return made[-1]

    yield make
    for shell in made:
        shell.end()


def test_each_graph_has_its_domain_and_leaves_it_free(shells):
    first, second = shells(), shells()
    assert (first.take(), second.take()) == ('0', '1')
    first.end()
    assert shells().take() == '0'


def test_a_second_shell_finds_the_newest_graph_that_runs(shells):
    looking, first, second = shells(), shells(), shells()
    assert looking.find() == ''
    first.take()
    assert looking.find() == '0'
    second.take()
    assert looking.find() == '1'
    second.end()
    assert looking.find() == '0'


def test_a_folder_of_somebody_else_changes_nothing(shells, tmp_path):
    (tmp_path / 'domains').mkdir()
    try:
        shutil.chown(tmp_path / 'domains', 65534)
    except PermissionError:
        (tmp_path / 'domains').rmdir()
        (tmp_path / 'domains').symlink_to('/root')
    shell = shells()
    assert shell.take() == 'none'
    assert shell.find() == ''
