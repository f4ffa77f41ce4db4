# SPDX-License-Identifier: Apache-2.0
"""Conditions that decide whether an action is executed."""

from __future__ import annotations

from ros2_pip.guard import not_in_subset

from .entity import SomeSubstitutionsType
from .launch_context import LaunchContext
from .substitutions import describe
from .utilities import normalize_to_list_of_substitutions, perform_substitutions

__all__ = ['Condition', 'IfCondition', 'InvalidConditionExpressionError', 'UnlessCondition']
__getattr__ = not_in_subset(__name__, __all__)


class InvalidConditionExpressionError(RuntimeError):
    """A condition's text is neither true nor false."""


class Condition:
    """Base class of conditions."""

    def describe(self) -> str:
        """Return a short text for people."""
        return type(self).__name__

    def evaluate(self, context: LaunchContext) -> bool:
        """Tell whether the condition holds in this context."""
        raise NotImplementedError


class IfCondition(Condition):
    """Holds where the text is 'true' or '1' (in any case), not where it is 'false' or '0'."""

    def __init__(self, predicate_expression: SomeSubstitutionsType) -> None:
        self._expression = normalize_to_list_of_substitutions(predicate_expression)

    def describe(self) -> str:
        """Return the expression."""
        return f'{type(self).__name__}({describe(self._expression)})'

    def evaluate(self, context: LaunchContext) -> bool:
        """Evaluate the expression.

        Raises:
            InvalidConditionExpressionError: the text is none of the four.
        """
        text = perform_substitutions(context, self._expression).strip().lower()
        if text in ('true', '1'):
            return True
        if text in ('false', '0'):
            return False
        raise InvalidConditionExpressionError(
            f"condition {self.describe()} evaluates to '{text}'; accepted: true, 1, false, 0"
        )


class UnlessCondition(IfCondition):
    """Holds where an IfCondition would not."""

    def evaluate(self, context: LaunchContext) -> bool:
        """Evaluate the expression and negate it."""
        return not super().evaluate(context)
