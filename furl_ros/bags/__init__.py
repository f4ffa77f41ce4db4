# SPDX-License-Identifier: Apache-2.0
"""Recordings (``ros2 bag``'s MCAP and sqlite files): written, read, scored, aligned with."""
