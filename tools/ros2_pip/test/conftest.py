# SPDX-License-Identifier: Apache-2.0
"""Fixtures for the tests of the ROS 2 stand-in."""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from domains import Domain, take_domain

# Where the real ROS 2 is, the stand-in is not installed.
collect_ignore_glob = [] if importlib.util.find_spec('ros2_pip') else ['test_*.py']


@pytest.fixture(autouse=True, scope='session')
def domain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Domain]:
    """The domain of these tests, in an environment apart from everything else on the machine."""
    domain = take_domain()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_LOG_DIR', str(tmp_path_factory.mktemp('ros_log')))
        patch.setenv('ROS_DOMAIN_ID', str(domain))
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        patch.delenv('OVERRIDE_LAUNCH_PROCESS_OUTPUT', raising=False)
        if 'AMENT_PREFIX_PATH' not in os.environ:
            patch.setenv('AMENT_PREFIX_PATH', sys.prefix)
        yield domain


@pytest.fixture
def run_launch(capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str]]:
    """Give a function that launches entities in this process: (return code, what was printed)."""
    from launch import LaunchDescription, LaunchService

    def run(*entities, arguments: dict[str, str] | None = None, **kwargs) -> tuple[int, str]:
        service = LaunchService(noninteractive=True, **kwargs)
        service.context.launch_configurations.update(arguments or {})
        service.include_launch_description(LaunchDescription(entities))
        code = service.run()
        return code, capsys.readouterr().out

    return run


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture) -> Callable[..., tuple[int | str | None, str]]:
    """Give a function that runs `ros2 ...` in this process: (what main returns, output)."""
    from ros2_pip import cli

    def run(*arguments: str) -> tuple[int | str | None, str]:
        result = cli.main(arguments)
        return result, capsys.readouterr().out

    return run


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a ROS package `lab` with an executable `show`, which prints its arguments."""
    index = tmp_path / 'share/ament_index/resource_index/packages'
    index.mkdir(parents=True)
    (index / 'lab').touch()
    (tmp_path / 'share/lab/launch').mkdir(parents=True)
    executable = tmp_path / 'lib/lab/show'
    executable.parent.mkdir(parents=True)
    executable.write_text(
        '#!/bin/sh\n'
        'echo "args: $*"\n'
        'for word in "$@"; do case "$word" in */launch_params_*) cat "$word";; esac; done\n'
        'exit ${SHOW_EXIT_CODE:-0}\n'
    )
    executable.chmod(0o755)
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path), prepend=os.pathsep)
    return tmp_path
