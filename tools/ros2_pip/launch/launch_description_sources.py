# SPDX-License-Identifier: Apache-2.0
"""Where launch descriptions come from."""

from __future__ import annotations

import traceback
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import TYPE_CHECKING

from ros2_pip.guard import not_in_subset

from . import logging
from .entity import SomeSubstitutionsType
from .launch_context import LaunchContext
from .utilities import normalize_to_list_of_substitutions, perform_substitutions

if TYPE_CHECKING:
    from .launch_description import LaunchDescription

__all__ = [
    'AnyLaunchDescriptionSource',
    'InvalidLaunchFileError',
    'LaunchDescriptionSource',
    'PythonLaunchDescriptionSource',
]
__getattr__ = not_in_subset(__name__, __all__)


class InvalidLaunchFileError(RuntimeError):
    """A launch file cannot be loaded."""


def load_python_launch_file(path: str) -> LaunchDescription:
    """Return what the file's `generate_launch_description()` returns.

    Raises:
        InvalidLaunchFileError: the file is missing, not Python, fails, or lacks the function.
    """
    if not Path(path).is_file():
        raise InvalidLaunchFileError(f"launch file '{path}' does not exist")
    if Path(path).suffix in ('.xml', '.yaml', '.yml'):
        raise InvalidLaunchFileError(
            f"launch file '{path}': the furl_ros stand-in for ROS 2 reads Python launch files only"
        )
    spec = spec_from_loader('python_launch_file', SourceFileLoader('python_launch_file', path))
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        generate = getattr(module, 'generate_launch_description', None)
        if generate is None:
            raise InvalidLaunchFileError('it has no function generate_launch_description()')
        return generate()
    except Exception as error:
        logging.get_logger('launch').debug(traceback.format_exc())
        raise InvalidLaunchFileError(
            f"launch file '{path}' cannot be loaded: {type(error).__name__}: {error}"
        ) from error


class LaunchDescriptionSource:
    """A launch description that is there already."""

    def __init__(
        self,
        launch_description: LaunchDescription | None = None,
        location: SomeSubstitutionsType = '<script>',
    ) -> None:
        self._launch_description = launch_description
        self._location = normalize_to_list_of_substitutions(location)
        self.location = ''.join(sub.describe() for sub in self._location)

    def try_get_launch_description_without_context(self) -> LaunchDescription | None:
        """Return the launch description if that does not take a running launch, else None."""
        try:
            return self.get_launch_description(LaunchContext())
        except Exception as error:
            logging.get_logger('launch').debug(f'{self.location} is not known yet: {error}')
            return None

    def get_launch_description(self, context: LaunchContext) -> LaunchDescription:
        """Return the launch description, loading it if necessary."""
        self.location = perform_substitutions(context, self._location)
        if self._launch_description is None:
            self._launch_description = self._load(self.location)
        return self._launch_description

    def _load(self, location: str) -> LaunchDescription:
        raise InvalidLaunchFileError(f'there is no launch description at {location}')


class PythonLaunchDescriptionSource(LaunchDescriptionSource):
    """A Python launch file."""

    def __init__(self, launch_file_path: SomeSubstitutionsType) -> None:
        super().__init__(None, launch_file_path)

    def _load(self, location: str) -> LaunchDescription:
        return load_python_launch_file(location)


class AnyLaunchDescriptionSource(PythonLaunchDescriptionSource):
    """A launch file; the stand-in reads only Python ones."""
