# SPDX-License-Identifier: Apache-2.0
"""Signals that come while an executable, or a launch, only starts; and its help."""

import os
import signal
import time
from pathlib import Path

import pytest
from ament_index_python.packages import get_package_prefix
from graph_support import TIMEOUT, Command, Probe, launch, new_domain, run_process

from furl_ros.bridge.reference import node_help

# Moments of a start: what has been mapped into the process by then, in this order.
MOMENTS = {
    'the interpreter': '/python3',
    'numpy': '_multiarray_umath',
    'rclpy': '_rclpy_pybind11',
    'torch': 'libtorch_cpu',
    'MuJoCo': 'libmujoco',
}
STARTS = [
    (name, moment, number)
    for name, never in (('sim_node', 'torch'), ('learner_node', 'MuJoCo'))
    for moment in MOMENTS
    if moment != never
    for number in (signal.SIGINT, signal.SIGTERM)
]
# One while they are held back, and one late in the imports of each.
QUICK = [
    ('sim_node', 'the interpreter', signal.SIGINT),
    ('sim_node', 'MuJoCo', signal.SIGINT),
    ('learner_node', 'torch', signal.SIGTERM),
]


def executable(name):
    """Path of an executable of furl_ros."""
    return str(Path(get_package_prefix('furl_ros')) / 'lib' / 'furl_ros' / name)


def wait_for_mapping(command, text):
    """Wait until a file with this in its path is mapped into the process."""
    end = time.monotonic() + TIMEOUT
    maps = Path(f'/proc/{command.process.pid}/maps')
    while text not in maps.read_text():
        assert command.process.poll() is None, command.output
        assert time.monotonic() < end, command.output
        time.sleep(0.001)  # it needs the processor more than we do


@pytest.mark.parametrize('option', ['--help', '-h'])
def test_help_starts_nothing(option):
    words = ['ros2', 'run', 'furl_ros', 'learner_node', option, '--ros-args', '-p', 'gamma:=7.0']
    with Command(words, new_domain()) as command:
        command.expect_end()
        assert command.output == node_help('learner_node')


def test_what_looks_like_help_among_the_parameters_is_none():
    with run_process(new_domain(), 'sim_node', task='-h') as command:
        command.expect_end(2)
        assert "error: task is '-h'" in command.output


@pytest.mark.parametrize(
    ('name', 'moment', 'number'),
    [
        pytest.param(*start, marks=[] if start in QUICK else pytest.mark.campaign)
        for start in STARTS
    ],
)
def test_a_signal_ends_a_starting_node_quietly(name, moment, number):
    with Command([executable(name)], new_domain()) as command:
        wait_for_mapping(command, MOMENTS[moment])
        os.kill(command.process.pid, number)
        command.expect_end()


def test_a_signal_before_the_interpreter_runs_says_nothing_either():
    with Command([executable('sim_node')], new_domain()) as command:
        command.interrupt()
        assert command.finish() in (0, -signal.SIGINT)
        assert command.output == ''


def test_a_signal_ends_a_starting_tool_quietly():
    with Command([executable('local_train')], new_domain()) as command:
        wait_for_mapping(command, MOMENTS['numpy'])
        command.interrupt()
        assert command.finish() == 128 + signal.SIGINT
        assert command.output == ''


@pytest.mark.parametrize(
    'number', [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.campaign)]
)
def test_a_signal_ends_a_launch_at_once_that_has_started_nothing(tmp_path, number):
    domain = new_domain()
    with Probe(domain) as probe, launch(domain, tmp_path) as graph:
        probe.command = graph
        looking = f'furl_ros_launch_{graph.process.pid}'
        probe.wait(lambda: looking in probe.node.get_node_names(), 'the look at the domain')
        os.kill(graph.process.pid, number)
        graph.expect_end()
        assert 'process started' not in graph.output


def test_ctrl_c_as_soon_as_the_first_process_is_there(tmp_path):
    with launch(new_domain(), tmp_path) as graph:
        graph.wait_for('process started with pid')
        graph.end()
