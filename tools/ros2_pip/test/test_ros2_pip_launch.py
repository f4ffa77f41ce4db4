# SPDX-License-Identifier: Apache-2.0
"""The launch API of the stand-in: actions, substitutions, conditions, scopes, events."""

import importlib
import os
import re
import signal
import sys
from pathlib import Path

import pytest

import ros2_pip
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    GroupAction,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    SetLaunchConfiguration,
    Shutdown,
    TimerAction,
)
from launch.conditions import IfCondition, InvalidConditionExpressionError, UnlessCondition
from launch.event_handlers import OnProcessExit, OnProcessStart, OnShutdown
from launch.events import Shutdown as ShutdownEvent
from launch.events import matches_action
from launch.events.process import ShutdownProcess, SignalProcess
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import (
    Command,
    EnvironmentVariable,
    LaunchConfiguration,
    PathJoinSubstitution,
    PythonExpression,
    SubstitutionFailure,
    TextSubstitution,
    ThisLaunchFile,
    ThisLaunchFileDir,
)
from ros2_pip.guard import find_real_ros2


def perform(substitution, **configurations):
    context = LaunchContext()
    context.launch_configurations.update(configurations)
    return substitution.perform(context)


def say(*parts):
    return LogInfo(msg=parts)


def shell(script, **kwargs):
    return ExecuteProcess(cmd=['sh', '-c', script], output='screen', **kwargs)


# Substitutions


def test_launch_configuration():
    assert perform(LaunchConfiguration('x'), x='1') == '1'
    assert perform(LaunchConfiguration(['x', TextSubstitution(text='y')]), xy='2') == '2'
    assert perform(LaunchConfiguration('x', default=5)) == '5'
    assert perform(LaunchConfiguration('x', default=['a', LaunchConfiguration('y')]), y='b') == 'ab'
    with pytest.raises(SubstitutionFailure, match="'x' does not exist"):
        perform(LaunchConfiguration('x'))


def test_path_join():
    parts = ['/a', LaunchConfiguration('x'), 'c.yaml']
    assert perform(PathJoinSubstitution(parts), x='b') == os.path.join('/a', 'b', 'c.yaml')


def test_python_expression():
    expression = ["'", LaunchConfiguration('x'), "' == 'on'"]
    assert perform(PythonExpression(expression), x='on') == 'True'
    assert perform(PythonExpression('sqrt(4) + math.floor(1.5)')) == '3.0'
    assert perform(PythonExpression('os.sep', python_modules=['os'])) == os.sep


def test_environment_variable(monkeypatch):
    monkeypatch.setenv('LAB_X', 'here')
    assert perform(EnvironmentVariable('LAB_X')) == 'here'
    assert perform(EnvironmentVariable('LAB_Y', default_value='none')) == 'none'
    with pytest.raises(SubstitutionFailure, match='LAB_Y'):
        perform(EnvironmentVariable('LAB_Y'))


def test_command():
    assert perform(Command(['echo ', LaunchConfiguration('x')]), x='hi') == 'hi\n'
    with pytest.raises(SubstitutionFailure, match='failed with 1'):
        perform(Command('false'))
    with pytest.raises(SubstitutionFailure, match='not found'):
        perform(Command('no_such_command_here'))
    noisy = 'sh -c "echo out; echo err >&2"'
    with pytest.raises(SubstitutionFailure, match='printed errors'):
        perform(Command(noisy))
    assert perform(Command(noisy, on_stderr='ignore')) == 'out\n'
    assert perform(Command(noisy, on_stderr='capture')) == 'out\nerr\n'


# Conditions


@pytest.mark.parametrize(
    ('text', 'holds'), [('true', True), ('True', True), ('1', True), ('FALSE', False), ('0', False)]
)
def test_conditions(text, holds):
    context = LaunchContext()
    assert IfCondition(text).evaluate(context) is holds
    assert UnlessCondition(text).evaluate(context) is not holds


def test_bad_condition_names_text_and_choices():
    with pytest.raises(InvalidConditionExpressionError, match="'yes'; accepted: true, 1, false, 0"):
        IfCondition('yes').evaluate(LaunchContext())


