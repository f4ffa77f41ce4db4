# SPDX-License-Identifier: Apache-2.0
"""Names of the precisions of matrix products; their meaning is in ``furl_ros.core.products``."""

AUTO, FLOAT32, BFLOAT16 = 'auto', 'float32', 'bfloat16'
PRECISIONS = (AUTO, FLOAT32, BFLOAT16)
