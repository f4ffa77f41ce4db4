# SPDX-License-Identifier: Apache-2.0
"""ros2 param."""

from __future__ import annotations

import argparse
from typing import Any

import yaml
from rcl_interfaces.msg import ParameterDescriptor, ParameterValue
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.parameter_client import AsyncParameterClient

from .errors import CommandError
from .graph import Graph, absolute, graph
from .messages import to_plain
from .verbs import LIST_S, add_verbs

# A node that is there answers at once; one that hangs should not make us hang.
_ANSWER_S = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs."""
    verbs = add_verbs(parser)
    listing = verbs.add_on_graph('list', list_parameters, 'list the parameters', spin_time=LIST_S)
    listing.add_argument('node_name', nargs='?', help='default: all nodes')

    get = verbs.add_on_graph('get', get_parameter, 'print the value of a parameter')
    get.add_argument('node_name')
    get.add_argument('parameter_name')
    get.add_argument('--hide-type', action='store_true', help='print only the value')

    change = verbs.add_on_graph('set', set_parameter, 'set a parameter')
    change.add_argument('node_name')
    change.add_argument('parameter_name')
    change.add_argument('value', help='as YAML')

    describe = verbs.add_on_graph('describe', describe_parameters, 'print what parameters mean')
    describe.add_argument('node_name')
    describe.add_argument('parameter_names', nargs='+')

    dump = verbs.add_on_graph('dump', dump_parameters, 'print all parameters as a parameter file')
    dump.add_argument('node_name')


def _connect(seen: Graph, node_name: str) -> AsyncParameterClient:
    client = AsyncParameterClient(seen.node, node_name)
    if not seen.spin_until(client.services_are_ready, _ANSWER_S):
        raise CommandError(f'node {node_name} has no parameter services')
    return client


def _names(seen: Graph, client: AsyncParameterClient) -> list[str]:
    return sorted(seen.wait(client.list_parameters(), _ANSWER_S).result.names)


def _values(seen: Graph, client: AsyncParameterClient, names: list[str]) -> list[ParameterValue]:
    return list(seen.wait(client.get_parameters(names), _ANSWER_S).values)


def list_parameters(args: argparse.Namespace) -> None:
    """Print the names of the parameters of one node or all."""
    with graph(args.spin_time) as seen:
        if args.node_name is None:
            seen.discover()
            nodes = seen.node_names()
        else:
            nodes = [seen.find_node(args.node_name)]
        for node_name in nodes:
            try:
                names = _names(seen, _connect(seen, node_name))
            except CommandError as error:
                if args.node_name is not None:
                    raise
                names = [f'({error})']
            if args.node_name is None:
                print(f'{node_name}:')
            for name in names:
                print(f'  {name}')


def get_parameter(args: argparse.Namespace) -> None:
    """Print a parameter's type and value."""
    with graph(args.spin_time) as seen:
        client = _connect(seen, seen.find_node(args.node_name))
        values = _values(seen, client, [args.parameter_name])
    kind = Parameter.Type(values[0].type) if values else Parameter.Type.NOT_SET
    if kind == Parameter.Type.NOT_SET:
        raise CommandError(f"Parameter '{args.parameter_name}' not set")
    value = to_plain(parameter_value_to_python(values[0]))
    if args.hide_type:
        print(value)
    elif kind.name.endswith('_ARRAY'):
        print(f'{kind.name.removesuffix("_ARRAY").capitalize()} values are: {value}')
    else:
        name = {'BOOL': 'Boolean'}.get(kind.name, kind.name.capitalize())
        print(f'{name} value is: {value}')


def set_parameter(args: argparse.Namespace) -> None:
    """Set a parameter to a value given as YAML."""
    try:
        value = yaml.safe_load(args.value)
    except yaml.YAMLError:
        value = args.value
    if isinstance(value, list) and {type(item) for item in value} == {int, float}:
        value = [float(item) for item in value]
    try:
        parameter = Parameter(args.parameter_name, value=value)
    except (TypeError, ValueError) as error:
        raise CommandError(f'{args.value!r} cannot be a parameter: {error}') from error
    with graph(args.spin_time) as seen:
        client = _connect(seen, seen.find_node(args.node_name))
        (result,) = seen.wait(client.set_parameters([parameter]), _ANSWER_S).results
    if not result.successful:
        raise CommandError(f'Setting parameter failed: {result.reason}')
    print('Set parameter successful')


def describe_parameters(args: argparse.Namespace) -> None:
    """Print type, description and accepted values of parameters."""
    with graph(args.spin_time) as seen:
        client = _connect(seen, seen.find_node(args.node_name))
        answer = seen.wait(client.describe_parameters(args.parameter_names), _ANSWER_S)
    if not answer.descriptors:
        raise CommandError(f'no such parameter: {", ".join(args.parameter_names)}')
    for descriptor in answer.descriptors:
        _print_descriptor(descriptor)


def _print_descriptor(descriptor: ParameterDescriptor) -> None:
    print(f'Parameter name: {descriptor.name}')
    print(f'  Type: {Parameter.Type(descriptor.type).name.lower().replace("_", " ")}')
    if descriptor.description:
        print(f'  Description: {descriptor.description}')
    print('  Constraints:')
    if descriptor.read_only:
        print('    Read only: true')
    for bounds in (*descriptor.integer_range, *descriptor.floating_point_range):
        print(f'    Min value: {bounds.from_value}')
        print(f'    Max value: {bounds.to_value}')
        if bounds.step:
            print(f'    Step: {bounds.step}')
    if descriptor.additional_constraints:
        print(f'    Additional constraints: {descriptor.additional_constraints}')


def dump_parameters(args: argparse.Namespace) -> None:
    """Print a node's parameters in the form of a parameter file."""
    with graph(args.spin_time) as seen:
        node_name = seen.find_node(absolute(args.node_name))
        client = _connect(seen, node_name)
        names = _names(seen, client)
        values = _values(seen, client, names)
    tree: dict[str, Any] = {}
    for name, value in zip(names, values, strict=True):
        *groups, leaf = name.split('.')
        group = tree
        for part in groups:
            group = group.setdefault(part, {})
        group[leaf] = to_plain(parameter_value_to_python(value))
    print(yaml.safe_dump({node_name: {'ros__parameters': tree}}), end='')
