# SPDX-License-Identifier: Apache-2.0
"""ros2 run."""

from __future__ import annotations

import argparse
import os
import shlex
from typing import NoReturn

from .errors import CommandError
from .packages import list_executables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--prefix', help='words put before the command')
    parser.add_argument('package_name', help='the package')
    parser.add_argument('executable_name', help='the executable')
    parser.add_argument('argv', nargs=argparse.REMAINDER, help='arguments of the executable')
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> NoReturn:
    """Become the executable, so that signals and exit code are its own.

    Raises:
        CommandError: there is no such package or executable, or several.
    """
    executables = list_executables(args.package_name)
    paths = [str(path) for path in executables if path.name == args.executable_name]
    if not paths:
        known = ', '.join(path.name for path in executables) or 'none'
        raise CommandError(
            f"No executable '{args.executable_name}' in package '{args.package_name}'; "
            f'it has: {known}'
        )
    if len(paths) > 1:
        raise CommandError(f'Multiple executables found: {", ".join(paths)}')
    command = [*shlex.split(args.prefix or ''), paths[0], *args.argv]
    os.execvp(command[0], command)
