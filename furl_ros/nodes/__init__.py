# SPDX-License-Identifier: Apache-2.0
"""The executables: parameters, topics and timers around the cores."""
