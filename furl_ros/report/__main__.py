# SPDX-License-Identifier: Apache-2.0
"""python -m furl_ros.report"""

import sys

from furl_ros.report.command import main

sys.exit(main())
