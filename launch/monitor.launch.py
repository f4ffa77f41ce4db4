# SPDX-License-Identifier: Apache-2.0
"""Look at a running graph: rviz and rqt, or a page in the browser.

Started beside the graph, in the same ROS domain and namespace; it may come late and go early.
"""

import os

from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)
from launch.actions import (
    DeclareLaunchArgument,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch_ros.actions import Node

from furl_ros.bridge import graph
from furl_ros.bridge.config import WebNodeConfig
from furl_ros.bridge.processes import (
    check_namespace,
    ending_at_once,
    ending_with_any,
    free_memory,
    in_namespace,
    node,
)
from furl_ros.core.settings import SettingError
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

RVIZ, WEB = 'rviz', 'web'
RQT = (
    'rqt_gui',
    'rqt_console',
    'rqt_image_view',
    'rqt_plot',
    'rqt_reconfigure',
    'rqt_runtime_monitor',
)
"""What config/furl.perspective needs."""

ARGUMENTS = {
    'source': ('', 'Namespace of the robot that is shown, sim0 for one; empty: a single one.'),
    'host': (WebNodeConfig.host, 'web: name or address to bind to; see docs/monitoring.md.'),
    'port': (WebNodeConfig.port, 'web: port of the page, or the first free one after it.'),
    'token': (WebNodeConfig.token, 'web: what a browser must know to open the page.'),
}


@ending_at_once()
def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Find out what there is to look with, then describe the processes."""
    check_namespace(context)
    typed = context.launch_configurations
    known = {name: default for name, (default, _) in ARGUMENTS.items()}
    values = {name: graph.parse(name, typed[name], known) for name in known}
    viewer = typed['viewer']
    if viewer not in (RVIZ, WEB):
        raise SettingError(f'viewer is {viewer!r}; accepted: {RVIZ}, {WEB}')
    shared = {'source': values['source'], 'launch_pid': os.getpid()}
    ours = [node('monitor_node', shared, niceness=10)]
    windows, missing = (
        _windows(typed['namespace'], values['source']) if viewer == RVIZ else ([], [])
    )
    said = []
    if missing:
        text = f'not here: {", ".join(missing)}; a page in the browser shows the same'
        said.append(LogInfo(msg=text))
    if missing or viewer == WEB:
        ours.append(node('web_node', values, shared, niceness=10))
    closing = [
        RegisterEventHandler(
            OnProcessExit(target_action=window, on_exit=[Shutdown(reason='window closed')])
        )
        for window in windows[:1]
    ]
    return [*closing, *windows, *in_namespace(context, [*said, *ending_with_any(ours), *ours])]


def _windows(namespace: str, source: str) -> tuple[list[Node], list[str]]:
    """The programs with windows that this machine has, and the names of what it lacks."""
    if not (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')):
        return [], ['a display']
    config = os.path.join(get_package_share_directory('furl_ros'), 'config')
    windows, missing = [], []
    if _has('rviz2'):
        outer = f'/{namespace.strip("/")}'.rstrip('/')
        inner = f'{outer}/{source}'.rstrip('/')
        windows.append(
            Node(
                package='rviz2',
                executable='rviz2',
                output='screen',
                arguments=['-d', os.path.join(config, 'furl.rviz')],
                remappings=[
                    ('/monitor/scene', f'{outer}/monitor/scene'),
                    ('/monitor/picture', f'{outer}/monitor/picture'),
                    ('/camera/image_raw', f'{inner}/camera/image_raw'),
                ],
            )
        )
    else:
        missing.append('rviz2')
    absent = [package for package in RQT if not _has(package)]
    if absent:
        missing += absent
    else:
        perspective = os.path.join(config, 'furl.perspective')
        windows.append(
            Node(
                package='rqt_gui',
                executable='rqt_gui',
                output='screen',
                arguments=['--perspective-file', perspective],
            )
        )
    return windows, missing


def _has(package: str) -> bool:
    """Whether a package is installed."""
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        return False
    return True


def generate_launch_description() -> LaunchDescription:
    """Entry point of ``ros2 launch``."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'viewer',
                default_value=RVIZ,
                description='rviz: rviz and rqt where they are installed, what is missing in the'
                ' browser; web: the browser.',
            ),
            *(
                DeclareLaunchArgument(name, default_value=str(default), description=doc)
                for name, (default, doc) in ARGUMENTS.items()
            ),
            DeclareLaunchArgument(
                'namespace', default_value='', description='ROS namespace of the graph.'
            ),
            OpaqueFunction(function=free_memory),
            OpaqueFunction(function=start),
        ]
    )
