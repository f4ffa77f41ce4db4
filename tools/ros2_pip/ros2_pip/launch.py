# SPDX-License-Identifier: Apache-2.0
"""ros2 launch."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from .errors import CommandError
from .packages import find_share
from .start import quiet_start


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        '-n',
        '--noninteractive',
        action='store_true',
        default=not sys.stdin.isatty(),
        help='no terminal sends Ctrl-C to the processes; default where stdin is none',
    )
    parser.add_argument('-d', '--debug', action='store_true', help='say more')
    shows = parser.add_mutually_exclusive_group()
    shows.add_argument(
        '-p',
        '--print',
        '--print-description',
        action='store_true',
        help='print the launch description instead of launching',
    )
    shows.add_argument(
        '-s',
        '--show-args',
        '--show-arguments',
        action='store_true',
        help='print the arguments of the launch file instead of launching',
    )
    parser.add_argument(
        '-a',
        '--show-all-subprocesses-output',
        action='store_true',
        help='print the output of all processes, whatever the launch file says',
    )
    parser.add_argument('--launch-prefix', help='words put before the command of each process')
    parser.add_argument('package_name', help='a package, or the path of a launch file')
    parser.add_argument('launch_file_name', nargs='?', help='the launch file in the package')
    parser.add_argument('launch_arguments', nargs='*', help="'<name>:=<value>'; the last one wins")
    parser.set_defaults(main=main)


@quiet_start()
def main(args: argparse.Namespace) -> int:
    """Launch, or show what a launch file is about; the launch service answers signals later."""
    from launch.launch_description import format_tree
    from launch.launch_description_sources import load_python_launch_file

    path, arguments = find_launch_file(args)
    if args.show_all_subprocesses_output:
        os.environ['OVERRIDE_LAUNCH_PROCESS_OUTPUT'] = 'both'
    if args.print:
        print(format_tree(load_python_launch_file(path)))
        return 0
    if args.show_args:
        show_arguments(path)
        return 0
    if args.launch_prefix:
        arguments.append(f'launch-prefix:={args.launch_prefix}')
    return launch_file(path, arguments, noninteractive=args.noninteractive, debug=args.debug)


def find_launch_file(args: argparse.Namespace) -> tuple[str, list[str]]:
    """Return the launch file and the launch arguments.

    Raises:
        CommandError: there is no such package or file, or several.
    """
    if os.path.isfile(args.package_name):
        first = [] if args.launch_file_name is None else [args.launch_file_name]
        return args.package_name, [*first, *args.launch_arguments]
    if os.sep in args.package_name:
        raise CommandError(f"launch file '{args.package_name}' does not exist")
    share = find_share(args.package_name)
    if args.launch_file_name is None:
        raise CommandError(f"name a launch file of package '{args.package_name}'")
    paths = [path for path in share.rglob(args.launch_file_name) if path.is_file()]
    if len(paths) != 1:
        found = 'more than once' if paths else 'not'
        raise CommandError(
            f"file '{args.launch_file_name}' was {found} found in the share directory of package "
            f"'{args.package_name}' which is at '{share}'"
        )
    return str(paths[0]), args.launch_arguments


def parse_arguments(arguments: list[str]) -> dict[str, str]:
    """Return the launch arguments by name.

    Raises:
        CommandError: one is not of the form `<name>:=<value>`.
    """
    parsed = {}
    for argument in arguments:
        name, separator, value = argument.partition(':=')
        if not (name and separator and value):
            raise CommandError(
                f"malformed launch argument '{argument}', expected format '<name>:=<value>'"
            )
        parsed[name] = value
    return parsed


def show_arguments(path: str) -> None:
    """Print the arguments of a launch file with description, choices and default."""
    from launch.launch_description_sources import load_python_launch_file
    from launch.substitutions import describe

    arguments = load_python_launch_file(path).get_launch_arguments()
    print("Arguments (pass arguments as '<name>:=<value>'):")
    for argument in arguments:
        mark = '*' if argument.conditionally_included else ''
        print(f"\n    '{argument.name}':{mark}\n        {argument.description}")
        if argument.default_value is not None:
            print(f'        (default: {describe(argument.default_value)})')
    if not arguments:
        print('\n  No arguments.')
    elif any(argument.conditionally_included for argument in arguments):
        print('\n* argument(s) which are only used if specific conditions occur')


def launch_file(path: str, arguments: list[str], *, noninteractive: bool, debug: bool) -> int:
    """Launch a file and return the exit code: 0, or 1 if an exception was raised."""
    from launch import LaunchDescription, LaunchService
    from launch.actions import IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    service = LaunchService(argv=arguments, noninteractive=noninteractive, debug=debug)
    source = PythonLaunchDescriptionSource(str(Path(path)))
    include = IncludeLaunchDescription(source, launch_arguments=parse_arguments(arguments).items())
    # What the file imports may take seconds, in which the service would answer no signal.
    source.try_get_launch_description_without_context()
    service.include_launch_description(LaunchDescription([include]))
    return service.run()
