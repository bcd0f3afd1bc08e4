"""Refusals of cells, with their column, row and number.

Shapes: N rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mlplab.errors import DataError

MAX_NUMBER = float(np.finfo(np.float32).max)


def first_row(rows: object) -> int:
    """The number of the first row in its source, from 0: the index of a chunk of a file has it."""
    return int(getattr(getattr(rows, "index", None), "start", 0))


def check_numbers(values: np.ndarray, name: str, source: str, first: int = 0) -> None:
    """Raise DataError for numbers that are infinite, also in single precision.

    NaN passes: the encoder handles missing cells. `first` is the number of the first row in the
    source.
    """
    wrong = np.abs(values) > MAX_NUMBER
    if np.count_nonzero(wrong):
        row = int(wrong.argmax())
        what = (
            "is not finite"
            if np.isinf(values[row])
            else "is too large for single precision (3.4e38)"
        )
        raise DataError(
            f"{source}, column '{name}', row {first + row + 1}: {values[row]:g} {what};"
            f" {int(wrong.sum())} such cell(s). Correct them or leave the rows out."
        )


def refuse_cells(
    wrong_N: np.ndarray, cells_N: ArrayLike, where: str, expected: str, advice: str = ""
) -> None:
    """Raise DataError for the first cell that is wrong, if there is one: it is not `expected`."""
    if wrong_N.any():
        row = int(wrong_N.argmax())
        cell = np.asarray(cells_N, object)[row]
        raise DataError(
            f"{where}, row {first_row(cells_N) + row + 1}: '{cell}' is not {expected};"
            f" {int(wrong_N.sum())} such cell(s).{advice}"
        )


def refuse_empty_cells(missing_N: np.ndarray, where: str, advice: str, first: int = 0) -> None:
    """Raise DataError if a cell is missing. `first` is as in `check_numbers`."""
    if np.count_nonzero(missing_N):
        raise DataError(
            f"{where}, row {first + int(missing_N.argmax()) + 1}: the cell is empty"
            f" ({int(missing_N.sum())} of {len(missing_N)} cells are). {advice} Cells such as NA"
            " count as empty; dataset.na_values lists those that do."
        )


def refuse_missing_cells(missing_N: np.ndarray, name: str, source: str, first: int = 0) -> None:
    """Raise DataError if a cell of a feature column is empty. `first` is as in `check_numbers`."""
    refuse_empty_cells(
        missing_N,
        f"{source}, column '{name}'",
        "dataset.missing=impute fills them in, dataset.missing=drop leaves the rows out, and"
        f" dataset.ignore=[{name}] leaves the column out.",
        first,
    )
