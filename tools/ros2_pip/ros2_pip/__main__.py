# SPDX-License-Identifier: Apache-2.0
"""`python -m ros2_pip` is the `ros2` command."""

import sys

from .cli import main

sys.exit(main())
