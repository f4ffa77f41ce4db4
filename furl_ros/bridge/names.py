# SPDX-License-Identifier: Apache-2.0
"""Before a graph starts: are its names taken in this ROS domain?"""

import os
import time
from collections.abc import Collection

from furl_interfaces.msg import TrainingStatus
from furl_ros.bridge.onlooker import Onlooker
from furl_ros.bridge.qos import LATCHED
from furl_ros.core.settings import SettingError

DISCOVERY_S = 3.5  # seconds; Fast DDS speaks up every three
GRACE_S = 2.0  # more, to hear where a graph that was found writes to


class NameWatch:
    """Looks at the ROS domain from now on; other work may be done until ``check``.

    What it misses on a very busy machine the learner finds out by itself, a few seconds later.

    Args:
        names: full names of the nodes that are to be started.
        status: full name of the topic training_status of the graph.
    """

    def __init__(self, names: Collection[str], status: str) -> None:
        self.names = set(names)
        self._since = time.monotonic()
        self._onlooker = Onlooker('furl_ros_launch')
        self._folders: set[str] = set()
        self._onlooker.node.create_subscription(
            TrainingStatus, status, lambda m: self._folders.add(m.run_folder), LATCHED
        )

    def check(self) -> None:
        """Look until the time is up, then let go of the domain.

        Raises:
            SettingError: some of the names are taken.
        """
        taken: list[str] = []
        try:
            end = self._since + DISCOVERY_S
            while time.monotonic() < end or (taken and not self._folders):
                self._onlooker.executor.spin_once(0.05)
                found = self._onlooker.node.get_node_names_and_namespaces()
                full = {f'{space.rstrip("/")}/{name}' for name, space in found}
                taken = sorted(full & self.names)
                if time.monotonic() > end + GRACE_S or (taken and self._folders):
                    break
        finally:
            self._onlooker.close()
        if taken:
            folders = ', '.join(sorted(self._folders - {''})) or 'nothing'
            raise SettingError(
                f'another graph has these names in ROS domain {os.environ.get("ROS_DOMAIN_ID", 0)}:'
                f' {", ".join(taken)} (it writes to {folders}); choose another domain'
                ' (ROS_DOMAIN_ID=<number>) or a namespace (namespace:=<name>)'
            )