def test_condition_decides(run_launch):
    code, output = run_launch(
        LogInfo(msg='one', condition=IfCondition('true')),
        LogInfo(msg='two', condition=IfCondition('false')),
        LogInfo(msg='three', condition=UnlessCondition(LaunchConfiguration('x'))),
        arguments={'x': 'false'},
    )
    assert code == 0
    assert '[INFO] [launch.user]: one\n' in output
    assert 'two' not in output
    assert 'three' in output


# Arguments and scopes


def test_declared_argument_takes_default_or_what_is_given(run_launch):
    show = say('x=', LaunchConfiguration('x'))
    declare = DeclareLaunchArgument('x', default_value=['de', TextSubstitution(text='fault')])
    assert 'x=default\n' in run_launch(declare, show)[1]
    assert 'x=given\n' in run_launch(declare, show, arguments={'x': 'given'})[1]


def test_missing_argument_is_an_error(run_launch):
    code, output = run_launch(DeclareLaunchArgument('x', description='The x'))
    assert code == 1
    assert 'Caught exception in launch (see debug for traceback): Required launch' in output
    assert 'The x' in output


def test_choices(run_launch):
    declare = DeclareLaunchArgument('x', default_value='a', choices=['a', 'b'])
    assert run_launch(declare)[0] == 0
    code, output = run_launch(declare, arguments={'x': 'c'})
    assert code == 1
    assert "provided value \"c\" is not valid. Valid options are: ['a', 'b']" in output
    with pytest.raises(RuntimeError, match='not one of its choices'):
        DeclareLaunchArgument('x', default_value='c', choices=['a', 'b'])
    with pytest.raises(RuntimeError, match='empty'):
        DeclareLaunchArgument('x', choices=[])


def test_group_is_a_scope(run_launch, monkeypatch):
    monkeypatch.setenv('LAB_X', 'out')
    show = [LaunchConfiguration('x'), '-', EnvironmentVariable('LAB_X')]
    _, output = run_launch(
        SetLaunchConfiguration('x', 'out'),
        GroupAction(
            [
                SetLaunchConfiguration('x', 'in'),
                SetEnvironmentVariable('LAB_X', 'in'),
                say('inside ', *show),
                shell('echo "process $LAB_X"'),
            ]
        ),
        say('outside ', *show),
        GroupAction([SetLaunchConfiguration('x', 'leak')], scoped=False),
        say('unscoped ', *show),
    )
    assert 'inside in-in\n' in output
    assert '] process in\n' in output
    assert 'outside out-out\n' in output
    assert 'unscoped leak-out\n' in output


def test_group_without_forwarding_forgets_the_outside(run_launch):
    _, output = run_launch(
        SetLaunchConfiguration('x', 'out'),
        SetLaunchConfiguration('y', 'out'),
        GroupAction(
            [say(LaunchConfiguration('x', default='none'), ' ', LaunchConfiguration('y'))],
            forwarding=False,
            launch_configurations={'y': [LaunchConfiguration('x'), '!']},
        ),
        say('after ', LaunchConfiguration('x')),
    )
    assert ' none out!\n' in output
    assert 'after out\n' in output


# Functions and includes


def test_opaque_function_returns_actions(run_launch):
    def make(context, *args, **kwargs):
        value = LaunchConfiguration('x').perform(context)
        return [say(value, str(args), str(kwargs))]

    action = OpaqueFunction(function=make, args=[1], kwargs={'b': 2})
    assert "seven(1,){'b': 2}\n" in run_launch(action, arguments={'x': 'seven'})[1]


def test_opaque_function_that_raises_ends_the_launch(run_launch):
    def fail(context):
        raise ValueError('no such task')

    code, output = run_launch(shell('exec sleep 60'), OpaqueFunction(function=fail), say('never'))
    assert code == 1
    assert (
        '[ERROR] [launch]: Caught exception in launch (see debug for traceback): no such task\n'
        in output
    )
    assert 'Traceback' not in output
    assert 'never' not in output
    assert 'Traceback' in run_launch(OpaqueFunction(function=fail), debug=True)[1]


def test_opaque_function_must_return_a_list(run_launch):
    code, output = run_launch(OpaqueFunction(function=lambda context: say('one')))
    assert code == 1
    assert 'must give a list of actions' in output


def write_launch_file(path, *entities):
    path.write_text(
        'from launch import LaunchDescription\n'
        'from launch.actions import *\n'
        'from launch.substitutions import *\n'
        'def generate_launch_description():\n'
        f'    return LaunchDescription([{", ".join(entities)}])\n'
    )
    return str(path)


