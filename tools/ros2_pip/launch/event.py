# SPDX-License-Identifier: Apache-2.0
"""The public place of `Event` in the real package."""

from .events import Event

__all__ = ['Event']
