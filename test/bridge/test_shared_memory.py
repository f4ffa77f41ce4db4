# SPDX-License-Identifier: Apache-2.0
"""Segments without an owner go, all others stay."""

import contextlib
import fcntl
import os
import subprocess
import sys

import pytest

from furl_ros.bridge import processes, shared_memory
from furl_ros.bridge.shared_memory import remove_ownerless

SIZE = 64 * 1024


def make(folder, name, size=SIZE):
    """A segment and the file of its lock, which nobody holds."""
    segment, lock = folder / name, folder / f'{name}_el'
    segment.write_bytes(b'x' * size)
    lock.touch()
    return segment, lock


@contextlib.contextmanager
def held(lock):
    """Hold a lock as Fast DDS does."""
    file = os.open(lock, os.O_RDONLY | os.O_CREAT)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    yield
    os.close(file)


def assert_stays(segment, lock):
    """Neither is removed."""
    assert remove_ownerless(segment.parent) == 0
    assert segment.exists()
    assert lock.exists()


@pytest.mark.parametrize('prefix', ['fastrtps', 'fastdds'])
def test_what_nobody_owns_goes(tmp_path, prefix):
    files = [*make(tmp_path, f'{prefix}_{1:016x}'), *make(tmp_path, f'{prefix}_{0xABC:016x}')]
    assert remove_ownerless(tmp_path) == 2 * SIZE
    assert not any(file.exists() for file in files)
    assert remove_ownerless(tmp_path) == 0


def test_a_held_segment_stays(tmp_path):
    segment, lock = make(tmp_path, f'fastrtps_{1:016x}')
    with held(lock):
        assert_stays(segment, lock)
    assert remove_ownerless(tmp_path) == SIZE


def test_one_that_is_just_being_made_stays(tmp_path):
    # The lock is there and held before the segment is.
    lock = tmp_path / f'fastrtps_{1:016x}_el'
    with held(lock):
        assert remove_ownerless(tmp_path) == 0
        assert lock.exists()


def test_a_maker_that_comes_too_late_sees_that_its_lock_has_gone(tmp_path):
    # Between its opening of the file and its locking; it then begins anew.
    lock = tmp_path / f'fastrtps_{1:016x}_el'
    with open(lock, 'w') as file:
        assert remove_ownerless(tmp_path) == 0
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert not lock.exists()


def test_a_lock_that_another_owner_made_anew_is_let_alone(tmp_path, monkeypatch):
    segment, lock = make(tmp_path, f'fastrtps_{1:016x}')

    def lock_too_late(file, operation):
        lock.unlink()
        lock.touch()

    monkeypatch.setattr(shared_memory.fcntl, 'flock', lock_too_late)
    assert_stays(segment, lock)


@pytest.mark.parametrize(
    'name',
    [
        'fastrtps_port17910',  # Fast DDS renews its ports itself
        'fastrtps_0123',
        'fastrtps_0123456789ABCDEF',
        'fast_datasharing_0123456789abcdef',
        'cyclone_0123456789abcdef',
    ],
)
def test_other_names_stay(tmp_path, name):
    assert_stays(*make(tmp_path, name))


def test_a_segment_without_a_lock_stays(tmp_path):
    segment, lock = make(tmp_path, f'fastrtps_{1:016x}')
    lock.unlink()
    assert remove_ownerless(tmp_path) == 0
    assert segment.exists()


@pytest.mark.parametrize('theirs', ['segment', 'lock'])
def test_files_of_another_user_stay(tmp_path, monkeypatch, theirs):
    segment, lock = make(tmp_path, f'fastrtps_{1:016x}')
    other = {'segment': segment, 'lock': lock}[theirs]
    is_ours = shared_memory._is_ours
    monkeypatch.setattr(shared_memory, '_is_ours', lambda p: p != other and is_ours(p))
    assert_stays(segment, lock)


def test_a_file_is_ours_by_its_owner(tmp_path, monkeypatch):
    segment, lock = make(tmp_path, f'fastrtps_{1:016x}')
    monkeypatch.setattr(os, 'geteuid', lambda: segment.stat().st_uid + 1)
    assert_stays(segment, lock)


def test_links_lead_nowhere(tmp_path):
    segment, lock = make(tmp_path, 'precious')
    os.symlink(lock, tmp_path / f'fastrtps_{1:016x}_el')
    os.symlink(segment, tmp_path / f'fastrtps_{1:016x}')
    assert_stays(segment, lock)


def test_one_that_cannot_be_removed_does_not_keep_the_others(tmp_path):
    stuck = tmp_path / f'fastrtps_{1:016x}'
    stuck.mkdir()
    (tmp_path / f'{stuck.name}_el').touch()
    segment, _ = make(tmp_path, f'fastrtps_{2:016x}')
    assert remove_ownerless(tmp_path) == SIZE
    assert stuck.exists()
    assert not segment.exists()


def test_without_the_folder_there_is_nothing_to_do(tmp_path):
    assert remove_ownerless(tmp_path / 'none') == 0


def test_whoever_is_killed_leaves_its_segment_without_an_owner(tmp_path):
    segment, lock = make(tmp_path, f'fastrtps_{1:016x}')
    program = (
        'import fcntl, sys; file = open(sys.argv[1]);'
        ' fcntl.flock(file, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()'
    )
    with subprocess.Popen(
        [sys.executable, '-c', program, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        owner.stdout.readline()
        assert remove_ownerless(tmp_path) == 0
        owner.kill()
        owner.wait()
        assert remove_ownerless(tmp_path) == SIZE
    assert not segment.exists()


def test_the_launch_speaks_of_it_where_there_was_any(monkeypatch):
    freed = iter([0, 18_000_000])
    monkeypatch.setattr(shared_memory, 'remove_ownerless', lambda: next(freed))
    assert processes.free_memory(None) == []
    (line,) = processes.free_memory(None)
    assert 'freed 17.2 MiB of shared memory' in line.describe()
