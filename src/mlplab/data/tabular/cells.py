"""The meaning of a cell: one function per kind of column, which training, prediction, evaluation
and export share.

A cell is a string of a text file, or a value of a data frame. What it means depends only on the
kind of its column, which training determines and stores, and not on the other cells of the file.
Shapes: N rows.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from operator import attrgetter
from typing import Any

import numpy as np

from mlplab.data.table import Cells, Floats, Series
from mlplab.data.tabular.cell_errors import refuse_cells
from mlplab.data.tabular.sniffing import parse_number

_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*)([.][0-9]*)?")
"""A number that is not a code: without leading zeros and exponent."""
_MAX_DIGITS = 15
"""Decimal numbers of up to this many digits keep their value in double precision."""
_DATE = r"(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)\s?(Z|[+-]\d\d(?::?\d\d)?)?)?"
_ISO_DATE = re.compile(_DATE)
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?")
DATE_FIELDS: Mapping[str, Callable[[datetime.datetime], int]] = {
    "year": attrgetter("year"),
    "month": attrgetter("month"),
    "day": attrgetter("day"),
    "day_of_week": datetime.datetime.weekday,
    "hour": attrgetter("hour"),
}
"""The fields of a date that become features, by the names that pandas has for them."""
_FLAGS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}


def is_missing(cell: object) -> bool:
    """Return whether a cell is None, NaN, NaT or NA."""
    if cell is None:
        return True
    try:
        return bool(cell != cell)
    except TypeError:  # NA has no truth value
        return True
    except ValueError:  # an array
        return False


def map_cells(values: Cells, function: Callable[[Any], Any]) -> list[Any]:
    """Return what the function makes of each cell, [N]; equal strings are passed once."""
    if len(values) == 1:
        return [function(cell) for cell in values]
    known: dict[str, Any] = {}
    results = []
    for cell in values:
        if type(cell) is not str:
            results.append(function(cell))
        elif cell in known:
            results.append(known[cell])
        else:
            results.append(known.setdefault(cell, function(cell)))
    return results


def map_numbers(
    values: Cells, number_of: Callable[[Any], float | None]
) -> tuple[Floats, list[int]]:
    """Return the number that each cell stands for, float64 [N], NaN if it is missing, and the rows
    of the cells for which `number_of` returns None.
    """
    numbers = map_cells(values, lambda cell: np.nan if is_missing(cell) else number_of(cell))
    wrong = [row for row, n in enumerate(numbers) if n is None] if None in numbers else []
    return np.array(numbers, np.float64), wrong  # None becomes NaN


def category_text(value: object) -> str:
    """Return the canonical text of a category, which is the same however the cell is read.

    Numbers have no trailing zeros (3.0 and 3 are one category), codes with leading zeros stay as
    they are, booleans are True and False, and dates and times are written as in ISO 8601, with a
    space between them, in their own time zone and without a time at midnight.
    """
    if isinstance(value, str):
        return _canonical(value.strip())
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return str(int(number)) if number.is_integer() else repr(number)
    if isinstance(value, datetime.datetime):
        text = str(value.replace(tzinfo=None))
        return text.removesuffix(" 00:00:00")
    return _canonical(str(value))


def category_codes(categories: Sequence[str]) -> dict[str, int]:
    """Return the index of each category by its canonical text and by other usual ways to write it.

    Among them is a code without its leading zeros, which spreadsheets remove, unless it is another
    category.
    """
    codes = {category: i for i, category in enumerate(categories)}
    others: dict[str, int] = {}
    for i, category in enumerate(categories):
        for text in _other_spellings(category):
            others[text] = -1 if text in others else i  # ambiguous
    return codes | {text: i for text, i in others.items() if i >= 0 and text not in codes}


def _other_spellings(category: str) -> list[str]:
    if re.fullmatch(r"0+\d+", category):
        return [category.lstrip("0") or "0"]
    if re.fullmatch(r"-?(0|[1-9][0-9]*)", category):
        return [f"{category}.0"]
    if category in ("True", "False"):
        return [category.lower(), category.upper()]
    if re.fullmatch(r"\d{4}-\d\d-\d\d", category):
        return [f"{category} 00:00:00", f"{category}T00:00:00"]
    if _ISO_DATE.fullmatch(category):
        return [category.replace(" ", "T")]
    return [category.removesuffix(":00")] if _TIME.fullmatch(category) else []


def without_markers(values: Cells, markers: Sequence[str]) -> Cells:
    """Return the column with cells that are markers of a missing cell as missing.

    A number is a marker if a marker is the same number, such as -1 for -1.0.
    """
    texts, numbers = _marker_sets(tuple(markers))
    if isinstance(values, list):
        return [
            None if (isinstance(cell, str) and cell in texts) or _is_one_of(cell, numbers) else cell
            for cell in values
        ]
    if values.dtype.kind in "bcmM":
        return values
    if values.dtype.kind in "iuf":
        is_marker = values.isin(list(numbers)) if numbers else None
        return values if is_marker is None or not is_marker.any() else values.mask(is_marker)
    is_marker = values.isin(list(markers))
    if numbers:
        is_marker |= values.map(lambda cell: _is_one_of(cell, numbers))
    return values.astype(object).where(~is_marker, None) if is_marker.any() else values


@functools.lru_cache(maxsize=64)
def _marker_sets(markers: tuple[str, ...]) -> tuple[frozenset[str], frozenset[float]]:
    """The markers as texts, and those that are numbers."""
    return frozenset(markers), frozenset(number_markers(markers))


def _is_one_of(cell: object, numbers: Collection[float]) -> bool:
    """Whether a cell is one of these numbers and no code with leading zeros."""
    if not numbers:
        return False
    if not isinstance(cell, str):
        is_boolean = isinstance(cell, bool)
        return not is_boolean and isinstance(cell, (int, float, Decimal)) and float(cell) in numbers
    return bool(_NUMBER.fullmatch(cell.strip())) and float(cell) in numbers


def number_markers(markers: Sequence[str]) -> list[float]:
    """Return the markers that are finite numbers."""
    numbers = [number for marker in markers if (number := parse_number(marker)) is not None]
    return [number for number in numbers if np.isfinite(number)]


def parse_numbers(values: Cells, where: str) -> Floats:
    """Return numbers or booleans as float64 [N], NaN if missing.

    `where` names the column. Raises DataError for a cell that is not a number.
    """
    if not isinstance(values, list):
        import pandas as pd

        if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
            return np.asarray(values.to_numpy(np.float64, na_value=np.nan), np.float64)
    return _parsed(values, plain_number, where, "a number")


def plain_number(cell: object) -> float | None:
    """Return the number that a cell stands for, or None."""
    if isinstance(cell, str):
        if "_" in cell or not cell.isascii():  # which only Python takes
            return None
    elif not isinstance(cell, (float, int, Real, Decimal, np.bool_)):
        return None
    try:
        number = float(cell)
    except (ValueError, OverflowError):
        return None
    return None if number != number else number


def parse_booleans(values: Cells, where: str) -> Floats:
    """Return booleans as 0 and 1, float64 [N], NaN if missing.

    Raises DataError for a cell that is none of true, false, 1 and 0.
    """
    return _parsed(values, _flag, where, "one of true, false, 1 and 0")


def _flag(cell: object) -> float | None:
    return _FLAGS.get(str(cell).strip().lower())


def _parsed(
    values: Cells, number_of: Callable[[Any], float | None], where: str, expected: str
) -> Floats:
    numbers_N, wrong = map_numbers(values, number_of)
    if wrong:
        refuse_cells(np.isin(np.arange(len(values)), wrong), values, where, expected)
    return numbers_N


def parse_date_fields(
    values: Cells, names: Sequence[str], where: str, date_format: str | None = None
) -> tuple[Floats, np.ndarray]:
    """Return fields of dates in their own time zone, float64 [N, D], of DATE_FIELDS, and which
    dates are missing, bool [N]; their fields are NaN. Raises DataError as `parse_dates` does.
    """
    if not isinstance(values, list) and values.dtype.kind == "M":
        moments = parse_dates(values, where, date_format)
        columns = [
            getattr(moments.dt, name).to_numpy(np.float64, na_value=np.nan) for name in names
        ]
        return np.stack(columns, 1), moments.isna().to_numpy()
    dates = _dates(values, where, date_format)
    functions, missing = [DATE_FIELDS[name] for name in names], [np.nan] * len(names)
    rows = [missing if date is None else [f(date) for f in functions] for date in dates]
    return np.array(rows, np.float64), np.array([date is None for date in dates], bool)


def parse_dates(values: Series, where: str, date_format: str | None = None) -> Series:
    """Return dates as datetime64 [N] in their own time zone, NaT if missing.

    Strings are written as in ISO 8601, such as 2020-05-13 or 2020-05-13T10:00+09:00, or in
    `date_format`, as strptime takes it. Raises DataError for a cell that is not such a date.
    """
    clock, _ = _parse_dates(values, where, date_format)
    return clock


def parse_instants(values: Series, where: str, date_format: str | None = None) -> Series:
    """Return dates as `parse_dates` does, but in UTC where they name their time zone."""
    import pandas as pd

    clock, offset_N = _parse_dates(values, where, date_format)
    return clock - pd.to_timedelta(offset_N, unit="s")


def are_dates(present: Series, date_format: str | None) -> bool:
    """Return whether all these cells, of which there is at least one, are dates."""
    from pandas.api import types

    if types.is_datetime64_any_dtype(present):
        return True
    if not all(isinstance(value, (str, datetime.date)) for value in present):
        return False
    is_date = [
        not isinstance(value, str) or _as_date(value, date_format) is not None for value in present
    ]
    return all(is_date)


def _canonical(text: str) -> str:
    if _NUMBER.fullmatch(text) and sum(map(str.isdigit, text)) <= _MAX_DIGITS:
        number = float(text)
        return str(int(number)) if number.is_integer() else repr(number)
    if text.lower() in ("true", "false"):
        return text.capitalize()
    if date := _ISO_DATE.fullmatch(text):
        day, time, _ = date.groups()
        time = _canonical(time) if time else ""
        time = time.rstrip("0").rstrip(".") if "." in time else time
        return f"{day} {time}" if time and time != "00:00:00" else day
    if _TIME.fullmatch(text):
        return text if len(text) == len("10:00:00") else f"{text}:00"
    return text


def _as_date(cell: object, date_format: str | None) -> datetime.datetime | None:
    """Return the date that a cell stands for, with its time zone if it names one, or None."""
    if is_missing(cell):
        return None
    if isinstance(cell, np.datetime64):
        cell = cell.astype("datetime64[us]").item()
    if isinstance(cell, datetime.datetime):
        return cell
    if isinstance(cell, datetime.date):
        return datetime.datetime(cell.year, cell.month, cell.day)
    if not isinstance(cell, str):
        return None
    text = cell.strip()
    try:
        if date_format is not None:
            return datetime.datetime.strptime(text, date_format)
        return datetime.datetime.fromisoformat(text) if _ISO_DATE.fullmatch(text) else None
    except ValueError:
        return None


def _dates(values: Cells, where: str, date_format: str | None) -> list[datetime.datetime | None]:
    """Return dates with their time zone [N], None if missing. Raises DataError for other cells."""
    dates = map_cells(values, lambda cell: _as_date(cell, date_format))
    wrong = [
        row
        for row, (cell, date) in enumerate(zip(values, dates, strict=True))
        if date is None and not is_missing(cell)
    ]
    if wrong:
        shape = "a date such as 2020-05-13" if date_format is None else f"a date like {date_format}"
        advice = " dataset.date_format names another format."
        refuse_cells(np.isin(np.arange(len(values)), wrong), values, where, shape, advice)
    return dates


def _parse_dates(values: Series, where: str, date_format: str | None) -> tuple[Series, Floats]:
    """Return dates [N] in their own time zone and its offset from UTC in seconds [N], 0 if they do
    not name one.
    """
    import pandas as pd
    from pandas.api import types

    if types.is_datetime64_any_dtype(values):
        if getattr(values.dt, "tz", None) is None:
            return values, np.zeros(len(values))
        clock = values.dt.tz_localize(None)
        offset = (clock - values.dt.tz_convert(None)).dt.total_seconds()
        return clock, offset.fillna(0.0).to_numpy(np.float64)
    dates = _dates(values, where, date_format)
    offsets = [
        offset.total_seconds() if date is not None and (offset := date.utcoffset()) else 0.0
        for date in dates
    ]
    clock = pd.Series(
        pd.to_datetime([date and date.replace(tzinfo=None) for date in dates]), index=values.index
    )
    return clock, np.array(offsets)