def test_include(run_launch, tmp_path):
    below = tmp_path / 'below'
    below.mkdir()
    inner = write_launch_file(
        below / 'inner.launch.py',
        "DeclareLaunchArgument('x')",
        "LogInfo(msg=['x=', LaunchConfiguration('x'), ' y=', LaunchConfiguration('y')])",
        "LogInfo(msg=['dir ', ThisLaunchFileDir()])",
    )
    outer = write_launch_file(
        tmp_path / 'outer.launch.py',
        f'IncludeLaunchDescription({inner!r}, launch_arguments=[("x", "1"), ("y", "2")])',
        "LogInfo(msg=['file ', ThisLaunchFile()])",
    )
    code, output = run_launch(
        IncludeLaunchDescription(PythonLaunchDescriptionSource([str(tmp_path), '/outer.launch.py']))
    )
    assert code == 0
    assert 'x=1 y=2\n' in output
    assert f'dir {below}\n' in output
    assert f'file {outer}\n' in output


def test_include_without_required_argument(run_launch, tmp_path):
    inner = write_launch_file(tmp_path / 'inner.launch.py', "DeclareLaunchArgument('x')")
    code, output = run_launch(IncludeLaunchDescription(PythonLaunchDescriptionSource(inner)))
    assert code == 1
    assert "missing required argument 'x'" in output


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('a.launch.py', 'raise ValueError("broken")', 'ValueError: broken'),
        ('a.launch.py', 'x = 1', 'no function generate_launch_description'),
        ('a.launch.xml', '<launch/>', 'reads Python launch files only'),
        ('b.launch.py', None, 'does not exist'),
    ],
)
def test_bad_launch_files(run_launch, tmp_path, name, text, message):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    code, output = run_launch(IncludeLaunchDescription(str(path)))
    assert code == 1
    assert message in output


def test_this_launch_file_needs_a_file():
    for substitution in (ThisLaunchFile(), ThisLaunchFileDir()):
        with pytest.raises(SubstitutionFailure, match='outside of a launch file'):
            perform(substitution)


def test_arguments_are_found_below(tmp_path):
    inner = write_launch_file(tmp_path / 'inner.launch.py', "DeclareLaunchArgument('c')")
    description = LaunchDescription(
        [
            DeclareLaunchArgument('a'),
            GroupAction([DeclareLaunchArgument('b')], condition=IfCondition('false')),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(inner)),
            DeclareLaunchArgument('a', default_value='again'),
        ]
    )
    found = description.get_launch_arguments()
    assert [argument.name for argument in found] == ['a', 'b', 'c']
    assert [argument.conditionally_included for argument in found] == [False, True, False]


# Events


def test_events_of_a_process(run_launch):
    process = shell('exit 3', name='worker')
    other = shell('exit 0')
    seen = []

    def on_exit(event, context):
        seen.append((event.process_name, event.returncode, event.action is process))
        return [say('after exit')]

    code, output = run_launch(
        RegisterEventHandler(
            OnProcessStart(
                target_action=process,
                on_start=lambda event, context: say(f'started {event.pid}'),
            )
        ),
        RegisterEventHandler(OnProcessExit(target_action=process, on_exit=on_exit)),
        RegisterEventHandler(OnProcessExit(target_action=other, on_exit=[say('other ended')])),
        RegisterEventHandler(
            OnShutdown(on_shutdown=lambda event, context: say(f'end: {event.reason}'))
        ),
        process,
        other,
    )
    assert code == 0, 'how processes end does not matter to launch'
    ((name, returncode, same),) = seen
    assert name.startswith('worker-')
    assert (returncode, same) == (3, True)
    assert f'[INFO] [launch.user]: started {process.process_details["pid"]}\n' in output
    assert 'after exit' in output
    assert 'other ended' in output
    assert 'end: idle\n' in output
    assert f"process has died [pid {process.process_details['pid']}, exit code 3, cmd 'sh" in output


def test_handler_that_raises_ends_the_launch(run_launch):
    process = shell('exit 4')

    def on_exit(event, context):
        raise RuntimeError(f'worker ended with {event.returncode}')

    code, output = run_launch(
        RegisterEventHandler(OnProcessExit(target_action=process, on_exit=on_exit)),
        process,
        shell('exec sleep 60'),
    )
    assert code == 1
    assert 'Caught exception in launch (see debug for traceback): worker ended with 4' in output


