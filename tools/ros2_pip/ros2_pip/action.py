# SPDX-License-Identifier: Apache-2.0
"""ros2 action."""

from __future__ import annotations

import argparse

from action_msgs.msg import GoalStatus
from rclpy.action import (
    ActionClient,
    get_action_client_names_and_types_by_node,
    get_action_names_and_types,
    get_action_server_names_and_types_by_node,
)

from .errors import CommandError
from .graph import absolute, graph, only_type, print_names, split_name
from .messages import from_yaml, load_type, to_yaml
from .verbs import LIST_S, add_verbs

_STATUS = {
    GoalStatus.STATUS_SUCCEEDED: 'SUCCEEDED',
    GoalStatus.STATUS_CANCELED: 'CANCELED',
    GoalStatus.STATUS_ABORTED: 'ABORTED',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs."""
    verbs = add_verbs(parser)
    listing = verbs.add_on_graph('list', list_actions, 'list the actions', spin_time=LIST_S)
    listing.add_argument('-t', '--show-types', action='store_true', help='print their types')

    info = verbs.add_on_graph(
        'info', show_action, 'print who offers and uses an action', spin_time=LIST_S
    )
    info.add_argument('action_name')
    info.add_argument('-t', '--show-types', action='store_true', help='print the type')

    send = verbs.add_on_graph('send_goal', send_goal, 'send a goal and wait for its result')
    send.add_argument('action_name')
    send.add_argument('action_type')
    send.add_argument('goal', help='fields of the goal as YAML')
    send.add_argument('-f', '--feedback', action='store_true', help='print feedback')


def list_actions(args: argparse.Namespace) -> None:
    """Print the actions."""
    with graph(args.spin_time) as seen:
        seen.discover()
        print_names(seen.collect(get_action_names_and_types), with_types=args.show_types)


def show_action(args: argparse.Namespace) -> None:
    """Print the nodes with servers and clients of an action."""
    with graph(args.spin_time) as seen:
        action = absolute(args.action_name)
        seen.discover()
        kind = only_type('action', action, seen.collect(get_action_names_and_types))
        print(f'Action: {action}' + (f' [{kind}]' if args.show_types else ''))
        for title, look_up in (
            ('Action clients', get_action_client_names_and_types_by_node),
            ('Action servers', get_action_server_names_and_types_by_node),
        ):
            names = []
            for full_name in seen.node_names(include_hidden=True):
                name, namespace = split_name(full_name)
                if action in seen.collect(
                    lambda observer, ask=look_up, n=name, ns=namespace: ask(observer, n, ns)
                ):
                    names.append(full_name)
            print(f'{title}: {len(names)}')
            for name in names:
                print(f'    {name}')


def send_goal(args: argparse.Namespace) -> int:
    """Send a goal, wait for the result and print it; Ctrl-C cancels the goal.

    Returns:
        0 if the goal succeeded, else 1.
    """
    action_class = load_type('action', args.action_type)
    goal = from_yaml(action_class.Goal, args.goal)
    with graph(args.spin_time) as seen:
        name = absolute(args.action_name)
        seen.discovered(lambda: name in seen.collect(get_action_names_and_types))
        client = ActionClient(seen.node, action_class, name)
        if not client.server_is_ready():
            print('Waiting for an action server to become available...')
            seen.spin_until(client.server_is_ready)
        print(f'Sending goal:\n{_indent(to_yaml(goal))}')

        def show(feedback: object) -> None:
            print(f'Feedback:\n{_indent(to_yaml(feedback.feedback))}')

        handle = seen.wait(client.send_goal_async(goal, show if args.feedback else None))
        if not handle.accepted:
            raise CommandError('Goal was rejected.')
        print(f'Goal accepted with ID: {bytes(handle.goal_id.uuid).hex()}\n')
        try:
            answer = seen.wait(handle.get_result_async())
        except KeyboardInterrupt:
            print('Canceling goal...')
            if not seen.wait(handle.cancel_goal_async(), 10.0).goals_canceling:
                raise CommandError('Failed to cancel goal') from None
            print('Goal canceled.')
            raise
        print(f'Result:\n{_indent(to_yaml(answer.result))}')
        print(f'Goal finished with status: {_STATUS.get(answer.status, "UNKNOWN")}')
    return 0 if answer.status == GoalStatus.STATUS_SUCCEEDED else 1


def _indent(text: str) -> str:
    return ''.join(f'    {line}\n' for line in text.splitlines())
