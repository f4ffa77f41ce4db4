# SPDX-License-Identifier: Apache-2.0
"""Installed ROS packages and their executables."""

from __future__ import annotations

import os
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix

from .errors import CommandError


def find_prefix(package: str) -> Path:
    """Return the folder a package is installed into.

    Raises:
        CommandError: there is no such package.
    """
    try:
        return Path(get_package_prefix(package))
    except (PackageNotFoundError, ValueError) as error:
        searched = os.environ.get('AMENT_PREFIX_PATH', '')
        raise CommandError(
            f"Package '{package}' not found; searching AMENT_PREFIX_PATH: [{searched}]"
        ) from error


def find_share(package: str) -> Path:
    """Return a package's share folder.

    Raises:
        CommandError: there is no such package.
    """
    return find_prefix(package) / 'share' / package


def list_executables(package: str) -> list[Path]:
    """Return the executables of a package, sorted.

    Raises:
        CommandError: there is no such package.
    """
    folder = find_prefix(package) / 'lib' / package
    return sorted(path for path in folder.rglob('*') if path.is_file() and os.access(path, os.X_OK))
