# SPDX-License-Identifier: Apache-2.0
"""What a launch description can do."""

from ros2_pip.guard import not_in_subset

from .arguments import DeclareLaunchArgument, SetEnvironmentVariable, SetLaunchConfiguration
from .control import (
    EmitEvent,
    GroupAction,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
    TimerAction,
)
from .execute_process import ExecuteProcess

__all__ = [
    'DeclareLaunchArgument',
    'EmitEvent',
    'ExecuteProcess',
    'GroupAction',
    'IncludeLaunchDescription',
    'LogInfo',
    'OpaqueFunction',
    'RegisterEventHandler',
    'SetEnvironmentVariable',
    'SetLaunchConfiguration',
    'Shutdown',
    'TimerAction',
]
__getattr__ = not_in_subset(__name__, __all__)
