# SPDX-License-Identifier: Apache-2.0
"""Tables and pictures of finished runs, without ROS; docs/reports.md defines each figure."""
