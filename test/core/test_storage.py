# SPDX-License-Identifier: Apache-2.0
"""Files and folders that are either whole or absent."""

import json
import os

import numpy as np
import pytest

from furl_ros.core import storage
from furl_ros.core.settings import SettingError
from furl_ros.core.storage import (
    generator_from_json,
    generator_to_json,
    load_tree,
    save_tree,
    whole_folder,
    write_whole,
)

TREE = {
    'wide': np.arange(6, dtype=np.float32).reshape(2, 3),
    'half': {'a': np.ones(3, np.float16), 'deep': {'flags': np.array([True, False])}},
    'scalar': np.array(4.0, np.float32),
    'no rows': np.zeros((0, 5), np.float16),
    'no columns': np.zeros((5, 0), np.float16),
    'strided': np.arange(10, dtype=np.int64)[::2],
}


def same(one, other):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            same(one[name], other[name])
    else:
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert np.array_equal(one, other)


def test_a_tree_comes_back(tmp_path):
    save_tree(tmp_path / 'a', TREE, {'steps': 3, 'nested': {'list': [1, 2.5, 'x']}})
    arrays, meta = load_tree(tmp_path / 'a')
    same(arrays, TREE)
    assert meta == {'steps': 3, 'nested': {'list': [1, 2.5, 'x']}}


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    save_tree(tmp_path / 'a', {'x': np.ones(2)}, {'n': 1})

    def full(arrays, path, metadata):
        path.write_bytes(b'torn')
        raise OSError('disk full')

    monkeypatch.setattr(storage, 'save_file', full)
    with pytest.raises(OSError, match='disk full'):
        save_tree(tmp_path / 'a', {'x': np.zeros(2)}, {'n': 2})
    assert load_tree(tmp_path / 'a')[1] == {'n': 1}


@pytest.mark.parametrize('umask', [0o022, 0o007])
def test_all_files_have_the_mode_that_the_umask_leaves(tmp_path, umask):
    """Those of safetensors too, and in the place of one that a killed process left."""
    temporary = tmp_path / '.tree.tmp'
    temporary.touch(0o600)
    previous = os.umask(umask)
    try:
        for _ in range(2):
            save_tree(tmp_path / 'tree', TREE, {})
            write_whole(tmp_path / 'small', 'x')
            with whole_folder(tmp_path / 'folder') as folder:
                save_tree(folder / 'tree', TREE, {})
    finally:
        os.umask(previous)
    for path in tmp_path.rglob('*'):
        usual = 0o777 if path.is_dir() else 0o666
        assert path.stat().st_mode & 0o777 == usual & ~umask, path
    assert {path.name for path in tmp_path.rglob('*')} == {'tree', 'small', 'folder'}


@pytest.mark.parametrize('spoil', ['absent', 'empty', 'torn', 'folder', 'foreign'])
def test_an_unreadable_file_is_told_in_one_line(tmp_path, spoil):
    path = tmp_path / 'a'
    save_tree(path, {'x': np.ones(100)}, {})
    whole = path.read_bytes()
    path.unlink()
    if spoil == 'folder':
        path.mkdir()
    elif spoil == 'foreign':
        storage.save_file({'x': np.ones(2)}, path)
    elif spoil != 'absent':
        path.write_bytes(b'' if spoil == 'empty' else whole[:-10])
    with pytest.raises(SettingError, match='is not a readable checkpoint file') as caught:
        load_tree(path)
    assert str(path) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_folder_appears_when_it_is_whole_and_replaces_an_older_one(tmp_path):
    path, before = tmp_path / 'deep' / 'a', False
    for name in ('old', 'new'):
        with whole_folder(path) as folder:
            (folder / name).write_text(name)
            assert path.exists() == before
        assert [file.read_text() for file in path.iterdir()] == [name]
        assert [folder.name for folder in path.parent.iterdir()] == ['a']
        before = True


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_an_error_leaves_nothing_new_and_everything_old(tmp_path, error):
    def write(name):
        with whole_folder(tmp_path / name) as folder:
            (folder / 'new').write_text('new')
            raise error

    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / 'old').write_text('old')
    for name in ('a', 'b'):
        with pytest.raises(error):
            write(name)
    assert [path.name for path in tmp_path.iterdir()] == ['a']
    assert (tmp_path / 'a' / 'old').read_text() == 'old'


def test_what_a_killed_process_left_is_no_hindrance(tmp_path):
    killed = whole_folder(tmp_path / 'a')
    (killed.__enter__() / 'torn').write_text('torn')
    with whole_folder(tmp_path / 'a') as folder:
        (folder / 'x').write_text('1')
    assert [path.name for path in (tmp_path / 'a').iterdir()] == ['x']


def test_the_old_folder_is_whole_until_the_new_one_has_its_name(tmp_path, monkeypatch):
    """A machine that dies while the old one is removed has lost neither."""
    for name in 'old', 'new':
        with pytest.MonkeyPatch.context() as patch:
            if name == 'new':
                patch.setattr(storage.shutil, 'rmtree', died_in_rmtree(tmp_path / 'a'))
            with whole_folder(tmp_path / 'a') as folder:
                (folder / name).write_text(name)
    assert [path.name for path in (tmp_path / 'a').iterdir()] == ['new']


def died_in_rmtree(path):
    """A removal that must never be asked for the folder under its final name."""

    def rmtree(victim, ignore_errors=False):
        assert victim != path

    return rmtree


def test_a_generator_goes_on_where_it_was():
    generator = np.random.default_rng(3)
    generator.normal(size=5)
    text = json.dumps(generator_to_json(generator))
    expected = generator.integers(1000, size=50)
    assert np.array_equal(generator_from_json(json.loads(text)).integers(1000, size=50), expected)
