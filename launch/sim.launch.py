# SPDX-License-Identifier: Apache-2.0
"""One simulator of a graph that runs elsewhere: give it the same settings, and its index.

The graph is started with ``num_sims:=<all>`` and ``local_sims:=<those that it starts itself>``.
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

from furl_ros.bridge import graph
from furl_ros.bridge.processes import ending_with_any, simulator
from furl_ros.core.settings import SettingError
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

ARGUMENTS = {
    'task': 'As in the graph.',
    'method': 'As in the graph.',
    'goal': 'As in the graph.',
    'seed': 'As in the graph.',
    'num_sims': 'As in the graph: all its simulators.',
    'camera': 'As in the graph.',
    'image_size': 'As in the graph.',
    'quality': 'As in the graph.',
    'real_time': 'As in the graph.',
}
NOT_SETTINGS = ('index', 'params_file', 'ros_namespace')


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Check all settings, then describe the simulator."""
    given = {
        name: value
        for name, value in context.launch_configurations.items()
        if value != '' and name not in NOT_SETTINGS
    }
    values = graph.settings_of_run(given, context.launch_configurations['params_file'])
    text = context.launch_configurations['index']
    if not (text.isdecimal() and int(text) < values['num_sims']):
        raise SettingError(
            f'index is {text!r}; accepted: 0 to {values["num_sims"] - 1} with'
            f' num_sims:={values["num_sims"]}'
        )
    sim = simulator(values, int(text))
    return [*ending_with_any([sim]), sim]


def generate_launch_description() -> LaunchDescription:
    """Entry point of ``ros2 launch``."""
    default = graph.read_params_file(Path(__file__).parents[1] / 'config' / 'train.yaml')
    return LaunchDescription(
        [
            DeclareLaunchArgument('index', description='Which simulator of the graph, from 0.'),
            *(
                DeclareLaunchArgument(
                    name,
                    default_value='',
                    description=f'{doc} Empty: as in params_file ({default[name]!r} by default).'
                    if name in default
                    else doc,
                )
                for name, doc in ARGUMENTS.items()
            ),
            DeclareLaunchArgument(
                'params_file',
                default_value=PathJoinSubstitution(
                    [FindPackageShare('furl_ros'), 'config', 'train.yaml']
                ),
                description='ROS parameter file (/**: ros__parameters:), as in the graph.',
            ),
            OpaqueFunction(function=start),
        ]
    )
