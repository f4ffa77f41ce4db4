# SPDX-License-Identifier: Apache-2.0
"""Launch arguments, and what a launch returns for the ends of its processes."""

import os
import subprocess
import sys

import pytest
from launch.actions import ExecuteProcess

from furl_ros.bridge.processes import ending_with_any, settings
from launch import LaunchContext, LaunchDescription, LaunchService


def launched(*scripts, farewell='30'):
    """The code of a launch of these shell scripts, which ends with any of them."""
    processes = [
        ExecuteProcess(cmd=['sh', '-c', script], sigterm_timeout=farewell, sigkill_timeout=farewell)
        for script in scripts
    ]
    service = LaunchService(noninteractive=True)
    service.include_launch_description(LaunchDescription([*ending_with_any(processes), *processes]))
    return service.run()


@pytest.fixture
def pipes(tmp_path, monkeypatch):
    """Paths of a pipe that says that one is ready, and of one that never says anything."""
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path))
    found = {name: tmp_path / name for name in ('ready', 'never')}
    for path in found.values():
        os.mkfifo(path)
    return found


def other(trap, pipes):
    """A script that goes on until SIGINT, and what it does then."""
    ready, never = pipes['ready'], pipes['never']
    return f"trap '{trap}' INT; echo > {ready}; while :; do read _ < {never}; done"


def finishing(code, pipes):
    """A script that ends when the other one is ready."""
    return f'read _ < {pipes["ready"]}; exit {code}'


def test_all_that_end_well_give_0(pipes):
    assert launched(finishing(0, pipes), other('exit 0', pipes)) == 0


def test_a_process_that_fails_gives_1(pipes):
    assert launched(finishing(3, pipes), other('exit 0', pipes)) == 1


@pytest.mark.parametrize('end', ['exit 3', 'kill -KILL $$', 'kill -SEGV $$'])
def test_so_does_one_that_fails_while_the_others_end(pipes, end):
    assert launched(finishing(0, pipes), other(end, pipes)) == 1


def test_so_does_one_that_must_be_killed(pipes):
    stubborn = "trap '' TERM; " + other('', pipes)
    assert launched(finishing(0, pipes), stubborn, farewell='0.1') == 1


@pytest.mark.parametrize('number', ['INT', 'TERM'])
def test_one_that_the_end_met_before_it_had_begun_is_no_failure(pipes, number):
    assert launched(finishing(0, pipes), other(f'trap - {number}; kill -{number} $$', pipes)) == 0


@pytest.mark.parametrize('empty', ["''", '""'])
def test_a_pair_of_quotes_is_an_empty_argument(tmp_path, empty):
    params = tmp_path / 'params.yaml'
    params.write_text('/**: {ros__parameters: {gamma: 0.5}}')
    context = LaunchContext()
    context.launch_configurations.update(namespace=empty, params_file=str(params))
    assert settings(context)['gamma'] == 0.5
    assert context.launch_configurations['namespace'] == ''
    context.launch_configurations.update(params_file=empty)
    assert settings(context)['gamma'] == 0.99


def test_a_launch_process_stays_light():
    code = (
        'import sys, furl_ros.bridge.processes, sim.envs;'
        "assert not {'torch', 'open_clip'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, '-c', code], check=True)
