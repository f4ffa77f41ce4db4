# SPDX-License-Identifier: Apache-2.0
"""Substitutions that look into installed ROS packages."""

from __future__ import annotations

import os
import shutil

from ament_index_python.packages import get_package_prefix, get_package_share_directory

from launch.entity import SomeSubstitutionsType, Substitution
from launch.launch_context import LaunchContext
from launch.substitutions import SubstitutionFailure, describe
from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions
from ros2_pip.guard import not_in_subset

__all__ = ['ExecutableInPackage', 'FindPackagePrefix', 'FindPackageShare']
__getattr__ = not_in_subset(__name__, __all__)


class FindPackagePrefix(Substitution):
    """The folder a package is installed into."""

    def __init__(self, package: SomeSubstitutionsType) -> None:
        self.package = normalize_to_list_of_substitutions(package)

    def describe(self) -> str:
        """Return the package."""
        return f'{type(self).__name__}(pkg={describe(self.package)})'

    def perform(self, context: LaunchContext) -> str:
        """Return the folder.

        Raises:
            ament_index_python.packages.PackageNotFoundError: there is no such package.
        """
        return get_package_prefix(perform_substitutions(context, self.package))


class FindPackageShare(FindPackagePrefix):
    """The share folder of a package."""

    def perform(self, context: LaunchContext) -> str:
        """Return the folder.

        Raises:
            ament_index_python.packages.PackageNotFoundError: there is no such package.
        """
        return get_package_share_directory(perform_substitutions(context, self.package))


class ExecutableInPackage(FindPackagePrefix):
    """The path of an executable of a package: `<prefix>/lib/<package>/<executable>`."""

    def __init__(self, executable: SomeSubstitutionsType, package: SomeSubstitutionsType) -> None:
        super().__init__(package)
        self.executable = normalize_to_list_of_substitutions(executable)

    def describe(self) -> str:
        """Return package and executable."""
        return f'ExecInPkg(pkg={describe(self.package)}, exec={describe(self.executable)})'

    def perform(self, context: LaunchContext) -> str:
        """Return the path.

        Raises:
            ament_index_python.packages.PackageNotFoundError: there is no such package.
            SubstitutionFailure: it has no such executable.
        """
        package = perform_substitutions(context, self.package)
        executable = perform_substitutions(context, self.executable)
        folder = os.path.join(super().perform(context), 'lib', package)
        path = shutil.which(executable, path=folder)
        if path is None:
            raise SubstitutionFailure(f"executable '{executable}' not found in '{folder}'")
        return path
