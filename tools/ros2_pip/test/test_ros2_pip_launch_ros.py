# SPDX-License-Identifier: Apache-2.0
"""The launch_ros API of the stand-in: nodes, namespaces, parameters."""

import pytest
import yaml

from launch import LaunchContext
from launch.actions import GroupAction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, TextSubstitution
from launch_ros.actions import Node, PushRosNamespace, SetParameter
from launch_ros.parameter_descriptions import (
    ParameterFile,
    ParameterValue,
    evaluate_parameter_dict,
)
from launch_ros.substitutions import ExecutableInPackage, FindPackagePrefix, FindPackageShare


def evaluate(value, **configurations):
    context = LaunchContext()
    context.launch_configurations.update(configurations)
    return evaluate_parameter_dict(context, {'p': value})['p']


def text(value):
    return TextSubstitution(text=value)


@pytest.mark.parametrize(
    ('value', 'expected'),
    [
        (True, True),
        (3, 3),
        (0.5, 0.5),
        ('5', '5'),
        ('', ''),
        ([1, 2], [1, 2]),
        ([1, 2.5], [1.0, 2.5]),
        ([True, False], [True, False]),
        (['a', '1'], ['a', '1']),
        (text('5'), 5),
        (text('0.5'), 0.5),
        (text('true'), True),
        (text('word'), 'word'),
        (text(''), ''),
        (text("'5'"), '5'),
        (text('[1, 2]'), [1, 2]),
        ([text('1'), '2'], 12),
        ([[text('a')], ['b', text('c')]], ['a', 'bc']),
        (ParameterValue(text('5'), value_type=str), '5'),
        (ParameterValue(text('5'), value_type=float), 5.0),
        (ParameterValue(text('1'), value_type=bool), True),
        (ParameterValue(text('7'), value_type=int), 7),
        (ParameterValue(text('[1, 2]'), value_type=list[int]), [1, 2]),
        (ParameterValue(text('[a, b]'), value_type=list[str]), ['a', 'b']),
        (ParameterValue([text('1'), 'x'], value_type=str), '1x'),
        (ParameterValue(text('5')), 5),
        (ParameterValue(5), 5),
    ],
)
def test_type_of_parameter_values(value, expected):
    result = evaluate(value)
    assert result == expected
    assert type(result) is type(expected)
    if isinstance(expected, list):
        assert [type(item) for item in result] == [type(item) for item in expected]


@pytest.mark.parametrize(
    'value',
    [
        [],
        [1, 'a'],
        None,
        text('[1, a]'),
        text('{a: 1}'),
        text('[]'),
        text(': :'),
        ParameterValue(text('word'), value_type=int),
        ParameterValue(text('5'), value_type=bool),
        ParameterValue(text('[1]'), value_type=list[str]),
        ParameterValue(text('1'), value_type=dict),
        ParameterValue('5', value_type=int),
    ],
)
def test_bad_parameter_values_name_the_parameter(value):
    with pytest.raises(TypeError, match='parameter p: '):
        evaluate(value)


def test_nested_parameters_and_names_with_substitutions():
    context = LaunchContext()
    context.launch_configurations['x'] = 'name'
    parameters = {('a_', LaunchConfiguration('x')): 1, 'group': {'b': {'c': text('2')}}}
    assert evaluate_parameter_dict(context, parameters) == {'a_name': 1, 'group.b.c': 2}


def run_show(run_launch, *actions, **kwargs):
    """Return arguments and parameter files that the executable `show` printed."""
    code, output = run_launch(*actions, **kwargs)
    assert code == 0, output
    lines = [line.partition('] ')[2] for line in output.splitlines() if line.startswith('[show')]
    arguments = lines[0].removeprefix('args: ').split()
    return arguments, yaml.safe_load('\n'.join(lines[1:]))


def test_node_command(run_launch, package):
    arguments, _ = run_show(
        run_launch,
        Node(
            package='lab',
            executable='show',
            name='n',
            namespace='left',
            arguments=['--flag', LaunchConfiguration('x')],
            ros_arguments=['--log-level', 'debug'],
            remappings=[('old', 'new'), (['a', 'b'], LaunchConfiguration('x'))],
            output='screen',
        ),
        arguments={'x': 'value'},
    )
    assert ' '.join(arguments) == (
        '--flag value --ros-args --log-level debug --ros-args -r __node:=n -r __ns:=/left '
        '-r old:=new -r ab:=value'
    )


