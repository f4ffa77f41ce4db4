# SPDX-License-Identifier: Apache-2.0
"""What launch files describe, looked at without starting it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from ament_index_python.packages import get_package_share_directory
from launch.launch_description_sources import PythonLaunchDescriptionSource

from furl_ros.bridge import processes
from launch import LaunchContext, LaunchDescriptionEntity


def describe(file: str = 'train.launch.py', **arguments: Any) -> list[LaunchDescriptionEntity]:
    """What a launch file would have run with these arguments; nothing is started.

    Raises:
        SettingError: it refuses them.
    """
    path = Path(get_package_share_directory('furl_ros')) / 'launch' / file
    context = LaunchContext()
    context.launch_configurations.update({n: str(value) for n, value in arguments.items()})
    description = PythonLaunchDescriptionSource(str(path)).get_launch_description(context)
    return [made for entity in description.entities for made in entity.visit(context) or ()]


class Part(NamedTuple):
    """A node as a launch file describes it.

    Attributes:
        ends: whether the graph ends with it.
    """

    executable: str
    parameters: dict[str, Any]
    namespace: str
    remappings: tuple[tuple[str, str], ...]
    ends: bool = False

    @property
    def name(self) -> str:
        """Namespace and executable."""
        return f'{self.namespace}/{self.executable}'.lstrip('/')


def described(file: str, **arguments: Any) -> dict[str, Part]:
    """The nodes of a launch file with these arguments, by name; none of them is started.

    Raises:
        furl_ros.core.settings.SettingError: an argument is not accepted.
    """
    ending: list[Part] = []

    def record(
        executable: str,
        *parameters: dict,
        namespace: str = '',
        remappings: Sequence[tuple[str, str]] = (),
        **_: Any,
    ) -> Part:
        merged = {name: value for part in parameters for name, value in part.items()}
        return Part(executable, merged, namespace, tuple(remappings))

    words = {n: str(v).lower() if isinstance(v, bool) else v for n, v in arguments.items()}
    with (
        mock.patch.object(processes, 'node', record),
        mock.patch.object(processes, 'ending_with_any', lambda nodes: ending.extend(nodes) or []),
        # Nobody else is in the domains of tests.
        mock.patch.object(processes, 'watch_names'),
    ):
        found = describe(file, **words)
    parts = [part for part in found if isinstance(part, Part)]
    return {part.name: part._replace(ends=part in ending) for part in parts}
