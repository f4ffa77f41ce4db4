# SPDX-License-Identifier: Apache-2.0
"""ros2 interface."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator

from ament_index_python import get_resource, get_resources

from .errors import CommandError
from .packages import find_prefix, find_share
from .verbs import add_verbs

_KINDS = {'msg': 'Messages', 'srv': 'Services', 'action': 'Actions'}

# The type at the beginning of a field's line, without its bounds: '[3]', '<=3'.
_TYPE = re.compile(r'\s*([A-Za-z][\w/]*)')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs."""
    verbs = add_verbs(parser)
    _add_filters(verbs.add('list', list_interfaces, 'list all types'))

    package = verbs.add('package', list_package, 'list the types of a package')
    _add_filters(package)
    package.add_argument('package_name')

    _add_filters(verbs.add('packages', list_packages, 'list the packages that have types'))

    show = verbs.add('show', show_interface, 'print the definition of a type')
    comments = show.add_mutually_exclusive_group()
    comments.add_argument('--all-comments', action='store_true', help='those of nested types too')
    comments.add_argument('--no-comments', action='store_true', help='no comments, no empty lines')
    show.add_argument('type', help="for example 'std_msgs/msg/String'; '-': read it from stdin")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    for kind in _KINDS:
        parser.add_argument(
            f'-{kind[0]}',
            f'--only-{kind}s',
            dest='kinds',
            action='append_const',
            const=kind,
            help=f'only those of kind {kind}',
        )


def list_interfaces(args: argparse.Namespace) -> None:
    """Print all types, by kind."""
    packages = sorted(get_resources('rosidl_interfaces'))
    for kind, title in _KINDS.items():
        if kind in (args.kinds or _KINDS):
            print(f'{title}:')
            for package in packages:
                for name in _find_interfaces(package, [kind]):
                    print(f'    {name}')


def list_package(args: argparse.Namespace) -> None:
    """Print the types of a package."""
    find_prefix(args.package_name)
    if args.package_name in get_resources('rosidl_interfaces'):
        for name in _find_interfaces(args.package_name, args.kinds or _KINDS):
            print(name)


def list_packages(args: argparse.Namespace) -> None:
    """Print the packages that have types."""
    for package in sorted(get_resources('rosidl_interfaces')):
        if _find_interfaces(package, args.kinds or _KINDS):
            print(package)


def show_interface(args: argparse.Namespace) -> None:
    """Print the text of a type's file, with those of the nested types indented below each field."""
    name = sys.stdin.readline().strip() if args.type == '-' else args.type
    for line in _expand(name, comments=not args.no_comments, nested_comments=args.all_comments):
        print(line)


def _find_interfaces(package: str, kinds: list[str] | dict[str, str]) -> list[str]:
    """Return the types of a package that has some, as `package/kind/Type`, sorted."""
    files, _ = get_resource('rosidl_interfaces', package)
    names = {file.rpartition('.')[0] for file in files.splitlines()}
    return sorted(f'{package}/{name}' for name in names if name.partition('/')[0] in kinds)


def _expand(name: str, *, comments: bool, nested_comments: bool) -> Iterator[str]:
    for line in _read(name):
        code = line.partition('#')[0].rstrip()
        text = line if comments else code
        # An empty line separates groups of comments, and goes with them.
        if text or comments:
            yield text
        if nested := _find_nested(code, package=name.partition('/')[0]):
            for text in _expand(nested, comments=nested_comments, nested_comments=nested_comments):
                yield f'\t{text}' if text else ''


def _read(name: str) -> list[str]:
    """Return the lines of a type's file.

    Raises:
        CommandError: there is no such type.
    """
    parts = name.split('/')
    if len(parts) != 3 or parts[1] not in _KINDS:
        kinds = '|'.join(_KINDS)
        raise CommandError(f"Invalid name '{name}'; expected 'package/{kinds}/Type'")
    package, kind, type_name = parts
    path = find_share(package) / kind / f'{type_name}.{kind}'
    try:
        return [line.rstrip() for line in path.read_text(encoding='utf-8').splitlines()]
    except FileNotFoundError as error:
        raise CommandError(f"Could not find the interface '{path}'") from error


def _find_nested(code: str, *, package: str) -> str | None:
    """Return the message type of a field, given its line, None where it is a plain value."""
    match = _TYPE.match(code)
    # Plain types are in lower case, and only they have constants.
    if match is None or (match[1].islower() and '/' not in match[1]):
        return None
    owner, _, type_name = match[1].rpartition('/')
    return f'{owner.partition("/")[0] or package}/msg/{type_name}'
