# SPDX-License-Identifier: Apache-2.0
"""`ros2 launch`, `ros2 run` and `ros2 pkg` as processes: signals, exit codes, what is printed."""

import os
import pty
import re
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from graph_support import Command

# Counts its SIGINTs, waits for one that should not come, and tells.
COUNTER = """
import signal, sys, time
count = 0
def on_sigint(*_):
    global count
    count += 1
signal.signal(signal.SIGINT, on_sigint)
print('counter ready', flush=True)
while not count:
    time.sleep(0.01)
time.sleep(0.3)
print('interrupted', count, 'times', flush=True)
"""

LAUNCH_FILE = f"""
import sys
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration

COUNTER = {COUNTER!r}
STUBBORN = '''
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print('stubborn ready', flush=True)
time.sleep(1000)
'''


def fail(context):
    if LaunchConfiguration('task').perform(context) == 'fail':
        raise RuntimeError('task fail cannot be done')


def generate_launch_description():
    def program(name, text, **kwargs):
        return ExecuteProcess(
            cmd=[sys.executable, '-c', text],
            name=name,
            output='screen',
            condition=IfCondition(LaunchConfiguration(name)),
            **kwargs,
        )

    return LaunchDescription([
        DeclareLaunchArgument('task', default_value='none', description='What to do.',
                              choices=['none', 'fail']),
        DeclareLaunchArgument('counter', default_value='false'),
        DeclareLaunchArgument('stubborn', default_value='false'),
        DeclareLaunchArgument('dies', default_value='false'),
        OpaqueFunction(function=fail),
        program('counter', COUNTER),
        program('stubborn', STUBBORN, sigterm_timeout='1000'),
        program('dies', "raise SystemExit(5)"),
    ])
"""


@pytest.fixture
def launch_file(tmp_path):
    path = tmp_path / 'lab.launch.py'
    path.write_text(LAUNCH_FILE)
    return str(path)


@pytest.fixture
def start(domain):
    """Give a function that starts `ros2 ...` in the background."""
    with ExitStack() as stack:
        yield lambda *words: stack.enter_context(Command(['ros2', *words], domain))


def test_exit_code_when_a_process_dies(run_cli, launch_file):
    code, output = run_cli('launch', launch_file, 'dies:=true', 'unknown:=accepted')
    assert code == 0
    assert output.startswith('[INFO] [launch]: All log files can be found below ')
    number = re.search(r'\[INFO\] \[(dies-\d+)\]: process started with pid \[', output)[1]
    assert re.search(
        rf'\[ERROR\] \[{number}\]: process has died \[pid .*, exit code 5, cmd ', output
    )


def test_sigint_to_launch_alone_is_passed_on_once(start, launch_file):
    launch = start('launch', launch_file, 'counter:=true')
    launch.wait_for('counter ready')
    launch.process.send_signal(signal.SIGINT)
    assert launch.finish() == 0
    assert '[WARNING] [launch]: user interrupted with ctrl-c (SIGINT)\n' in launch.output
    assert '[counter-1] interrupted 1 times\n' in launch.output
    assert '[INFO] [counter-1]: process has finished cleanly' in launch.output


@pytest.mark.campaign
def test_ctrl_c_in_a_terminal_reaches_processes_once(launch_file):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp('ros2', ['ros2', 'launch', launch_file, 'counter:=true'])
    output = b''
    interrupted = False
    for data in _read_all(terminal):
        output += data
        if b'counter ready' in output and not interrupted:
            os.write(terminal, b'\x03')
            interrupted = True
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert b'interrupted 1 times' in output
    assert b'sending signal' not in output


def _read_all(terminal):
    try:
        while data := os.read(terminal, 4096):
            yield data
    except OSError:
        # Linux's way to say that the other side of a terminal is closed.
        return
    finally:
        os.close(terminal)


@pytest.mark.parametrize(
    ('further', 'said', 'code'),
    [
        (signal.SIGINT, 'user interrupted with ctrl-c .SIGINT. again, ignoring', 0),
        (signal.SIGTERM, 'got SIGTERM: shutting down', 1),
    ],
)
def test_a_further_signal_changes_the_exit_code_at_most(start, launch_file, further, said, code):
    launch = start('launch', launch_file, 'stubborn:=true')
    launch.wait_for('stubborn ready')
    launch.process.send_signal(signal.SIGINT)
    launch.wait_for("sending signal 'SIGINT'")
    launch.process.send_signal(further)
    launch.wait_for(said)
    os.kill(int(launch.wait_for(r'started with pid \[(\d+)\]')[1]), signal.SIGTERM)
    assert launch.finish() == code
    assert launch.output.count('sending signal') == 1


