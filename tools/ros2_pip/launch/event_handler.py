# SPDX-License-Identifier: Apache-2.0
"""The public place of `EventHandler` in the real package."""

from .event_handlers import EventHandler

__all__ = ['EventHandler']
