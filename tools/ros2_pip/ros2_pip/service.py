# SPDX-License-Identifier: Apache-2.0
"""ros2 service."""

from __future__ import annotations

import argparse

from .graph import absolute, graph, is_hidden, only_type, print_names
from .messages import from_yaml, load_type
from .verbs import LIST_S, add_verbs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs."""
    verbs = add_verbs(parser)
    listing = verbs.add_on_graph('list', list_services, 'list the services', spin_time=LIST_S)
    listing.add_argument('-t', '--show-types', action='store_true', help='print their types')
    listing.add_argument('--include-hidden-services', action='store_true', help='internal ones too')

    kind = verbs.add_on_graph('type', show_type, 'print the type of a service')
    kind.add_argument('service_name')

    call = verbs.add_on_graph('call', call_service, 'call a service')
    call.add_argument('service_name')
    call.add_argument('service_type')
    call.add_argument('values', nargs='?', default='{}', help='fields of the request as YAML')


def list_services(args: argparse.Namespace) -> None:
    """Print the services."""
    with graph(args.spin_time) as seen:
        seen.discover()
        services = {
            name: types
            for name, types in seen.services().items()
            if args.include_hidden_services or not is_hidden(name)
        }
        print_names(services, with_types=args.show_types)


def show_type(args: argparse.Namespace) -> None:
    """Print a service's type."""
    with graph(args.spin_time) as seen:
        name = absolute(args.service_name)
        seen.discovered(lambda: name in seen.services())
        print(only_type('service', name, seen.services()))


def call_service(args: argparse.Namespace) -> None:
    """Call a service, once it is there, and print the response."""
    service_class = load_type('srv', args.service_type)
    request = from_yaml(service_class.Request, args.values)
    with graph(args.spin_time) as seen:
        name = absolute(args.service_name)
        seen.discovered(lambda: name in seen.services())
        client = seen.node.create_client(service_class, name)
        if not client.service_is_ready():
            print('waiting for service to become available...')
            seen.spin_until(client.service_is_ready)
        print(f'requester: making request: {request!r}\n')
        print(f'response:\n{seen.wait(client.call_async(request))!r}\n')
