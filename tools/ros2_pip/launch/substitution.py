# SPDX-License-Identifier: Apache-2.0
"""The public place of `Substitution` in the real package."""

from .entity import Substitution

__all__ = ['Substitution']
