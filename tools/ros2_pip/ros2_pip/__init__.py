# SPDX-License-Identifier: Apache-2.0
"""The `ros2` command for machines where ROS 2 comes from pip, which lacks ros2cli and launch."""
