# SPDX-License-Identifier: Apache-2.0
"""tools/setup and tools/env.sh: what they do when all is done, what they say when it cannot be.

Setting a machine up takes minutes; here only the quick parts run, most of them in a folder that
holds nothing but tools/, with a space in its name.
"""

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]

on_linux = pytest.mark.skipif(sys.platform != 'linux', reason='the set-up is for Linux')


def run(*command, env=None):
    """Run a command from / in the test's environment plus `env`; its output is text."""
    return subprocess.run(
        command,
        env={**os.environ, **(env or {})},
        cwd='/',
        text=True,
        capture_output=True,
    )


def load_helper(name):
    """Import tools/lib/<name>.py, which is no package's module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / 'tools' / 'lib' / f'{name}.py')
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_command(path, script):
    """Make a shell script that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\n{script}\n', encoding='utf-8')
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(tmp_path):
    """A clone's folder with the set-up in it and nothing set up, with a space in its name."""
    root = tmp_path / 'with space' / 'furl ros'
    shutil.copytree(
        ROOT / 'tools', root / 'tools', ignore=shutil.ignore_patterns('ros2_pip', '__pycache__')
    )
    for name in ('requirements.txt', 'requirements-ros-pip.txt'):
        shutil.copy(ROOT / name, root)
    return root


@on_linux
class TestSetup:
    def test_again_does_nothing(self):
        if not (ROOT / '.venv' / 'furl-checked').exists():
            pytest.skip('this folder is not set up by tools/setup')
        run(ROOT / 'tools' / 'setup')
        states = [*(ROOT / '.venv').glob('furl-*'), ROOT / 'install' / 'furl-build']
        before = [state.stat().st_mtime_ns for state in states]
        done = run(ROOT / 'tools' / 'setup')
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(r'\[setup\] ready after \d+ s; .*tools/env\.sh\n', done.stdout)
        assert [state.stat().st_mtime_ns for state in states] == before

    def test_help_and_no_other_argument(self, bare):
        done = run(bare / 'tools' / 'setup', '--fast')
        assert done.returncode == 2
        assert done.stderr == "[setup] error: unknown argument '--fast'; accepted: --help\n"
        done = run(bare / 'tools' / 'setup', '--help')
        assert done.returncode == 0
        assert 'usage: tools/setup' in done.stdout

    def test_colon_in_path(self, bare, tmp_path):
        root = bare.rename(tmp_path / 'a:b')
        done = run(root / 'tools' / 'setup')
        assert done.returncode == 2
        assert 'colon' in done.stderr

    def test_environment_of_another_folder(self, bare, tmp_path):
        other = tmp_path / 'other'
        other.mkdir()
        (other / 'file').touch()
        (bare / '.venv').symlink_to(other)
        done = run(bare / 'tools' / 'setup')
        assert done.returncode == 2
        assert 'is a link to another environment' in done.stderr
        assert (other / 'file').exists()

    def test_unsupported_ros_is_sourced(self, bare, tmp_path):
        marker = tmp_path / 'humble/share/ament_index/resource_index/packages/ros2cli'
        marker.parent.mkdir(parents=True)
        marker.touch()
        done = run(
            bare / 'tools' / 'setup',
            env={'AMENT_PREFIX_PATH': str(tmp_path / 'humble'), 'ROS_DISTRO': 'humble'},
        )
        assert done.returncode == 2
        assert "ROS 2 'humble'" in done.stderr
        assert 'jazzy kilted lyrical' in done.stderr

    def test_missing_packages_that_the_user_may_not_install(self, bare, tmp_path):
        fakes = tmp_path / 'bin'
        write_command(fakes / 'id', 'echo 1000')
        write_command(fakes / 'sudo', 'exit 1')
        write_command(fakes / 'dpkg-query', 'exit 1')
        write_command(fakes / 'apt-get', 'exit 1')
        done = run(bare / 'tools' / 'setup', env={'PATH': f'{fakes}:{os.environ["PATH"]}'})
        assert done.returncode == 3
        line = done.stderr.splitlines()[-1]
        assert line.startswith('sudo apt-get update && sudo apt-get install -y ')
        assert 'libegl1 libopengl0 libgl1-mesa-dri' in line

    def test_tests_after_a_set_up_without_them(self, tmp_path):
        if not (ROOT / '.venv' / 'furl-checked').exists():
            pytest.skip('this folder is not set up by tools/setup')
        if 'ID=debian' not in Path('/etc/os-release').read_text().splitlines():
            pytest.skip('the browser is installed on Debian alone')
        fakes = tmp_path / 'bin'
        write_command(fakes / 'id', 'echo 1000')
        write_command(fakes / 'sudo', 'exit 1')
        write_command(
            fakes / 'dpkg-query',
            'case "$*" in *chromium) exit 1 ;; esac; echo install ok installed',
        )
        for folder in map(Path, os.environ['PATH'].split(':')):
            for command in folder.iterdir() if folder.is_dir() else ():
                if not command.name.startswith(('chromium', 'google-chrome')):
                    with contextlib.suppress(FileExistsError):
                        (fakes / command.name).symlink_to(command)
        done = run(ROOT / 'tools' / 'setup', env={'PATH': str(fakes), 'FURL_TESTS': '1'})
        assert done.returncode == 3
        assert done.stderr.splitlines()[-1].endswith(' --no-install-recommends chromium')
        assert run(ROOT / 'tools' / 'setup', env={'PATH': str(fakes)}).returncode == 0

    def test_unsuitable_python(self, bare, tmp_path):
        old = write_command(tmp_path / 'python', 'echo is version 3.9')
        done = run(
            bare / 'tools' / 'setup', env={'FURL_PYTHON': str(old), **system_is_complete(tmp_path)}
        )
        assert done.returncode == 2
        assert f'{old}: is version 3.9' in done.stderr
        assert 'no suitable Python: wanted is 3.' in done.stderr

    def test_failed_step_shows_the_end_of_its_log(self, bare, tmp_path):
        # Passes the examination (which calls it with a file) and fails to make an environment.
        script = 'case "$1" in -m) echo no space left; exit 5 ;; --version) echo Python 3 ;; esac'
        broken = write_command(tmp_path / 'python', script)
        done = run(
            bare / 'tools' / 'setup',
            env={'FURL_PYTHON': str(broken), **system_is_complete(tmp_path)},
        )
        assert done.returncode == 1
        assert '    no space left\n' in done.stderr
        assert f'the whole log is {bare}/log/setup.log' in done.stderr
        assert not (bare / '.venv' / 'furl-environment').exists()


