# SPDX-License-Identifier: Apache-2.0
"""A ROS 2 graph in which a robot learns a manipulation task from one sentence (FuRL)."""
