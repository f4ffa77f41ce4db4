# SPDX-License-Identifier: Apache-2.0
"""Files that are either whole or absent: arrays as safetensors, the rest as JSON inside them."""

import contextlib
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from furl_ros.core.settings import SettingError


def _flatten(tree: dict[str, Any], prefix: str = '') -> Iterator[tuple[str, np.ndarray]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f'{prefix}{name}/')
        else:
            # Not ascontiguousarray, which makes a scalar a vector.
            yield prefix + name, np.asarray(value, order='C')


def to_disk(path: Path) -> None:
    """Return only when what was written to a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a small file, atomically.

    Raises:
        OSError: the folder is missing, or the disk is full or fails.
    """
    path = Path(path)
    temporary = path.with_name(f'.{path.name}.tmp')
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    to_disk(temporary)
    os.replace(temporary, path)
    to_disk(path.parent)


@contextlib.contextmanager
def usual_mode(path: Path) -> Iterator[None]:
    """Let a file that is written inside have the mode of any other; safetensors makes it private.

    Raises:
        OSError: the folder is missing, or the disk is full or fails.
    """
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    yield
    path.chmod(mode)


def save_tree(path: Path, arrays: dict[str, Any], meta: dict[str, Any]) -> None:
    """Write nested arrays and JSON-able metadata to one safetensors file, atomically.

    Raises:
        OSError: the folder is missing, or the disk is full or fails.
    """
    path = Path(path)
    temporary = path.with_name(f'.{path.name}.tmp')
    # One that a killed process left may have another mode.
    temporary.unlink(missing_ok=True)
    try:
        with usual_mode(temporary):
            save_file(dict(_flatten(arrays)), temporary, {'meta': json.dumps(meta)})
    except SafetensorError as error:
        raise OSError(f'{path} cannot be written: {error}') from error
    to_disk(temporary)
    os.replace(temporary, path)


def load_tree(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what ``save_tree`` wrote: (nested arrays, metadata). Executes no code from the file.

    Raises:
        SettingError: the file is missing or is not such a file.
    """
    try:
        tree: dict[str, Any] = {}
        with safe_open(path, 'np') as file:
            meta = json.loads((file.metadata() or {})['meta'])
            for name in file.keys():  # noqa: SIM118 (safe_open is no mapping)
                *folders, leaf = name.split('/')
                branch = tree
                for folder in folders:
                    branch = branch.setdefault(folder, {})
                branch[leaf] = file.get_tensor(name)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise SettingError(f'{path} is not a readable checkpoint file: {error}') from None
    return tree, meta


def check_zip(path: Path, members: Iterable[str] = ()) -> None:
    """Read a whole zip, without using what is in it.

    Raises:
        OSError, ValueError: it is missing, lacks one of the members, or is damaged.
        Exception: whatever else zipfile has for a damaged one.
    """
    with zipfile.ZipFile(path) as file:
        missing = set(members) - set(file.namelist())
        if missing:
            raise ValueError(f'it lacks {", ".join(sorted(missing))}')
        if damaged := file.testzip():
            raise ValueError(f'{damaged} in it is damaged')


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes ``path`` when the block ends without an error.

    A folder that is there already is kept until the new one, with all its files, is on the disk.
    """
    path = Path(path)
    temporary, replaced = (path.with_name(f'.{path.name}.{end}') for end in ('tmp', 'old'))
    for left_over in (temporary, replaced):
        shutil.rmtree(left_over, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for file in temporary.rglob('*'):
        to_disk(file)
    if path.exists():
        os.rename(path, replaced)
    os.rename(temporary, path)
    to_disk(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def generator_to_json(generator: np.random.Generator) -> dict[str, Any]:
    """State of a PCG64 generator as JSON-able values."""
    return generator.bit_generator.state


def generator_from_json(state: dict[str, Any]) -> np.random.Generator:
    """A generator that goes on where ``generator_to_json`` was taken."""
    generator = np.random.default_rng()
    generator.bit_generator.state = state
    return generator
