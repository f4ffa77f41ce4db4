# SPDX-License-Identifier: Apache-2.0
"""The verbs that look at a running graph, against a real node in its own process."""

import re
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml
from furl_interfaces.action import Train
from graph_support import TIMEOUT, Command, Probe
from rclpy.action import (
    ActionServer,
    GoalResponse,
    get_action_server_names_and_types_by_node,
)

from ros2_pip import action, node, param, service, topic
from ros2_pip.graph import Graph, graph

NODE = Path(__file__).with_name('tiny_node.py')
RATE = r'average rate: (\S+)\n\tmin: (\S+)s max: (\S+)s'


@pytest.fixture(scope='module', autouse=True)
def tiny_node(domain):
    """Run the node."""
    with Command([sys.executable, str(NODE)], domain) as node:
        node.wait_for('tiny node ready')
        yield


def knows_tiny_node(observer):
    """Whether all of it has been found: its ends come one by one."""
    if ('tiny', '/lab') not in observer.get_node_names_and_namespaces():
        return False
    found = {
        name
        for look_up in (
            observer.get_publisher_names_and_types_by_node,
            observer.get_subscriber_names_and_types_by_node,
            observer.get_service_names_and_types_by_node,
        )
        for name, _ in look_up('tiny', '/lab')
    }
    topics = {'/lab/count', '/lab/numbers', '/heard', '/lab/words'}
    return found >= topics | {'/lab/switch', '/lab/tiny/list_parameters'}


@pytest.fixture(scope='module')
def observers(tiny_node):
    """Give nodes that have seen the tiny node already: looking takes most of a command's time."""
    with graph(TIMEOUT) as seen:
        for observer in seen._observers:
            assert seen.discovered(lambda observer=observer: knows_tiny_node(observer))
        yield seen._observers


@pytest.fixture
def ros2(observers, run_cli, monkeypatch):
    """Give a function that runs `ros2 ...` with them: (what main returns, output)."""

    @contextmanager
    def known_graph(spin_time):
        seen = Graph(observers, min(spin_time, 0.2))
        try:
            yield seen
        finally:
            # Otherwise this command would print what the next one receives.
            for subscription in list(seen.node.subscriptions):
                seen.node.destroy_subscription(subscription)
            seen._executor.shutdown()

    for module in (action, node, param, service, topic):
        monkeypatch.setattr(module, 'graph', known_graph)
    monkeypatch.setattr(param, '_ANSWER_S', TIMEOUT)
    return run_cli


def test_a_command_finds_the_graph_by_itself(domain):
    """All else is tested with nodes that know the graph."""
    words = ('ros2', 'topic', 'echo', '--once', '/lab/numbers', '--no-arr')
    with Command([*words, '--spin-time', str(TIMEOUT)], domain) as command:
        assert command.finish() == 0
        assert "data: '<array type" in command.output


@pytest.mark.campaign
def test_commands_find_the_graph_by_themselves(domain):
    patient = ('--spin-time', str(TIMEOUT))
    commands = [
        # This one looks around for as long as it may.
        (('node', 'list', '--spin-time', '30'), '/lab/tiny\n'),
        (('param', 'get', '/lab/tiny', 'gain', *patient), 'Double value is: 0.5\n'),
        (('topic', 'bw', '/lab/count', '--window', '5', *patient), ' from 5 messages\n'),
        (('topic', 'hz', '/lab/count', *patient), 'window: '),
    ]
    with ExitStack() as stack:
        running = [stack.enter_context(Command(['ros2', *words], domain)) for words, _ in commands]
        for command, (_, text) in zip(running, commands, strict=True):
            command.wait_for(text)
    bandwidth, rates = running[-2].output, running[-1].output
    assert bandwidth.startswith('Subscribed to [/lab/count]\n')
    # An Int32 of 4 bytes behind the 4 bytes that say how it is encoded.
    assert '\n\tMessage size mean: 8 B min: 8 B max: 8 B\n' in bandwidth
    rate, least, most = map(float, re.search(RATE, rates).groups())
    assert least - 0.001 <= 1 / rate <= most + 0.001


def test_node_list(ros2):
    assert ros2('node', 'list') == (None, '/lab/tiny\n')
    assert ros2('node', 'list', '-c') == (None, '1\n')


def test_node_info(ros2):
    result, output = ros2('node', 'info', '/lab/tiny')
    assert result is None
    info = yaml.safe_load(output.split('\n', 1)[1])
    assert info['Subscribers']['/lab/words'] == 'std_msgs/msg/String'
    assert info['Publishers']['/lab/count'] == 'std_msgs/msg/Int32'
    assert info['Service Servers']['/lab/switch'] == 'std_srvs/srv/SetBool'
    assert info['Action Servers'] is None


def test_unknown_node(ros2):
    assert ros2('node', 'info', '/nobody', '--spin-time', '0.1')[0] == "Node not found: '/nobody'"


