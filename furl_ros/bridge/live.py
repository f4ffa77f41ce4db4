# SPDX-License-Identifier: Apache-2.0
"""Parameters that may be changed while a node runs, and why the others may not."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.parameter import Parameter

from furl_ros.core.run import BOUND
from furl_ros.core.settings import SettingError, from_mapping

Values = dict[str, Any]
UNREPEATABLE = '{} cannot be changed with deterministic:=true: nothing would repeat the run'


def _accept(_: Values) -> None:
    """For a group whose values are all that has to be looked at."""


class Live:
    """The parameters of one node that may be changed, in groups.

    All in the executor's thread.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, type] = {}
        self._checks: list[tuple[set[str], Callable[[Values], None], Callable[[Values], None]]] = []

    def add(
        self,
        kind: type,
        change: Callable[[Values], None],
        check: Callable[[Values], None] = _accept,
    ) -> None:
        """Let the fields of a settings dataclass be changed that are declared as live.

        Args:
            kind: the dataclass.
            change: is given new values by name, once they are set; must not raise.
            check: is given them before; raises SettingError where they are not accepted.
        """
        names = {field.name for field in dataclasses.fields(kind) if field.metadata['live']}
        self._kinds |= dict.fromkeys(names, kind)
        self._checks.append((names, change, check))

    def refusal(self, parameters: Sequence[Parameter]) -> str:
        """Why these may not be set, in one line; '' when they may."""
        try:
            values = self._read(parameters)
            for names, _, check in self._checks:
                if mine := _of(values, names):
                    check(mine)
        except SettingError as error:
            return str(error)
        return ''

    def changed(self, parameters: Sequence[Parameter]) -> None:
        """These have been set."""
        values = self._read(parameters)
        for names, change, _ in self._checks:
            if mine := _of(values, names):
                change(mine)

    def _read(self, parameters: Sequence[Parameter]) -> Values:
        values = {}
        for parameter in parameters:
            name = parameter.name
            if name not in self._kinds:
                raise SettingError(why_fixed(name))
            # So that 1 stands for 1.0.
            values[name] = getattr(from_mapping(self._kinds[name], {name: parameter.value}), name)
        return values


def _of(values: Values, names: set[str]) -> Values:
    return {name: value for name, value in values.items() if name in names}


def why_fixed(name: str) -> str:
    """Why a parameter cannot be changed while its node runs, and what to do instead."""
    if name in BOUND:
        return (
            f'{name} is the same for a whole run: what was learned means nothing under another one;'
            f' start a new run with {name}:=<value>'
        )
    return (
        f'{name} is read at the start: end the node or its graph and start it again with'
        f' {name}:=<value> (a run goes on with resume:=<its folder>)'
    )
