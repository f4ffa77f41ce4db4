# SPDX-License-Identifier: Apache-2.0
"""Between messages and arrays: conversions, joining by stamp, QoS profiles, parameters."""