def system_is_complete(tmp_path):
    """Environment in which every system package counts as installed."""
    fakes = tmp_path / 'complete'
    for name in ('g++', 'cmake', 'make'):
        write_command(fakes / name, 'exit 1')
    write_command(fakes / 'dpkg-query', 'echo install ok installed')
    return {'PATH': f'{fakes}:{os.environ["PATH"]}'}


@on_linux
@pytest.mark.parametrize('shell', ['bash', 'zsh'])
class TestEnv:
    @pytest.fixture(autouse=True)
    def _need_shell(self, shell):
        if shutil.which(shell) is None:
            pytest.skip(f'{shell} is not installed')

    def test_not_set_up(self, bare, shell):
        done = run(shell, '-c', f'. "{bare}/tools/env.sh"; echo "code $?"')
        assert done.stdout == 'code 1\n'
        assert f"run '{bare}/tools/setup' first" in done.stderr

    def test_space_in_path_and_strict_shell(self, bare, shell):
        venv = bare / '.venv'
        run(sys.executable, '-m', 'venv', '--without-pip', venv)
        version = f'python{sys.version_info.major}.{sys.version_info.minor}'
        libraries = venv / 'lib' / version / 'site-packages' / 'ros_rcl.libs'
        libraries.mkdir()
        (venv / 'furl-ros').write_text('pip\n', encoding='utf-8')
        (bare / 'install').mkdir()
        overlay = bare / 'install' / f'local_setup.{shell}'
        overlay.write_text('false; : "$NEVER_SET"; export OVERLAY=sourced\n', encoding='utf-8')

        # Twice: the second time must not make the paths longer.
        script = f"""
            set -eu
            before=$-
            . "{bare}/tools/env.sh"
            . "{bare}/tools/env.sh"
            [ "$before" = "$-" ]
            printf '%s\n' "$OVERLAY" "$AMENT_PREFIX_PATH" "$LD_LIBRARY_PATH" "$MUJOCO_GL"
            python -c 'import sys; print(sys.prefix)'
        """
        clean = {'PATH': os.environ['PATH'], 'HOME': os.environ.get('HOME', '/')}
        done = subprocess.run(
            [shell, '-c', script], env=clean, cwd='/', text=True, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            'sourced',
            str(venv),
            f'{venv}/lib:{libraries}',
            'egl',
            str(venv),
        ]


class TestHelpers:
    def test_relocate_ros_wheels(self):
        relocate = load_helper('relocate_ros_wheels').relocate
        text = (
            'INCLUDES "/opt/python/cp312-cp312/include/python3.12;/opt/python/cp312-cp312/lib/'
            'python3.12/site-packages/numpy/_core/include"'
        )
        headers = sysconfig.get_path('include')
        assert relocate(text) == f'INCLUDES "{headers};{np.get_include()}"'
        assert relocate(relocate(text)) == relocate(text)

    def test_forget_half_installed(self, tmp_path, monkeypatch):
        (tmp_path / 'whole-1.dist-info').mkdir()
        (tmp_path / 'whole-1.dist-info' / 'RECORD').touch()
        (tmp_path / 'half-1.dist-info').mkdir()
        (tmp_path / '~lder').mkdir()
        monkeypatch.setattr(sysconfig, 'get_path', lambda _: str(tmp_path))
        load_helper('forget_half_installed').main()
        assert [path.name for path in tmp_path.iterdir()] == ['whole-1.dist-info']

    def test_python_problem(self):
        helper = ROOT / 'tools' / 'lib' / 'python_problem.py'
        version = f'{sys.version_info.major}.{sys.version_info.minor}'
        assert run(sys.executable, helper, '2.7').stdout == f'is version {version}\n'
