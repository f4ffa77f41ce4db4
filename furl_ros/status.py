# SPDX-License-Identifier: Apache-2.0
"""Where the graphs of this ROS domain stand.

In a terminal the page goes on until Ctrl-C or the end of the graph; else, and with --once,
--json or --svg, it is told once. The exit code is 1 where no graph is found.
"""

import argparse
import io
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rich.console import Console, Group
from rich.live import Live

from furl_interfaces.msg import TrainingStatus
from furl_ros.bridge.onlooker import Onlooker
from furl_ros.bridge.qos import EVENTS, LATCHED
from furl_ros.monitor.standing import LEVELS, Health, as_json, page

STATUS = 'training_status'
KIND = 'furl_interfaces/msg/TrainingStatus'
FINDING_S = 3.0  # seconds in which every node of a busy machine is found
TELLING_S = 3.0  # seconds that one may take then to tell how it is
UNKNOWN = '_NODE_NAME_UNKNOWN_'  # so the middleware calls one that has gone, or only comes
SILENT_S = 5.0  # seconds without its status after which a graph has gone
SIGINT_CODE = 130
PICTURE_COLUMNS = 100
TOLD = [name for name in TrainingStatus.get_fields_and_field_types() if name != 'header']


class Domain:
    """Listens to all graphs of this ROS domain.

    Attributes:
        graphs: newest status by the namespace of the graph, and when it came (monotonic).
    """

    def __init__(self) -> None:
        self._onlooker = Onlooker('furl_ros_status')
        self._node = self._onlooker.node
        self.graphs: dict[str, tuple[TrainingStatus, float]] = {}
        self._heard: set[str] = set()
        self._health: dict[str, Health] = {}
        self._node.create_subscription(DiagnosticArray, '/diagnostics', self._on_health, EVENTS)

    def close(self) -> None:
        """Let go of the domain."""
        self._onlooker.close()

    def listen(self, seconds: float) -> None:
        """Take in what comes in the next seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for topic, kinds in self._node.get_topic_names_and_types():
                space, _, name = topic.rpartition('/')
                if name == STATUS and KIND in kinds and topic not in self._heard:
                    self._heard.add(topic)
                    self._node.create_subscription(
                        TrainingStatus, topic, lambda m, s=space: self._on_status(s, m), LATCHED
                    )
            self._onlooker.executor.spin_once(min(left, 0.1))

    @property
    def untold(self) -> set[str]:
        """Nodes with diagnostics of which nothing was heard yet."""
        writers = self._node.get_publishers_info_by_topic('/diagnostics')
        names = {f'{one.node_namespace.rstrip("/")}/{one.node_name}' for one in writers}
        return {name for name in names - self._health.keys() if UNKNOWN not in name}

    def health_of(self, space: str) -> list[Health]:
        """How the nodes of a graph are: those in its namespace, and in no other graph's."""
        inner = [other for other in self.graphs if other != space and other.startswith(space)]
        return [
            health
            for node, health in self._health.items()
            if node.startswith(f'{space}/') and not any(node.startswith(f'{i}/') for i in inner)
        ]

    def _on_status(self, space: str, message: TrainingStatus) -> None:
        self.graphs[space] = message, time.monotonic()

    def _on_health(self, message: DiagnosticArray) -> None:
        for status in message.status:
            level = int.from_bytes(status.level, 'little')
            name = f'/{status.name.lstrip("/")}'
            self._health[name] = Health(name, LEVELS[min(level, 3)], status.message)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='ros2 run furl_ros status', description=__doc__)
    parser.add_argument('--once', action='store_true', help='Tell it once, and end.')
    parser.add_argument('--json', action='store_true', help='Tell it once, as a JSON list.')
    parser.add_argument('--svg', type=Path, help='Write it to this file, once, as a picture.')
    parser.add_argument(
        '--wait', type=float, default=6.0, help='Seconds to look for a graph. Default: 6.'
    )
    return parser


def _pages(domain: Domain) -> Group:
    found = sorted(domain.graphs.items())
    return Group(*(page(status, domain.health_of(space)) for space, (status, _) in found))


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``ros2 run furl_ros status``; returns the exit code."""
    options = _parser().parse_args(argv)
    domain = Domain()
    try:
        end = time.monotonic() + options.wait
        while not domain.graphs and time.monotonic() < end:
            domain.listen(0.2)
        if not domain.graphs:
            where = os.environ.get('ROS_DOMAIN_ID', 0)
            print(f'no graph is running in ROS domain {where}', file=sys.stderr)
            return 1
        once = options.json or options.svg or options.once or not sys.stdout.isatty()
        if not once:
            _follow(domain)
            return 0
        domain.listen(FINDING_S)
        end = time.monotonic() + TELLING_S
        while domain.untold and time.monotonic() < end:
            domain.listen(0.2)
        if options.json:
            print(json.dumps([_told(domain, space) for space in sorted(domain.graphs)], indent=2))
        elif options.svg:
            console = Console(record=True, file=io.StringIO(), width=PICTURE_COLUMNS)
            console.print(_pages(domain))
            options.svg.write_text(_picture(console))
        else:
            Console().print(_pages(domain))
    except KeyboardInterrupt:
        return SIGINT_CODE
    finally:
        domain.close()
    return 0


def _picture(console: Console) -> str:
    """What was printed, as an SVG without the fonts from the web that rich would have it load."""
    text = console.export_svg(title='ros2 run furl_ros status')
    return re.sub(r'@font-face \{.*?\}\s*', '', text, flags=re.DOTALL)


def _told(domain: Domain, space: str) -> dict[str, Any]:
    status = domain.graphs[space][0]
    return {'namespace': space or '/'} | as_json(status, TOLD, domain.health_of(space))


def _follow(domain: Domain) -> None:
    """Show the page until the last graph has gone."""
    with Live(_pages(domain), auto_refresh=False) as live:
        while any(time.monotonic() < came + SILENT_S for _, came in domain.graphs.values()):
            domain.listen(1.0)
            live.update(_pages(domain), refresh=True)


if __name__ == '__main__':
    sys.exit(main())