@pytest.mark.parametrize(
    'number', [signal.SIGTERM, pytest.param(signal.SIGQUIT, marks=pytest.mark.campaign)]
)
def test_sigterm_interrupts_the_processes_and_gives_code_1(start, launch_file, number):
    launch = start('launch', launch_file, 'counter:=true')
    launch.wait_for('counter ready')
    launch.process.send_signal(number)
    assert launch.finish() == 1
    assert f'[ERROR] [launch]: got {number.name}: shutting down\n' in launch.output
    # Another signal than SIGINT would have ended it otherwise.
    assert '[counter-1] interrupted 1 times\n' in launch.output
    assert '[INFO] [counter-1]: process has finished cleanly' in launch.output


@pytest.mark.parametrize(
    'number', [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.campaign)]
)
def test_a_signal_while_the_launch_file_is_loaded_ends_it_quietly(start, tmp_path, number):
    path = tmp_path / 'slow.launch.py'
    path.write_text("print('loading', flush=True)\nimport time\ntime.sleep(1000)\n")
    launch = start('launch', str(path))
    launch.wait_for('loading')
    launch.process.send_signal(number)
    assert launch.finish() == 0
    assert launch.output == 'loading\n'


@pytest.mark.parametrize(
    'number', [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.campaign)]
)
def test_a_signal_that_was_held_back_from_the_beginning_ends_it_quietly(domain, number):
    code = (
        'import os, signal, sys;'
        f'signal.pthread_sigmask(signal.SIG_BLOCK, [{number}]); os.kill(os.getpid(), {number});'
        'os.execvp(sys.argv[1], sys.argv[1:])'
    )
    with Command([sys.executable, '-c', code, 'ros2', 'pkg', 'list'], domain) as command:
        assert command.finish() == 0
        assert command.output == ''


def test_show_args(run_cli, launch_file):
    result, output = run_cli('launch', launch_file, '--show-args')
    assert result == 0
    assert output.startswith(
        "Arguments (pass arguments as '<name>:=<value>'):\n"
        '\n'
        "    'task':\n"
        "        What to do. Valid choices are: ['none', 'fail']\n"
        "        (default: 'none')\n"
        '\n'
        "    'counter':\n"
        '        no description given\n'
        "        (default: 'false')\n"
    )


def test_print_description(run_cli, launch_file):
    result, output = run_cli('launch', '--print', launch_file)
    assert result == 0
    assert "    DeclareLaunchArgument('task', default 'none')\n" in output
    assert 'OpaqueFunction(fail)' in output


def test_launch_by_package(run_cli, package, launch_file):
    target = package / 'share/lab/launch/x.launch.py'
    target.write_text(Path(launch_file).read_text())
    assert run_cli('launch', 'lab', 'x.launch.py')[0] == 0
    (package / 'share/lab/x.launch.py').write_text('')
    assert 'more than once' in run_cli('launch', 'lab', 'x.launch.py')[0]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['no_such_package', 'x.launch.py'], "Package 'no_such_package' not found"),
        (['lab', 'missing.launch.py'], "file 'missing.launch.py' was not found"),
        (['lab'], 'name a launch file'),
        (['/no/such/x.launch.py'], "launch file '/no/such/x.launch.py' does not exist"),
        (['LAUNCH_FILE', 'x=1'], "malformed launch argument 'x=1'"),
    ],
)
def test_bad_launch_commands(run_cli, package, launch_file, arguments, message):
    arguments = [launch_file if word == 'LAUNCH_FILE' else word for word in arguments]
    error, _ = run_cli('launch', *arguments)
    assert message in error
    assert '\n' not in error


def test_run_becomes_the_executable(package, start):
    prefix = ('--prefix', 'env SHOW_EXIT_CODE=7')
    run = start('run', *prefix, 'lab', 'show', '-x', '--ros-args', '-p', 'a:=1')
    assert run.finish() == 7
    assert run.output == 'args: -x --ros-args -p a:=1\n'

    sleeper = package / 'lib/lab/sleeper'
    sleeper.write_text('#!/bin/sh\necho ready\nexec sleep 1000\n')
    sleeper.chmod(0o755)
    run = start('run', 'lab', 'sleeper')
    run.wait_for('ready')
    run.process.send_signal(signal.SIGINT)
    assert run.finish() == -signal.SIGINT


def test_run_names_what_there_is(package, run_cli):
    error, _ = run_cli('run', 'lab', 'missing')
    assert error == "No executable 'missing' in package 'lab'; it has: show"


def test_interrupted_command_says_so_by_its_exit_code(start):
    pub = start('topic', 'pub', '/words', 'std_msgs/msg/String')
    pub.wait_for('publishing #1')
    pub.process.send_signal(signal.SIGINT)
    assert pub.finish() == signal.SIGINT
    assert 'Traceback' not in pub.output