def test_topic_list(ros2):
    _, output = ros2('topic', 'list', '-t')
    assert '/lab/count [std_msgs/msg/Int32]\n' in output
    assert '/heard [std_msgs/msg/String]\n' in output
    _, output = ros2('topic', 'list')
    assert '/lab/words\n' in output


def test_topic_info(ros2):
    _, output = ros2('topic', 'info', '/lab/numbers', '--verbose')
    assert output.startswith('Type: std_msgs/msg/Float64MultiArray\nPublisher count: 1\n')
    assert 'Node name: tiny' in output
    assert 'TRANSIENT_LOCAL' in output
    assert 'Subscription count: 0' in output
    result, _ = ros2('topic', 'info', '/nothing', '--spin-time', '0.1')
    assert result == "Unknown topic '/nothing'"


def test_echo_once(ros2):
    result, output = ros2('topic', 'echo', '--once', '/lab/count')
    assert result is None
    assert isinstance(yaml.safe_load(output.removesuffix('---\n'))['data'], int)
    assert output.endswith('---\n')
    _, output = ros2('topic', 'echo', '--once', '/lab/count', '--field', 'data')
    assert output.removesuffix('\n---\n').isdecimal()


def test_echo_finds_the_qos_of_latched_topics(ros2):
    """A message that was published before is only seen with the publisher's durability."""
    _, output = ros2('topic', 'echo', '--once', '/lab/numbers', '--timeout', str(TIMEOUT))
    data = yaml.safe_load(output.removesuffix('---\n'))['data']
    assert data == [*[float(i) for i in range(128)], '...']
    _, output = ros2('topic', 'echo', '--once', '/lab/numbers', '--no-arr')
    assert '<array type: sequence<double>[300]>' in output
    _, output = ros2('topic', 'echo', '--once', '/lab/numbers', '-f', '--field', 'data')
    assert len(yaml.safe_load(output.removesuffix('---\n'))) == 300


@pytest.mark.parametrize(
    ('messages', 'text'),
    [
        (
            [(0.0, 100), (0.5, 300)],
            '200 B/s from 2 messages\n\tMessage size mean: 200 B min: 100 B max: 300 B',
        ),
        (
            [(1.0, 1000), (1.5, 3000), (1.8, 2000)],
            '6.00 KB/s from 3 messages\n\tMessage size mean: 2.00 KB min: 1.00 KB max: 3.00 KB',
        ),
        (
            [(1.0, 3 * 10**9), (2.0, 10**9)],
            '4000.00 MB/s from 2 messages\n'
            '\tMessage size mean: 2000.00 MB min: 1000.00 MB max: 3000.00 MB',
        ),
    ],
)
def test_bandwidth(messages, text):
    assert topic.describe_bandwidth(messages, now=2.0) == text


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['/nothing'], "Unknown topic '/nothing'"),
        (['/nothing', 'std_msgs/msg/Nothing'], "type 'std_msgs/msg/Nothing' is not known"),
        (['/nothing', 'Nothing'], "'Nothing' is not a type"),
        (['/lab/count', '--field', 'x.y'], "the message has no field 'x.y'"),
        (['/lab/words', '--timeout', '0.1'], 'no message on /lab/words within 0.1 s'),
    ],
)
def test_bad_echo(ros2, arguments, message):
    result, _ = ros2('topic', 'echo', '--once', '--spin-time', '0.5', *arguments)
    assert message in str(result)


def test_pub_waits_for_its_subscriber(ros2):
    arguments = ('/lab/words', 'std_msgs/msg/String', 'data: hello')
    result, output = ros2('topic', 'pub', '--once', *arguments)
    assert result is None
    assert 'publishing #1: std_msgs.msg.String(data=' in output
    _, output = ros2('topic', 'echo', '--once', '/heard', '--timeout', str(TIMEOUT))
    assert output == 'data: hello\n---\n'
    _, output = ros2('topic', 'pub', '-t', '3', '-r', '100', *arguments)
    assert output.count('publishing #') == 3


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ('{x: 1}', "String has no field 'x'; it has: data"),
        ('{data: 1}', "must be of type 'str'"),
        ('[1]', 'needs a mapping'),
        ('{', 'as YAML'),
    ],
)
def test_bad_messages(ros2, values, message):
    result, _ = ros2('topic', 'pub', '--once', '/lab/words', 'std_msgs/msg/String', values)
    assert message in result


# Services


def test_service_list_and_type(ros2):
    _, output = ros2('service', 'list', '-t')
    assert '/lab/switch [std_srvs/srv/SetBool]\n' in output
    assert ros2('service', 'type', '/lab/switch') == (None, 'std_srvs/srv/SetBool\n')
    result, _ = ros2('service', 'type', '/nothing', '--spin-time', '0.1')
    assert result == "Unknown service '/nothing'"


def test_service_call(ros2):
    result, output = ros2('service', 'call', '/lab/switch', 'std_srvs/srv/SetBool', 'data: true')
    assert result is None
    assert "SetBool_Response(success=True, message='switched')" in output


# Parameters


