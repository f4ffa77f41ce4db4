# SPDX-License-Identifier: Apache-2.0
"""The public place of `SomeSubstitutionsType` in the real package."""

from .entity import SomeSubstitutionsType

__all__ = ['SomeSubstitutionsType']
