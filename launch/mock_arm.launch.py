# SPDX-License-Identifier: Apache-2.0
"""A stand-in for hardware: a UR5e with a gripper and a camera behind controller topics.

Every setting of the arm may be given as ``name:=value``, faults included: docs/mock_arm.md.
"""

import dataclasses
import os

from launch.actions import DeclareLaunchArgument, OpaqueFunction

from furl_ros.bridge import graph
from furl_ros.bridge.processes import (
    check_namespace,
    ending_at_once,
    ending_with_any,
    free_memory,
    in_namespace,
    node,
    watch_names,
)
from furl_ros.core.settings import accepted, from_mapping
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from sim.mock_arm.config import ArmConfig, CameraConfig, FaultConfig

KINDS = (ArmConfig, CameraConfig, FaultConfig)
FIELDS = {field.name: field for kind in KINDS for field in dataclasses.fields(kind)}


@ending_at_once()
def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Check all settings, then describe the node."""
    check_namespace(context)
    known = {name: field.default for name, field in FIELDS.items()}
    values = {
        name: graph.parse(name, text, known)
        for name, text in context.launch_configurations.items()
        if name not in ('namespace', 'ros_namespace')
    }
    for kind in KINDS:
        names = [field.name for field in dataclasses.fields(kind)]
        from_mapping(kind, {name: values[name] for name in names})
    watch_names(context, [('', 'mock_arm_node')]).check()
    arm = node('mock_arm_node', values | {'launch_pid': os.getpid()})
    return in_namespace(context, [*ending_with_any([arm]), arm])


def generate_launch_description() -> LaunchDescription:
    """Entry point of ``ros2 launch``."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(
                    name,
                    default_value=str(field.default),
                    description=f'{field.metadata["doc"]} Accepted: {accepted(field)}.',
                )
                for name, field in FIELDS.items()
            ),
            DeclareLaunchArgument(
                'namespace', default_value='', description='ROS namespace of the arm.'
            ),
            OpaqueFunction(function=free_memory),
            OpaqueFunction(function=start),
        ]
    )