def test_bare_node_is_given_no_name(run_launch, package):
    arguments, _ = run_show(run_launch, Node(package='lab', executable='show', output='screen'))
    assert arguments == ['--ros-args']


def test_parameters_of_a_node(run_launch, package):
    file = package / 'p.yaml'
    file.write_text('/**: {ros__parameters: {a: 0}}\n')
    arguments, parameters = run_show(
        run_launch,
        Node(
            package='lab',
            executable='show',
            name='n',
            namespace='/left/right',
            parameters=[
                str(file),
                {'a': LaunchConfiguration('x'), 'b': {'c': 'text'}},
                ParameterFile(PathJoinSubstitution([str(package), 'p.yaml'])),
                file,
                PathJoinSubstitution([str(package), 'missing.yaml']),
            ],
            output='screen',
        ),
        arguments={'x': '1.5'},
    )
    files = [arguments[i + 1] for i, word in enumerate(arguments) if word == '--params-file']
    assert [files[0], *files[2:]] == [str(file)] * 3
    assert parameters == {'/left/right/n': {'ros__parameters': {'a': 1.5, 'b.c': 'text'}}}


def test_parameters_of_a_node_without_full_name_are_for_all(run_launch, package):
    node = Node(package='lab', executable='show', parameters=[{'a': True}], output='screen')
    _, parameters = run_show(run_launch, node)
    assert parameters == {'/**': {'ros__parameters': {'a': True}}}


def test_temporary_parameter_files_are_removed(run_launch, package, monkeypatch, tmp_path):
    folder = tmp_path / 'tmp'
    folder.mkdir()
    monkeypatch.setattr('tempfile.tempdir', str(folder))
    run_show(
        run_launch, Node(package='lab', executable='show', parameters=[{'a': 1}], output='screen')
    )
    assert list(folder.iterdir()) == []


def test_namespaces_and_global_parameters_end_with_the_group(run_launch, package):
    def node(name, **kwargs):
        return Node(package='lab', executable='show', exec_name=name, output='screen', **kwargs)

    _, output = run_launch(
        GroupAction(
            [
                PushRosNamespace('outer'),
                SetParameter('use_sim_time', True),
                GroupAction([PushRosNamespace('inner'), SetParameter('gain', 2), node('deep')]),
                node('relative', namespace='mine'),
                node('absolute', namespace='/mine'),
            ]
        ),
        node('outside'),
    )
    lines = {
        line.partition('-')[0][1:]: line.partition('args: ')[2]
        for line in output.splitlines()
        if 'args: ' in line
    }
    assert lines == {
        'deep': '--ros-args -r __ns:=/outer/inner -p use_sim_time:=True -p gain:=2',
        'relative': '--ros-args -r __ns:=/outer/mine -p use_sim_time:=True',
        'absolute': '--ros-args -r __ns:=/mine -p use_sim_time:=True',
        'outside': '--ros-args',
    }


@pytest.mark.parametrize(
    ('node', 'message'),
    [
        ({'package': 'lab', 'executable': 'nothing'}, "executable 'nothing' not found"),
        ({'package': 'nothing', 'executable': 'show'}, "package 'nothing' not found"),
        ({'package': 'lab', 'executable': 'show', 'name': 'a b'}, 'node name'),
        ({'package': 'lab', 'executable': 'show', 'namespace': 'a//b c'}, 'namespace'),
        ({'package': 'lab', 'executable': 'show', 'parameters': [{'a': []}]}, 'parameter a'),
    ],
)
def test_bad_nodes_end_the_launch(run_launch, package, node, message):
    code, output = run_launch(Node(**node))
    assert code == 1
    assert message in output


def test_find_package(package):
    context = LaunchContext()
    assert FindPackagePrefix('lab').perform(context) == str(package)
    assert FindPackageShare('lab').perform(context) == str(package / 'share/lab')
    found = ExecutableInPackage(executable='show', package='lab').perform(context)
    assert found == str(package / 'lib/lab/show')
