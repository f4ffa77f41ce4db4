# SPDX-License-Identifier: Apache-2.0
"""ros2 node."""

from __future__ import annotations

import argparse

from rclpy.action import (
    get_action_client_names_and_types_by_node,
    get_action_server_names_and_types_by_node,
)
from rclpy.node import Node

from .graph import graph, is_hidden, split_name
from .verbs import LIST_S, add_verbs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs."""
    verbs = add_verbs(parser)
    listing = verbs.add_on_graph('list', list_nodes, 'list the running nodes', spin_time=LIST_S)
    listing.add_argument('-a', '--all', action='store_true', help='hidden nodes too')
    listing.add_argument('-c', '--count-nodes', action='store_true', help='print their number')

    info = verbs.add_on_graph(
        'info', show_node, 'print what a node offers and uses', spin_time=LIST_S
    )
    info.add_argument('node_name')
    info.add_argument('--include-hidden', action='store_true', help='internal names too')


def list_nodes(args: argparse.Namespace) -> None:
    """Print the names of nodes."""
    with graph(args.spin_time) as seen:
        seen.discover()
        names = seen.node_names(include_hidden=args.all)
    print(len(names) if args.count_nodes else '\n'.join(names))


def show_node(args: argparse.Namespace) -> None:
    """Print topics, services and actions of a node."""
    with graph(args.spin_time) as seen:
        full_name = seen.find_node(args.node_name)
        # The node is there; what it offers may still be on its way.
        seen.discover()
        name, namespace = split_name(full_name)
        print(full_name)
        for title, look_up in (
            ('Subscribers', Node.get_subscriber_names_and_types_by_node),
            ('Publishers', Node.get_publisher_names_and_types_by_node),
            ('Service Servers', Node.get_service_names_and_types_by_node),
            ('Service Clients', Node.get_client_names_and_types_by_node),
            ('Action Servers', get_action_server_names_and_types_by_node),
            ('Action Clients', get_action_client_names_and_types_by_node),
        ):
            print(f'  {title}:')
            found = seen.collect(
                lambda observer, look_up=look_up: look_up(observer, name, namespace)
            )
            for item, types in found.items():
                if args.include_hidden or not is_hidden(item):
                    print(f'    {item}: {", ".join(types)}')
