# SPDX-License-Identifier: Apache-2.0
"""What people are shown of a run: pictures and scenes, without ROS."""
