# SPDX-License-Identifier: Apache-2.0
"""Commands of the form `ros2 <command> <verb>`."""

from __future__ import annotations

import argparse
from collections.abc import Callable

# Seconds to look around before everything that runs is taken to be known.
LIST_S = 1.5

Verb = Callable[[argparse.Namespace], 'int | None']


class Verbs:
    """The verbs of one command."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._subparsers = parser.add_subparsers(metavar='verb')

    def add(self, name: str, main: Verb, text: str) -> argparse.ArgumentParser:
        """Add a verb and return its parser, for its arguments."""
        parser = self._subparsers.add_parser(name, help=text, description=text)
        parser.set_defaults(main=main)
        return parser

    def add_on_graph(
        self, name: str, main: Verb, text: str, *, spin_time: float = 5.0
    ) -> argparse.ArgumentParser:
        """Add a verb that looks at the running graph.

        Args:
            name, main, text: as for `add`.
            spin_time: default of the time for looking, seconds. One that lists everything uses it
                up; one that waits for something by name goes on when that is seen.
        """
        parser = self.add(name, main, text)
        parser.add_argument(
            '--spin-time',
            type=float,
            default=spin_time,
            metavar='S',
            help='seconds to look for what is running (default %(default)s)',
        )
        parser.add_argument(
            '--no-daemon', action='store_true', help='accepted for compatibility: there is none'
        )
        return parser


def add_verbs(parser: argparse.ArgumentParser) -> Verbs:
    """Give a command verbs."""
    return Verbs(parser)
