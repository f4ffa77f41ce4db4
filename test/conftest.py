# SPDX-License-Identifier: Apache-2.0
"""Set before anything imports messages, torch or MuJoCo: they read these once."""

import os

os.environ['ROS_PYTHON_CHECK_FIELDS'] = '1'
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('MUJOCO_GL', 'egl')
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
