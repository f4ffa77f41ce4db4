# SPDX-License-Identifier: Apache-2.0
"""The public place of `LaunchDescriptionEntity` in the real package."""

from .entity import LaunchDescriptionEntity

__all__ = ['LaunchDescriptionEntity']
