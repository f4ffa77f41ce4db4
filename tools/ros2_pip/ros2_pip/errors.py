# SPDX-License-Identifier: Apache-2.0
"""Errors of the command line."""


class CommandError(RuntimeError):
    """A command cannot do what was asked; the text is one line for people."""
