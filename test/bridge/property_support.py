# SPDX-License-Identifier: Apache-2.0
"""How property-based tests are run."""

from hypothesis import HealthCheck, settings

# The same examples every time, few enough for a slow core.
few = settings(
    derandomize=True,
    database=None,
    max_examples=100,
    # A busy machine is no failure.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
