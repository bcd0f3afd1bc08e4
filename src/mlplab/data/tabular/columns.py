"""What each column of a table is: numbers, truth values, categories, dates, or text, which is
refused; and what its missing cells mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlplab.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

NUMBER, FLAG, CATEGORY, DATE, TEXT = "number", "boolean", "category", "date", "text"
MOST_CATEGORIES = 100
"""A column of words with more different ones than this, or than half of its rows, is text and no
category.
"""


@dataclass(frozen=True)
class Column:
    """A feature column: its name and kind."""

    name: str
    kind: str


def kind_of(values: pd.Series) -> str:
    """What a column holds, by its type and by how many different words there are."""
    from pandas.api import types

    if types.is_bool_dtype(values):
        return FLAG
    if values.isna().all():
        return NUMBER
    if types.is_numeric_dtype(values):
        if types.is_complex_dtype(values):
            raise DataError(
                f"The column '{values.name}' holds complex numbers, which no network here takes."
            )
        return NUMBER
    if types.is_datetime64_any_dtype(values) or _first_is_date(values):
        return DATE
    known = values.dropna()
    if len(known) and known.map(type).eq(bool).all():
        return FLAG
    distinct = known.nunique()
    return CATEGORY if distinct <= min(MOST_CATEGORIES, max(2, len(known) // 2)) else TEXT


def _first_is_date(values: pd.Series) -> bool:
    import datetime

    known = values.dropna()
    return len(known) > 0 and isinstance(known.iloc[0], datetime.date)


def feature_columns(
    frame: pd.DataFrame, names: Sequence[str], categories: Sequence[str], source: str
) -> list[Column]:
    """The feature columns with their kinds; `categories` are columns that are categories whatever
    they look like. Text is refused.
    """
    found = []
    for name in names:
        kind = CATEGORY if name in categories else kind_of(frame[name])
        if kind == TEXT:
            raise DataError(_text_refusal(frame[name], source))
        if kind == NUMBER:
            check_numbers(frame[name].to_numpy(np.float64, na_value=np.nan), name, source)
        found.append(Column(name, kind))
    return found


def _text_refusal(values: pd.Series, source: str) -> str:
    known = values.dropna()
    numeric = known.map(_number)
    if numeric.notna().mean() > 0.5:
        row = int(numeric.isna().to_numpy().argmax())
        count = int(numeric.isna().sum())
        place = known.index[row]
        return (
            f"{source}, column '{values.name}', row {place + 1}: '{known.iloc[row]}' is no number"
            f" ({count} such cell(s) in a column of numbers). Correct them, leave the column out"
            f" (dataset.ignore=[{values.name}]), or take it as words"
            f" (dataset.categories=[{values.name}])."
        )
    return (
        f"{source}, column '{values.name}': {known.nunique()} different texts in {len(known)} rows,"
        f" such as {str(known.iloc[0])[:40]!r}: text is not learnt from."
        f" {_if_identifier(values)}Leave it out (dataset.ignore=[{values.name}]), take it as words"
        f" (dataset.categories=[{values.name}]), or make numbers of it first."
    )


def _if_identifier(values: pd.Series) -> str:
    """A different text in each row names the row."""
    return (
        f"If it names the rows, say so (dataset.id_column={values.name}). "
        if values.nunique() == len(values)
        else ""
    )


def _number(value: Any) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


def check_numbers(values: np.ndarray, name: str, source: str) -> None:
    """Refuse infinite numbers, and those that are infinite in single precision. Missing ones are
    the encoder's business.
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


def choose(
    available: Sequence[str],
    wanted: Sequence[str] | None,
    ignored: Sequence[str],
    taken: Sequence[str],
    source: str,
) -> list[str]:
    """The names of the feature columns: those wanted, or all but the ignored ones and those with
    another role. Unknown names are refused.
    """
    for name in [*(wanted or ()), *ignored]:
        need(name, available, source)
    names = [name for name in wanted or available if name not in ignored and name not in taken]
    if not names:
        raise DataError(
            f"{source} leaves no feature column: it has {', '.join(available)}, of which"
            f" {', '.join([*taken, *ignored]) or 'none'} are taken or ignored."
        )
    return names


def need(name: str, available: Sequence[str], source: str, role: str = "column") -> None:
    """Refuse a name that no column has, with the nearest and all."""
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
