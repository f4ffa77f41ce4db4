# SPDX-License-Identifier: Apache-2.0
"""The public place of `Action` in the real package."""

from .entity import Action

__all__ = ['Action']
