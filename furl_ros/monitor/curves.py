# SPDX-License-Identifier: Apache-2.0
"""Figures over environment steps, as many as can be drawn."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

MOST_ROWS = 600


class Curves:
    """Rows of figures, thinned out evenly when they become too many; the newest is always there.

    Args:
        names: of the figures; each row has all of them (NaN where one is missing).
        most: rows that are kept, at least 2.
    """

    def __init__(self, names: Sequence[str], most: int = MOST_ROWS) -> None:
        self.names, self.most = tuple(names), most
        self.clear()

    def __len__(self) -> int:
        return len(self._rows)

    def clear(self) -> None:
        """Forget all rows: another run begins."""
        self._rows: list[tuple[float, ...]] = []
        self._spacing = 0.0  # steps between two rows that are kept

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Add a row, or replace the newest one while that is too near to the one before.

        A step before the newest one means that the run was resumed: what lay after it goes.
        """
        while self._rows and self._rows[-1][0] >= step:
            self._rows.pop()
        row = (float(step), *(float(figures.get(name, math.nan)) for name in self.names))
        if len(self._rows) > 1 and step - self._rows[-2][0] < self._spacing:
            self._rows.pop()
        self._rows.append(row)
        if len(self._rows) > self.most:
            self._spacing = max(2 * self._spacing, 2 * (step - self._rows[0][0]) / self.most)
            self._rows = [*self._rows[:-1:2], row]

    def columns(self, *names: str) -> tuple[np.ndarray, ...]:
        """The steps and these figures, each [rows] float64."""
        table = np.array(self._rows, np.float64).reshape(-1, 1 + len(self.names)).T
        return (table[0], *(table[1 + self.names.index(name)] for name in names))

    def read(self, path: Path, columns: Mapping[str, str]) -> None:
        """Add the rows of a run's CSV file; rows that cannot be read are left out.

        Args:
            path: of the file, with a column ``total_steps``.
            columns: name of the column of each figure.

        Raises:
            OSError: there is no such file.
        """
        with open(path, newline='') as file:
            for row in csv.DictReader(file):
                try:
                    step = int(row['total_steps'])
                    figures = {n: float(row.get(c) or math.nan) for n, c in columns.items()}
                except (KeyError, TypeError, ValueError):
                    continue
                self.add(step, figures)
