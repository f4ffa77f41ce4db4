# SPDX-License-Identifier: Apache-2.0
"""Rules of the house that a machine can check: lint, format, licence lines, file sizes, layers."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOT_OURS = {'.git', '.venv', 'build', 'install', 'log', 'runs'}
CACHES = {'__pycache__', '.pytest_cache', '.ruff_cache'}
SOURCES = {'.cfg', '.cmake', '.py', '.sh', '.toml', '.xml', '.yaml', '.yml'}
LARGEST_FILE = 5 * 2**20
# The weights that ship; their card lies beside them.
WEIGHTS = Path('furl_ros/core/weights/furl-tiny.safetensors')
LARGEST_WEIGHTS = 20_000_000
ROS_MODULES = {
    'ament_index_python',
    'cv_bridge',
    'furl_interfaces',
    'launch',
    'launch_ros',
    'rclpy',
}


def our_files():
    """Every file of the repository, as paths relative to its root; nothing that was built."""
    for folder, folders, names in os.walk(ROOT):
        skipped = CACHES | (NOT_OURS if Path(folder) == ROOT else set())
        folders[:] = sorted(
            name for name in folders if name not in skipped and not name.endswith('.egg-info')
        )
        yield from ((Path(folder) / name).relative_to(ROOT) for name in sorted(names))


def is_source(path):
    """Whether the file is code or configuration: by its ending, or a script by its first line."""
    if path.suffix in SOURCES or path.name == 'CMakeLists.txt':
        return True
    with (ROOT / path).open('rb') as file:
        return not path.suffix and file.read(2) == b'#!'


def imported_modules(path):
    """Names of the top-level modules that a Python file imports anywhere in it."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules.add(node.module)
    return {module.partition('.')[0] for module in modules}


@pytest.mark.parametrize('command', [['check'], ['format', '--check']], ids=' '.join)
def test_ruff(command):
    done = subprocess.run(
        [sys.executable, '-m', 'ruff', *command, '.'], cwd=ROOT, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_sources_name_their_licence():
    line = 'SPDX-License-Identifier: Apache-2.0'
    without = []
    for path in filter(is_source, our_files()):
        # A shebang or XML's declarations come before it.
        top = (ROOT / path).read_text(encoding='utf-8').splitlines()[:3]
        if not any(line in text for text in top):
            without.append(str(path))
    assert not without


def test_no_file_is_large():
    large = [path for path in our_files() if (ROOT / path).stat().st_size > LARGEST_FILE]
    assert large == [WEIGHTS]
    assert (ROOT / WEIGHTS).stat().st_size < LARGEST_WEIGHTS


def test_cores_and_simulation_know_no_ros():
    ours = (ROOT / 'furl_ros' / name for name in ('core', 'report', 'sweep'))
    places = (*ours, ROOT / 'sim')
    cores = [path for place in places for path in place.rglob('*.py')]
    assert cores
    for path in [*cores, ROOT / 'furl_ros' / 'local.py']:
        modules = imported_modules(path)
        ros = (modules & ROS_MODULES) | {name for name in modules if name.endswith('_msgs')}
        assert not ros, f'{path.relative_to(ROOT)} imports {sorted(ros)}'
