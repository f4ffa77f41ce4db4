# SPDX-License-Identifier: Apache-2.0
"""What people see of a run, without ROS."""
