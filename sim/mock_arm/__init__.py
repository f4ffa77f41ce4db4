# SPDX-License-Identifier: Apache-2.0
"""A stand-in for hardware without ROS: a UR5e with a gripper, a table, a block and a drawer.

It plays the robot, its driver and its controllers, and knows nothing of rewards or episodes.
"""