def test_param_list(ros2):
    _, output = ros2('param', 'list', '/lab/tiny')
    assert {'  gain', '  label', '  nested.numbers', '  use_sim_time'} <= set(output.splitlines())
    _, output = ros2('param', 'list')
    assert output.startswith('/lab/tiny:\n  ')


def test_param_get_and_set(ros2):
    assert ros2('param', 'get', '/lab/tiny', 'label') == (None, 'String value is: red\n')
    result, output = ros2('param', 'set', '/lab/tiny', 'label', 'blue')
    assert (result, output) == (None, 'Set parameter successful\n')
    assert ros2('param', 'get', 'lab/tiny', 'label', '--hide-type') == (None, 'blue\n')
    _, output = ros2('param', 'get', '/lab/tiny', 'nested.numbers')
    assert output == 'Integer values are: [1, 2, 3]\n'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['set', '/lab/tiny', 'label', 'green'], 'Setting parameter failed: not green'),
        (['set', '/lab/tiny', 'gain', '2.0'], 'Setting parameter failed'),
        (['set', '/lab/tiny', 'gain', '{a: 1}'], 'cannot be a parameter'),
        (['get', '/lab/tiny', 'nothing'], "Parameter 'nothing' not set"),
        (['get', '/nobody', 'x', '--spin-time', '0.1'], "Node not found: '/nobody'"),
    ],
)
def test_bad_parameters(ros2, arguments, message):
    assert message in ros2('param', *arguments)[0]


def test_param_describe(ros2):
    assert ros2('param', 'describe', '/lab/tiny', 'gain')[1] == (
        'Parameter name: gain\n'
        '  Type: double\n'
        '  Description: How much.\n'
        '  Constraints:\n'
        '    Min value: 0.0\n'
        '    Max value: 1.0\n'
    )


def test_param_dump(ros2):
    dump = yaml.safe_load(ros2('param', 'dump', '/lab/tiny')[1])
    parameters = dump['/lab/tiny']['ros__parameters']
    assert parameters['gain'] == 0.5
    assert parameters['nested'] == {'numbers': [1, 2, 3]}


# Actions and packages


def test_actions(ros2):
    assert ros2('action', 'list') == (None, '')
    assert ros2('action', 'info', '/a', '--spin-time', '0.1')[0] == "Unknown action '/a'"
    result, _ = ros2('action', 'send_goal', '/a', 'std_msgs/action/Nothing', '{}')
    assert "type 'std_msgs/action/Nothing' is not known" in result


def test_send_goal(ros2, observers, domain):
    """A goal with feedback and result, and one that is refused."""

    def execute(handle):
        handle.publish_feedback(Train.Feedback())
        handle.succeed()
        return Train.Result(total_steps=handle.request.total_steps)

    def knows_server(observer):
        known = ('probe', '/') in observer.get_node_names_and_namespaces()
        return known and bool(get_action_server_names_and_types_by_node(observer, 'probe', '/'))

    with Probe(domain) as probe:
        server = ActionServer(
            probe.node,
            Train,
            'lab/train',
            execute,
            goal_callback=lambda goal: GoalResponse(1 + (goal.total_steps != 7)),
        )
        probe.wait(lambda: all(map(knows_server, observers)), 'the server')
        listed = ros2('action', 'list', '-t')[1]
        assert listed == '/lab/train [furl_interfaces/action/Train]\n'
        _, output = ros2('action', 'info', '/lab/train')
        assert output.endswith('Action servers: 1\n    /probe\n')
        send = ('action', 'send_goal', '/lab/train', 'furl_interfaces/action/Train')
        result, output = ros2(*send, '{total_steps: 5}', '--feedback')
        assert result == 0
        assert 'Feedback:\n' in output
        assert 'total_steps: 5' in output
        assert output.endswith('Goal finished with status: SUCCEEDED\n')
        assert ros2(*send, '{total_steps: 7}')[0] == 'Goal was rejected.'
        server.destroy()


def test_pkg(ros2, package):
    assert 'lab\n' in ros2('pkg', 'list')[1]
    assert ros2('pkg', 'prefix', 'lab') == (None, f'{package}\n')
    assert ros2('pkg', 'prefix', '--share', 'lab') == (None, f'{package}/share/lab\n')
    assert ros2('pkg', 'executables', 'lab') == (None, 'lab show\n')
    assert ros2('pkg', 'executables', '--full-path', 'lab')[1] == f'{package}/lib/lab/show\n'
    assert "Package 'nothing' not found" in ros2('pkg', 'prefix', 'nothing')[0]


@pytest.mark.parametrize(
    'command', ['action', 'interface', 'node', 'param', 'pkg', 'service', 'topic']
)
def test_a_command_without_verb_shows_its_verbs(ros2, command):
    result, output = ros2(command)
    assert result is None
    assert f'usage: ros2 {command} [-h] verb' in output


def test_no_command_shows_the_commands(ros2):
    result, output = ros2()
    assert result is None
    assert 'launch' in output
