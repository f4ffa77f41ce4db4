# SPDX-License-Identifier: Apache-2.0
"""The method without ROS: VLM scoring, reward heads, relay SAC. Nothing here imports rclpy."""
