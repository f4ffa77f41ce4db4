# SPDX-License-Identifier: Apache-2.0
"""A physical arm's side of the graph, without ROS: what a node beside the robot decides by."""
