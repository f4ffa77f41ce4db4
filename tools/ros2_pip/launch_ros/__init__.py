# SPDX-License-Identifier: Apache-2.0
"""Stand-in for the `launch_ros` package of ROS 2 where only pip is available: a subset of it."""

from ros2_pip.guard import not_in_subset, refuse_beside_real_ros2

refuse_beside_real_ros2()

from . import actions, descriptions, parameter_descriptions, substitutions  # noqa: E402

__all__ = ['actions', 'descriptions', 'parameter_descriptions', 'substitutions']
__getattr__ = not_in_subset(__name__, __all__)
