"""Classify the columns of a table: numbers, booleans, categories, dates, or text.

Text is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from types import MappingProxyType

import numpy as np

from mlplab.data.table import Cells, DataFrame, Floats, Series
from mlplab.data.tabular.cell_errors import MAX_NUMBER, check_numbers, refuse_cells
from mlplab.data.tabular.cells import are_dates, parse_booleans, parse_numbers
from mlplab.data.tabular.number_columns import batches, plain_number_columns
from mlplab.data.tabular.number_formats import NumberFormat, mixed_notations, parse_formatted
from mlplab.data.tabular.sniffing import parse_number
from mlplab.data.tabular.table_options import TabularDataset
from mlplab.errors import DataError

NUMBER, BOOLEAN, CATEGORY, DATE, TEXT = "number", "boolean", "category", "date", "text"
MAX_CATEGORIES = 100
"""A column of strings with more distinct values than this, or than half of its rows, is text."""
MAX_EMBEDDED_CATEGORIES = 5000
"""The same where the network learns a vector for each category."""


@dataclass(frozen=True)
class Column:
    """A feature column: its name, its kind, and how its numbers are written, if not plainly."""

    name: str
    kind: str
    number_format: NumberFormat | None = None


def kind_of(
    values: Series, date_format: str | None = None, max_categories: int = MAX_CATEGORIES
) -> str:
    """Return the kind of a column, from its type and its number of distinct values.

    Strings are dates if all of them are written as in ISO 8601, or in `date_format`. Raises
    DataError for complex numbers, durations, lists and the like.
    """
    from pandas.api import types

    if types.is_bool_dtype(values):
        return BOOLEAN
    present = values.dropna()
    if present.empty:
        return NUMBER
    if types.is_complex_dtype(values):
        raise _unsupported(values, "complex numbers")
    if types.is_numeric_dtype(values):
        return NUMBER
    cell_types = set(map(type, present))
    if cell_types == {bool}:
        return BOOLEAN
    if all(issubclass(cell_type, Number) for cell_type in cell_types):
        return NUMBER  # such as decimals of a database
    if are_dates(present, date_format):
        return DATE
    if types.is_timedelta64_dtype(values):
        raise _unsupported(values, "durations, not numbers of seconds")
    for cell_type in cell_types:
        if cell_type.__hash__ is None:
            raise _unsupported(values, f"cells of type {cell_type.__name__}")
    most = min(max_categories, max(2, len(present) // 2))
    return CATEGORY if present.nunique() <= most else TEXT


def parse_quantities(
    values: Cells, kind: str, where: str, form: NumberFormat | None = None
) -> Floats:
    """Return the cells of a column of numbers or booleans as float64 [N], NaN if missing.

    `form` is how the numbers are written, if not plainly. Raises DataError for a cell that is not
    one.
    """
    if form is not None and (isinstance(values, list) or values.dtype.kind not in "biuf"):
        numbers_N, wrong = parse_formatted(values, form)
        if wrong:
            wrong_N = np.isin(np.arange(len(values)), wrong)
            refuse_cells(wrong_N, values, where, f"a number like those of the training ({form})")
        return numbers_N
    return (parse_booleans if kind == BOOLEAN else parse_numbers)(values, where)


def _unsupported(values: Series, what: str) -> DataError:
    return DataError(
        f"The column '{values.name}' holds {what}, which cannot be learned from. Leave it out with"
        f" dataset.ignore=[{values.name}]."
    )


def feature_columns(
    frame: DataFrame,
    names: Sequence[str],
    dataset: TabularDataset,
    source: str,
    formats: Mapping[str, NumberFormat] = MappingProxyType({}),
) -> list[Column]:
    """Return the feature columns with their kinds.

    Args:
        frame: the rows.
        names: the names of the feature columns.
        dataset: which columns are categories or numbers regardless of their content, and how dates
            are written.
        source: the name of the file, for messages.
        formats: how the numbers of columns were written that were not plain.

    Raises:
        DataError: if columns are text or have numbers that are infinite or too large. All columns
            that are refused are listed.
    """
    columns: list[Column] = []
    refusals: dict[str, str] = {}
    embeds = dataset.encode in ("embed", "auto")
    most = MAX_EMBEDDED_CATEGORIES if embeds else MAX_CATEGORIES
    numbers = _sound_numbers(frame, [name for name in names if name not in dataset.categories])
    for name in names:
        if name in numbers:
            columns.append(Column(name, NUMBER, formats.get(name)))
            continue
        try:
            kind = _configured_kind(name, dataset) or kind_of(
                frame[name], dataset.date_format, most
            )
            refusal = _refusal(frame[name], kind, source) if name not in dataset.categories else ""
            if refusal:
                raise DataError(refusal)
            if kind == NUMBER:
                numbers_N = parse_numbers(frame[name], f"{source}, column '{name}'")
                check_numbers(numbers_N, name, source)
        except DataError as error:
            refusals[name] = str(error)
            continue
        columns.append(Column(name, kind, formats.get(name)))
    if len(refusals) > 1:
        names_refused = ",".join(refusals)
        together = f"All of these columns are left out with dataset.ignore=[{names_refused}]."
        raise DataError("\n".join([*refusals.values(), together]))
    if refusals:
        raise DataError(next(iter(refusals.values())))
    return columns


def _sound_numbers(frame: DataFrame, names: Sequence[str]) -> set[str]:
    """Return the columns of plain numbers of which none is infinite or too large."""
    return {
        name
        for batch, x_NF in batches(frame, plain_number_columns(frame, names))
        for name, is_large in zip(
            batch, np.any(np.abs(x_NF) > MAX_NUMBER, axis=0).tolist(), strict=True
        )
        if not is_large
    }


def _refusal(values: Series, kind: str, source: str) -> str:
    """Return why a column is refused that is classified by its cells; empty if it is not."""
    if kind == TEXT:
        return _text_message(values, source)
    pair = mixed_notations(values) if kind == CATEGORY else None
    return _mixed_message(values, pair, source) if pair else ""


def _mixed_message(values: Series, pair: tuple[str, str], source: str) -> str:
    return (
        f"{source}, column '{values.name}': '{pair[0]}' has a decimal comma and '{pair[1]}' a"
        " decimal point. Write all numbers of the column alike, leave it out"
        f" (dataset.ignore=[{values.name}]), or treat it as categories"
        f" (dataset.categories=[{values.name}])."
    )


def _configured_kind(name: str, dataset: TabularDataset) -> str | None:
    if name in dataset.categories:
        return CATEGORY
    return NUMBER if name in dataset.numbers else None


def _text_message(values: Series, source: str) -> str:
    present = values.dropna()
    numeric = present.map(str).map(parse_number)
    if numeric.notna().mean() > 0.5:
        row = int(numeric.isna().to_numpy().argmax())
        return (
            f"{source}, column '{values.name}', row {present.index[row] + 1}:"
            f" '{present.iloc[row]}' is not a number ({numeric.isna().sum()} such cell(s) in a"
            f" column of numbers). Correct them, count them as empty cells"
            f" (dataset.na_values=['{present.iloc[row]}']), leave the column out"
            f" (dataset.ignore=[{values.name}]), or treat it as categories"
            f" (dataset.categories=[{values.name}])."
        )
    if pair := mixed_notations(values):
        return _mixed_message(values, pair, source)
    hint = f"If it identifies the rows, set dataset.id_column={values.name}. "
    if advice := _advice_on_text(str(present.iloc[0]).strip()):
        hint = advice
    return (
        f"{source}, column '{values.name}': {present.nunique()} different strings in"
        f" {len(present)} rows, such as {str(present.iloc[0])[:40]!r}; text cannot be learned from."
        f" {hint if advice or values.nunique() == len(values) else ''}Leave it out"
        f" (dataset.ignore=[{values.name}]), treat it as categories"
        f" (dataset.categories=[{values.name}]), or convert it to numbers first."
    )


def _advice_on_text(cell: str) -> str:
    """Return a sentence about cells that look like numbers or dates in another notation."""
    if re.fullmatch(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}( .*)?|\d{1,2} \w{3,9} \d{4}", cell):
        return (
            "These look like dates: write them as 2020-05-13, or name their format, such as"
            " dataset.date_format=%d/%m/%Y. "
        )
    if re.fullmatch(r"[^\w\s]?\s?[-\u2212]?\d{1,3}([,.' ]\d{3})*([.,]\d+)?\s?[^\w\s]?", cell):
        return (
            "These look like numbers with thousands separators, a sign or a unit: write plain"
            " numbers, such as 1234.5. "
        )
    return ""


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
    if all(re.fullmatch(r"x\d+", column) for column in available):
        hint += " If the first line names the columns, set dataset.header=yes."
    raise DataError(f"{source} has no {role} '{name}'.{hint} Columns: {shown}.")
