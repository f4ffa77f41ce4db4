# SPDX-License-Identifier: Apache-2.0
"""ros2 pkg."""

from __future__ import annotations

import argparse

from ament_index_python.packages import get_packages_with_prefixes

from .packages import find_prefix, find_share, list_executables
from .verbs import add_verbs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs."""
    verbs = add_verbs(parser)
    verbs.add('list', list_packages, 'list all packages')

    prefix = verbs.add('prefix', show_prefix, 'print where a package is installed')
    prefix.add_argument('package_name')
    prefix.add_argument('--share', action='store_true', help="print the package's share folder")

    executables = verbs.add('executables', show_executables, 'list executables of packages')
    executables.add_argument('package_name', nargs='?', help='default: all packages')
    executables.add_argument('--full-path', action='store_true', help='print their paths')


def list_packages(args: argparse.Namespace) -> None:
    """Print the names of all packages."""
    for name in sorted(get_packages_with_prefixes()):
        print(name)


def show_prefix(args: argparse.Namespace) -> None:
    """Print a package's prefix or share folder."""
    print((find_share if args.share else find_prefix)(args.package_name))


def show_executables(args: argparse.Namespace) -> None:
    """Print executables."""
    packages = [args.package_name] if args.package_name else sorted(get_packages_with_prefixes())
    for package in packages:
        for path in list_executables(package):
            print(path if args.full_path else f'{package} {path.name}')
