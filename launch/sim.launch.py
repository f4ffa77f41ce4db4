# SPDX-License-Identifier: Apache-2.0
"""One simulator of a graph that runs elsewhere: give it the same settings, and its index.

The graph is started with ``num_sims:=<all>`` and ``local_sims:=<those that it starts itself>``.
"""

import os

from launch.actions import DeclareLaunchArgument, OpaqueFunction

from furl_ros.bridge import graph
from furl_ros.bridge.processes import (
    arguments,
    ending_at_once,
    ending_with_any,
    free_memory,
    in_namespace,
    settings,
    simulator,
    watch_names,
)
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


@ending_at_once()
def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Check all settings, then describe the simulator."""
    values = settings(context, apart=('index',))
    text = context.launch_configurations['index']
    if not (text.isdecimal() and int(text) < values['num_sims']):
        raise SettingError(
            f'index is {text!r}; accepted: 0 to {values["num_sims"] - 1} with'
            f' num_sims:={values["num_sims"]}'
        )
    watch = watch_names(context, [(graph.sources_of(values['num_sims'])[int(text)], 'sim_node')])
    watch.check()
    # Without a run of its own it serves the first learner that asks.
    sim = simulator(values | {'launch_pid': os.getpid()}, int(text))
    return in_namespace(context, [*ending_with_any([sim]), sim])


def generate_launch_description() -> LaunchDescription:
    """Entry point of ``ros2 launch``."""
    return LaunchDescription(
        [
            DeclareLaunchArgument('index', description='Which simulator of the graph, from 0.'),
            *arguments(ARGUMENTS, __file__),
            OpaqueFunction(function=free_memory),
            OpaqueFunction(function=start),
        ]
    )
