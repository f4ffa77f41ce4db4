# SPDX-License-Identifier: Apache-2.0
"""Installs the stand-in, described by pyproject.toml, where the real ROS 2 tools are not."""

import os
import sys
from pathlib import Path

from setuptools import setup

sys.path.insert(0, str(Path(__file__).resolve().parent))

from ros2_pip.guard import find_real_ros2

python_path = os.environ.get('PYTHONPATH', '').split(os.pathsep)
real = find_real_ros2([*sys.path, *filter(None, python_path)])
if real is not None:
    sys.exit(f'furl-ros2-pip is not for machines with the real ROS 2 tools, which are in {real}')

setup()