def test_shutdown_handler_that_raises_does_not_leave_processes(run_launch):
    def on_shutdown(event, context):
        raise RuntimeError('oops')

    code, output = run_launch(
        shell('exec sleep 60'),
        RegisterEventHandler(OnShutdown(on_shutdown=on_shutdown)),
        Shutdown(),
    )
    assert code == 1
    assert 'oops' in output


def test_on_exit_shutdown_ends_everything(run_launch):
    code, output = run_launch(
        shell('exec sleep 60', name='other'),
        shell('sleep 0.1', name='main', on_exit=[Shutdown(reason='done')]),
    )
    assert code == 0
    assert 'was required: shutting down launched system' in output
    assert "sending signal 'SIGINT' to process[other-" in output


def test_emit_shutdown_event(run_launch):
    code, output = run_launch(
        RegisterEventHandler(
            OnShutdown(on_shutdown=lambda event, context: say('why: ', event.reason))
        ),
        shell('exec sleep 60'),
        EmitEvent(event=ShutdownEvent(reason='enough')),
    )
    assert code == 0
    assert 'why: enough\n' in output


def test_events_for_one_process(run_launch):
    first = shell('exec sleep 60', name='first')
    second = shell('exec sleep 60', name='second')
    code, output = run_launch(
        RegisterEventHandler(
            OnProcessStart(
                target_action=first,
                on_start=[EmitEvent(event=ShutdownProcess(process_matcher=matches_action(first)))],
            )
        ),
        RegisterEventHandler(
            OnProcessStart(
                target_action=second,
                on_start=EmitEvent(
                    event=SignalProcess(
                        signal_number='SIGTERM', process_matcher=matches_action(second)
                    )
                ),
            )
        ),
        first,
        second,
    )
    assert code == 0
    assert (first.return_code, second.return_code) == (-2, -15)
    assert "sending signal 'SIGTERM' to process[second-" in output


def test_timer(run_launch):
    code, output = run_launch(
        SetLaunchConfiguration('x', 'set'),
        TimerAction(period=0.05, actions=[say('fired ', LaunchConfiguration('x'))]),
        TimerAction(period=LaunchConfiguration('period'), actions=[say('late')]),
        TimerAction(period=0.1, actions=[Shutdown()]),
        arguments={'period': '60.0'},
    )
    assert code == 0
    assert 'fired set\n' in output
    assert 'late' not in output
    with pytest.raises(TypeError, match='period'):
        TimerAction(period='1', actions=[])


def test_cancelled_timer_does_not_fire(run_launch):
    timer = TimerAction(period=60.0, actions=[say('late')])
    code, output = run_launch(timer, OpaqueFunction(function=lambda context: timer.cancel()))
    assert code == 0
    assert 'late' not in output


# Processes


def test_process_gets_command_folder_and_environment(run_launch, tmp_path):
    _, output = run_launch(
        ExecuteProcess(
            cmd=['sh', '-c', 'echo "$0 $LAB_X $LAB_Y $(pwd)"', ['a', LaunchConfiguration('x')]],
            cwd=str(tmp_path),
            env={'LAB_X': 'one', 'PATH': os.environ['PATH']},
            additional_env={'LAB_Y': LaunchConfiguration('x')},
            output='screen',
        ),
        ExecuteProcess(cmd=['echo', '$((1 + 2))', 'sum'], shell=True, output='screen'),
        ExecuteProcess(cmd=['word'], prefix='echo prefixed', output='screen', log_cmd=True),
        arguments={'x': 'b'},
    )
    assert f'] ab one b {tmp_path}\n' in output
    assert '] 3 sum\n' in output
    assert '] prefixed word\n' in output
    assert "process details: cmd='echo prefixed word'" in output


