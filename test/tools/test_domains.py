# SPDX-License-Identifier: Apache-2.0
"""tools/train gives each graph a ROS domain of its own, and so do the tests, each other's included.

tools/env.sh finds the newest graph.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import domains
import pytest

DOMAINS = Path(__file__).parents[2] / 'tools' / 'lib' / 'domains.sh'
# Takes domains, says which, and holds them until its input ends.
TAKER = """
import sys
from pathlib import Path
import domains
domains.FOLDER = Path(sys.argv[1])
taken = [domains.take_domain() for _ in range(24)]
print(*taken, flush=True)
sys.stdin.read()
"""


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


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the locks are, for tests as well as for the shells; the first one to take is 1."""
    monkeypatch.setattr(domains, 'FOLDER', tmp_path / 'domains')
    monkeypatch.setattr(domains, '_newest', 0)
    return tmp_path / 'domains'


def test_tests_and_graphs_keep_out_of_each_others_domains(folder, shells):
    first, second = shells(), shells()
    assert (first.take(), second.take()) == ('0', '1')
    domain = domains.take_domain()
    assert domain == 2
    assert shells().take() == '3'
    # Let go, it is free again.
    del domain
    assert shells().take() == '2'


def test_a_test_is_no_graph_to_look_at(folder, shells):
    looking, graph = shells(), shells()
    domain = domains.take_domain()
    assert looking.find() == ''
    assert graph.take() == '0'
    assert looking.find() == '0'
    # A graph that takes what a test had is one.
    del domain
    assert shells().take() == '1'
    assert looking.find() == '1'


def test_a_domain_is_taken_as_long_as_a_child_has_its_lock(folder, shells):
    domain = domains.take_domain()
    with subprocess.Popen(['cat'], stdin=subprocess.PIPE, pass_fds=[domain.lock]) as child:
        del domain
        assert [shells().take() for _ in range(2)] == ['0', '2']
        child.stdin.close()
    assert shells().take() == '1'


def test_processes_that_take_domains_at_once_get_different_ones(folder):
    command = [sys.executable, '-c', TAKER, folder]
    pipe, support = subprocess.PIPE, Path(domains.__file__).parent
    takers = [
        subprocess.Popen(command, cwd=support, text=True, stdin=pipe, stdout=pipe) for _ in range(4)
    ]
    taken = [int(number) for taker in takers for number in taker.stdout.readline().split()]
    assert len(taken) == len(set(taken)) == 96
    rest = [domains.take_domain() for _ in range(3)]
    assert sorted(taken + rest) == list(range(1, 100))
    with pytest.raises(RuntimeError, match='all ROS domains from 1 to 99 are taken'):
        domains.take_domain()
    for taker in takers:
        taker.communicate()


def test_no_test_takes_a_domain_in_a_folder_of_somebody_else(folder, tmp_path):
    folder.symlink_to(tmp_path)
    with pytest.raises(RuntimeError, match='is not a folder of this user'):
        domains.take_domain()
