# SPDX-License-Identifier: Apache-2.0
"""The other public place of the parameter descriptions."""

from ros2_pip.guard import not_in_subset

from .parameter_descriptions import ParameterFile, ParameterValue

__all__ = ['ParameterFile', 'ParameterValue']
__getattr__ = not_in_subset(__name__, __all__)
