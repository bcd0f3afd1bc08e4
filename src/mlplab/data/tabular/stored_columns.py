"""Columns of data passed from Python, in a form that a file without pickled objects can hold.

Shapes: N rows.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from mlplab.data.table import Floats, Ints
from mlplab.data.tabular.cells import category_text
from mlplab.data.tabular.columns import BOOLEAN, CATEGORY, DATE, NUMBER, TEXT
from mlplab.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_KIND_OF_TYPE: tuple[tuple[str, tuple[type, ...]], ...] = (
    (BOOLEAN, (bool, np.bool_)),
    (NUMBER, (Real, Decimal)),
    (TEXT, (str,)),
    (DATE, (datetime.date, np.datetime64)),
)
"""Kind of a cell -> its types; the first match counts, since a bool is a number, too."""

_EMPTY_TYPES = ("NoneType", "NAType", "NaTType")


@dataclass(frozen=True, eq=False)
class StoredColumn:
    """The cells of one column.

    Attributes:
        kind: number, boolean, date, text or category.
        values: [N]; numbers, or int64 microseconds since 1970-01-01 (date, NaT if empty), or codes
            (the others, -1 if empty).
        strings: the distinct strings that the codes of a text or a category stand for.
    """

    kind: str
    values: np.ndarray
    strings: tuple[str, ...] = ()

    def to_series(self) -> pd.Series:
        """Return the column as pandas has it when a file is read; an empty cell is missing."""
        import pandas as pd

        is_complete = self.kind == BOOLEAN and not self.empty().any()
        return pd.Series(self.values == 1 if is_complete else self.cells())

    def cells(self) -> np.ndarray:
        """Return the cells [N] as numbers, dates, or objects, which are None if empty."""
        if self.kind == NUMBER:
            return self.values
        if self.kind == DATE:
            return self.values.view("datetime64[us]")
        distinct = (False, True) if self.kind == BOOLEAN else self.strings
        cells_N: np.ndarray = np.array([*distinct, None], dtype=object)[self.values]
        return cells_N

    def empty(self) -> np.ndarray:
        """Return which cells are empty, bool [N]."""
        has_nan = self.kind in (NUMBER, DATE)
        return np.asarray(np.isnan(self.cells()) if has_nan else self.values < 0)

    def as_numbers(self, where: str, advice: str = "") -> Floats:
        """Return numbers or booleans as float64 [N], NaN if empty. Raises DataError for others."""
        if self.kind not in (NUMBER, BOOLEAN):
            raise DataError(
                f"{where} must be numbers, but its cells are of the kind {self.kind}.{advice}"
            )
        values_N = self.values.astype(np.float64)
        return np.where(values_N < 0, np.nan, values_N) if self.kind == BOOLEAN else values_N

    def factorize(self) -> tuple[Ints, list[object]]:
        """Return the code of each cell, int64 [N], and the distinct cells. No cell may be empty."""
        distinct, code_N = np.unique(self.values, return_inverse=True)
        return code_N.astype(np.int64), list(replace(self, values=distinct).cells())


def store_array(values: np.ndarray, where: str) -> StoredColumn:
    """Return the column of a one-dimensional array; `where` names it in messages.

    Raises DataError for cells of several types, or of a type that cannot be learned from.
    """
    if values.dtype.kind in "iuf":
        return StoredColumn(NUMBER, numbers(values))
    if values.dtype.kind == "b":
        return StoredColumn(BOOLEAN, values.astype(np.int8))
    if values.dtype.kind == "M":
        return StoredColumn(DATE, values.astype("datetime64[us]").view(np.int64))
    if values.dtype.kind not in "UOT":
        raise _unsupported(where, values.dtype)
    return _store_cells(values.tolist(), where)


def store_series(values: pd.Series, where: str) -> StoredColumn:
    """Return the column of a pandas series. Raises DataError as `store_array` does."""
    import pandas as pd
    from pandas.api import types

    if isinstance(values.dtype, pd.CategoricalDtype):
        names = [category_text(value) for value in values.cat.categories]
        distinct = tuple(dict.fromkeys(names))
        codes = np.array([*map(distinct.index, names), -1], np.int32)
        return StoredColumn(CATEGORY, codes[values.cat.codes.to_numpy()], distinct)
    missing = values.isna().to_numpy()
    if types.is_bool_dtype(values.dtype):
        flags_N = values.fillna(False).to_numpy(bool)
        return StoredColumn(BOOLEAN, np.where(missing, -1, flags_N).astype(np.int8))
    if types.is_complex_dtype(values.dtype):
        raise _unsupported(where, values.dtype)
    if types.is_numeric_dtype(values.dtype):
        has_gaps = missing.any() and not isinstance(values.dtype, np.dtype)
        cells = values.to_numpy(np.float64, na_value=np.nan) if has_gaps else values.to_numpy()
        return StoredColumn(NUMBER, numbers(np.asarray(cells)))
    if types.is_datetime64_any_dtype(values.dtype):
        return store_array(values.dt.tz_localize(None).to_numpy("datetime64[us]"), where)
    return _store_cells(values.astype(object).where(~missing, None).tolist(), where)


def numbers(values: np.ndarray) -> np.ndarray:
    """Return a copy in the byte order of this machine, and in at most double precision."""
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        return values.astype(np.float64)
    return np.array(values, values.dtype.newbyteorder("="), order="C")


def _store_cells(cells: Sequence[Any], where: str) -> StoredColumn:
    cells = [None if _is_empty(cell) else cell for cell in cells]
    present = [cell for cell in cells if cell is not None]
    first_of_type: dict[type, Any] = {}
    for cell in present:
        first_of_type.setdefault(type(cell), cell)
    first_of_kind: dict[str, Any] = {}
    for cell in first_of_type.values():
        kind = next((kind for kind, types in _KIND_OF_TYPE if isinstance(cell, types)), None)
        if kind is None:
            raise _unsupported(where, type(cell).__name__)
        first_of_kind.setdefault(kind, cell)
    if len(first_of_kind) > 1:
        examples = " and ".join(f"{cell!r} ({kind})" for kind, cell in first_of_kind.items())
        raise DataError(
            f"{where} has cells of several types, such as {examples}. Convert them to one type, for"
            " example all to strings."
        )
    kind = next(iter(first_of_kind), NUMBER)
    if kind == NUMBER:
        return StoredColumn(
            NUMBER, np.array([np.nan if c is None else float(c) for c in cells], np.float64)
        )
    if kind == DATE:
        dates = np.array([None if c is None else _naive(c) for c in cells], "datetime64[us]")
        return StoredColumn(DATE, dates.view(np.int64))
    if kind == BOOLEAN:
        return StoredColumn(
            BOOLEAN, np.array([-1 if c is None else int(c) for c in cells], np.int8)
        )
    code_of_string = {text: code for code, text in enumerate(dict.fromkeys(map(str, present)))}
    codes = [-1 if c is None else code_of_string[str(c)] for c in cells]
    return StoredColumn(TEXT, np.array(codes, np.int32), tuple(code_of_string))


def _is_empty(cell: Any) -> bool:
    return type(cell).__name__ in _EMPTY_TYPES or (
        isinstance(cell, (float, np.floating)) and cell != cell
    )


def _naive(date: Any) -> Any:
    """Return a date without its time zone: the local time counts, as in a file."""
    return date.replace(tzinfo=None) if getattr(date, "tzinfo", None) is not None else date


def _unsupported(where: str, kind: object) -> DataError:
    return DataError(
        f"{where} is of type {kind}, which cannot be learned from. Pass numbers, booleans, strings,"
        " categories or dates."
    )