def test_output_goes_where_it_should(run_launch):
    from launch.logging import launch_config

    script = 'echo to-{0}-out; echo to-{0}-err >&2; printf to-{0}-rest'
    for output_config in ('screen', 'log', 'both'):
        command = ['sh', '-c', script.format(output_config)]
        process = ExecuteProcess(cmd=command, output=output_config, name='p')
        _, screen = run_launch(process)
        log = (launch_config.log_dir / 'launch.log').read_text()
        prefix = f'[{process.process_details["name"]}] to-{output_config}'
        assert (f'{prefix}-out\n' in screen) == (output_config != 'log')
        assert (f'{prefix}-err\n' in screen) is True
        assert (f'{prefix}-rest\n' in screen) == (output_config != 'log')
        assert (f'{prefix}-out\n' in log) == (output_config != 'screen')
    code, output = run_launch(ExecuteProcess(cmd=['true'], output='own_log'))
    assert code == 1
    assert 'accepted: screen, log, both' in output


def test_output_can_be_overridden(run_launch, monkeypatch):
    monkeypatch.setenv('OVERRIDE_LAUNCH_PROCESS_OUTPUT', 'screen')
    assert '] hello\n' in run_launch(ExecuteProcess(cmd=['echo', 'hello'], output='log'))[1]


def test_emulated_terminal(run_launch):
    script = 'if [ -t 1 ]; then echo terminal; else echo pipe; fi; printf end'
    assert '] pipe\n' in run_launch(shell(script))[1]
    _, output = run_launch(shell(script, emulate_tty=True))
    assert '] terminal\n' in output
    assert '] end\n' in output
    assert '] terminal\n' in run_launch(shell(script), arguments={'emulate_tty': 'true'})[1]


def test_output_of_a_grandchild_does_not_hold_up_the_end(run_launch):
    code, output = run_launch(shell('sleep 1000 & echo left $!'))
    assert code == 0
    assert 'process has finished cleanly' in output
    os.kill(int(re.search(r'left (\d+)', output)[1]), signal.SIGKILL)


def test_program_that_does_not_exist(run_launch):
    code, output = run_launch(ExecuteProcess(cmd=['/no/such/program']))
    assert code == 0, 'as the real launch'
    assert 'exception occurred while executing process' in output


def test_respawn(run_launch):
    process = shell('exit 1', respawn=True, respawn_delay=0.01, respawn_max_retries=2)
    code, output = run_launch(process)
    assert code == 0
    assert output.count('process started with pid') == 3


def test_respawn_ends_with_the_launch(run_launch):
    process = shell('exit 0', respawn=LaunchConfiguration('again'), respawn_delay=1000.0)
    code, output = run_launch(
        RegisterEventHandler(OnProcessExit(target_action=process, on_exit=[Shutdown()])),
        process,
        arguments={'again': 'True'},
    )
    assert code == 0
    assert output.count('process started with pid') == 1


def test_stubborn_process_is_killed(run_launch, tmp_path):
    script = f"trap '' INT TERM; touch {tmp_path}/ready; while :; do sleep 0.05; done"
    process = shell(script, sigterm_timeout='0.1', sigkill_timeout=LaunchConfiguration('kill'))
    waiting = shell(f'until [ -e {tmp_path}/ready ]; do sleep 0.05; done', on_exit=[Shutdown()])
    _, output = run_launch(process, waiting, arguments={'kill': '0.1'})
    assert process.return_code == -9
    assert "after receiving 'SIGINT', escalating to 'SIGTERM'" in output
    assert "after receiving 'SIGTERM', escalating to 'SIGKILL'" in output


# What is not there


@pytest.mark.parametrize(
    ('module', 'name'),
    [
        ('launch', 'LaunchIntrospector'),
        ('launch.actions', 'OpaqueCoroutine'),
        ('launch.events.process', 'ProcessIO'),
        ('launch_ros.actions', 'LifecycleNode'),
    ],
)
def test_what_is_missing_is_named(module, name):
    with pytest.raises(ImportError, match=rf'{module}\.{name} is not part of .* accepted: \w+'):
        getattr(importlib.import_module(module), name)


def test_real_one_is_recognised(tmp_path):
    source = Path(ros2_pip.__file__).parents[1]
    assert find_real_ros2([str(source), str(tmp_path)]) is None
    (tmp_path / 'ros2cli').mkdir()
    assert find_real_ros2([str(source), str(tmp_path)]) == tmp_path


def test_stand_in_refuses_beside_the_real_one(tmp_path, monkeypatch):
    (tmp_path / 'launch' / 'frontend').mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, 'ros2_pip.cli', raising=False)
    with pytest.raises(ImportError, match='pip uninstall furl-ros2-pip'):
        importlib.import_module('ros2_pip.cli')
