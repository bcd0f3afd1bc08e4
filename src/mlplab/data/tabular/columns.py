"""Classify the columns of a table: numbers, booleans, categories, dates, or text.

Text is refused.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mlplab.data.table import DataFrame, Series
from mlplab.data.tabular.sniffing import parse_number
from mlplab.errors import DataError

NUMBER, BOOLEAN, CATEGORY, DATE, TEXT = "number", "boolean", "category", "date", "text"
MAX_CATEGORIES = 100
"""A column of strings with more distinct values than this, or than half of its rows, is text."""


@dataclass(frozen=True)
class Column:
    """A feature column: its name and kind."""

    name: str
    kind: str


def kind_of(values: Series) -> str:
    """Return the kind of a column, from its type and its number of distinct values.

    Raises DataError for complex numbers.
    """
    from pandas.api import types

    if types.is_bool_dtype(values):
        return BOOLEAN
    present = values.dropna()
    if present.empty:
        return NUMBER
    if types.is_numeric_dtype(values):
        if types.is_complex_dtype(values):
            raise DataError(
                f"The column '{values.name}' holds complex numbers, which are not supported."
            )
        return NUMBER
    if types.is_datetime64_any_dtype(values) or isinstance(present.iloc[0], datetime.date):
        return DATE
    if present.map(type).eq(bool).all():
        return BOOLEAN
    max_categories = min(MAX_CATEGORIES, max(2, len(present) // 2))
    return CATEGORY if present.nunique() <= max_categories else TEXT


def feature_columns(
    frame: DataFrame, names: Sequence[str], categories: Sequence[str], source: str
) -> list[Column]:
    """Return the feature columns with their kinds.

    Args:
        frame: the rows.
        names: the names of the feature columns.
        categories: the names of columns to treat as categories regardless of their content.
        source: the name of the file, for messages.

    Raises:
        DataError: if a column is text or has numbers that are infinite or too large.
    """
    columns = []
    for name in names:
        kind = CATEGORY if name in categories else kind_of(frame[name])
        if kind == TEXT:
            raise DataError(_text_message(frame[name], source))
        if kind == NUMBER:
            check_numbers(frame[name].to_numpy(np.float64, na_value=np.nan), name, source)
        columns.append(Column(name, kind))
    return columns


def _text_message(values: Series, source: str) -> str:
    present = values.dropna()
    numeric = present.map(str).map(parse_number)
    if numeric.notna().mean() > 0.5:
        row = int(numeric.isna().to_numpy().argmax())
        return (
            f"{source}, column '{values.name}', row {present.index[row] + 1}:"
            f" '{present.iloc[row]}' is not a number ({numeric.isna().sum()} such cell(s) in a"
            f" column of numbers). Correct them, leave the column out"
            f" (dataset.ignore=[{values.name}]), or treat it as categories"
            f" (dataset.categories=[{values.name}])."
        )
    hint = f"If it identifies the rows, set dataset.id_column={values.name}. "
    return (
        f"{source}, column '{values.name}': {present.nunique()} different strings in"
        f" {len(present)} rows, such as {str(present.iloc[0])[:40]!r}; text cannot be learned from."
        f" {hint if values.nunique() == len(values) else ''}Leave it out"
        f" (dataset.ignore=[{values.name}]), treat it as categories"
        f" (dataset.categories=[{values.name}]), or convert it to numbers first."
    )


def check_numbers(values: np.ndarray, name: str, source: str) -> None:
    """Raise DataError for numbers that are infinite, also in single precision.

    NaN passes: the encoder handles missing cells.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        wrong = np.isinf(values) | (np.abs(values) > np.finfo(np.float32).max)
    if wrong.any():
        row = int(wrong.argmax())
        what = (
            "is not finite"
            if np.isinf(values[row])
            else "is too large for single precision (3.4e38)"
        )
        raise DataError(
            f"{source}, column '{name}', row {row + 1}: {values[row]:g} {what}; {int(wrong.sum())}"
            " such cell(s). Correct them or leave the rows out."
        )


def refuse_cells(
    wrong_N: np.ndarray, cells_N: ArrayLike, where: str, expected: str, advice: str = ""
) -> None:
    """Raise DataError for the first cell that is wrong, if there is one: it is not `expected`."""
    if wrong_N.any():
        row = int(wrong_N.argmax())
        raise DataError(
            f"{where}, row {row + 1}: '{np.asarray(cells_N, object)[row]}' is not {expected};"
            f" {int(wrong_N.sum())} such cell(s).{advice}"
        )


def refuse_empty_cells(missing_N: np.ndarray, where: str, advice: str) -> None:
    """Raise DataError if a cell is missing."""
    if missing_N.any():
        raise DataError(
            f"{where}, row {int(missing_N.argmax()) + 1}: the cell is empty"
            f" ({int(missing_N.sum())} of {len(missing_N)} cells are). {advice}"
        )


def select_feature_names(
    available: Sequence[str],
    requested: Sequence[str] | None,
    ignored: Sequence[str],
    reserved: Sequence[str],
    source: str,
) -> list[str]:
    """Return the names of the feature columns.

    These are the requested columns, or all of them, without ignored columns and those reserved for
    another role. Raises DataError for unknown names, or if no column is left.
    """
    for name in [*(requested or ()), *ignored]:
        require_column(name, available, source)
    names = [
        name for name in requested or available if name not in ignored and name not in reserved
    ]
    if not names:
        raise DataError(
            f"{source} leaves no feature column: of its columns {', '.join(available)},"
            f" {', '.join([*reserved, *ignored]) or 'none'} are reserved or ignored."
        )
    return names


def require_column(name: str, available: Sequence[str], source: str, role: str = "column") -> None:
    """Raise DataError, with the nearest name and a list of all, unless the column exists."""
    if name in available:
        return
    import difflib

    lowered = {column.lower(): column for column in available}
    near = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    hint = f" Did you mean '{lowered[near[0]]}'?" if near else ""
    shown = ", ".join(available[:30]) + (
        f" and {len(available) - 30} more" if len(available) > 30 else ""
    )
    raise DataError(f"{source} has no {role} '{name}'.{hint} Columns: {shown}.")
