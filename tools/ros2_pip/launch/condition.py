# SPDX-License-Identifier: Apache-2.0
"""The public place of `Condition` in the real package."""

from .conditions import Condition

__all__ = ['Condition']
