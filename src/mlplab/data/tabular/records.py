"""Rows that are passed as mappings from the names of columns to cells, as JSON has them.

Shapes: N rows, F columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlplab.data.tabular.cells import map_numbers, plain_number
from mlplab.data.tabular.number_columns import NumberBatch
from mlplab.errors import DataError


@dataclass(frozen=True)
class Records:
    """The cells of each column, [N] each. A key that a row lacks is a missing cell."""

    cells: Mapping[str, list[Any]]
    num_rows: int

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.cells)

    def __len__(self) -> int:
        return self.num_rows

    def __getitem__(self, name: str) -> list[Any]:
        return self.cells[name]

    def plain_numbers(self, names: Sequence[str]) -> NumberBatch:
        """Return those of these columns in which no cell is anything but missing or a number."""
        parsed = {name: map_numbers(self.cells[name], plain_number) for name in names}
        plain = {name: numbers_N for name, (numbers_N, wrong) in parsed.items() if not wrong}
        x_FN = np.array(list(plain.values()), np.float64)
        return list(plain), x_FN.reshape(len(plain), len(self)).T


def as_records(values: Any, source: str = "x") -> Records | None:
    """Return mappings as rows: one mapping of cells, a list of them, or one mapping of columns;
    None for anything else.

    Raises DataError if the columns of a mapping have different lengths, or a list holds mappings
    and other things.
    """
    if isinstance(values, Mapping):
        columns = {name: cells for name, cells in values.items() if _is_column(cells)}
        if not columns:
            return Records({str(name): [cell] for name, cell in values.items()}, 1)
        lengths = {str(n): len(cells) if n in columns else 1 for n, cells in values.items()}
        if len(columns) < len(values) or len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise DataError(f"{source}: the columns have different numbers of cells: {shown}.")
        lists = {str(name): list(cells) for name, cells in values.items()}
        return Records(lists, next(iter(lengths.values())))
    if not isinstance(values, (list, tuple)) or not values or not isinstance(values[0], Mapping):
        return None
    for row, record in enumerate(values, 1):
        if not isinstance(record, Mapping):
            raise DataError(
                f"{source}, row {row}: a {type(record).__name__} among rows that are mappings from"
                " names of columns to cells."
            )
    names = dict.fromkeys(name for record in values for name in record)
    return Records({str(n): [record.get(n) for record in values] for n in names}, len(values))


def _is_column(cells: object) -> bool:
    if cells is None or isinstance(cells, (str, float, int)):
        return False
    if isinstance(cells, np.ndarray):
        return cells.ndim > 0
    return (isinstance(cells, Sequence) and not isinstance(cells, str)) or hasattr(cells, "iloc")
