"""Rows of plain values in the JSON of a pack, stored as columns, and the checks of such values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

NESTED = frozenset({"health"})
"""Keys of a summary whose values are lists of mappings: the findings of a diagnosis."""


class Table:
    """Rows of plain values that are stored as columns, for each set of keys."""

    def __init__(self, groups: Sequence[Mapping[str, Any]], num_rows: int | None) -> None:
        self._columns = [group["columns"] for group in groups]
        all_rows = [row for group in groups for row in group["rows"]]
        num_rows = len(all_rows) if num_rows is None else num_rows
        self._positions = positions(groups, num_rows)
        if len(self._positions) != num_rows:
            raise ValueError(f"it has {len(self._positions)} rows, not {num_rows}")
        for group in groups:
            for key, column in group["columns"].items():
                if "all" not in column and len(column["each"]) != len(group["rows"]):
                    raise ValueError(f"its column {key} has another length than its jobs")

    def row(self, row: int) -> dict[str, Any]:
        g, position = self._positions[row]
        return {
            key: column["all"] if "all" in column else column["each"][position]
            for key, column in self._columns[g].items()
        }

    def column(self, key: str) -> list[Any]:
        """The values of a key that all rows have."""
        values = []
        for row in range(len(self._positions)):
            g, position = self._positions[row]
            column = self._columns[g][key]
            values.append(column["all"] if "all" in column else column["each"][position])
        return values

    def require_plain(self) -> None:
        """Raise TypeError unless all values are texts, finite numbers, truth values or None, or, of
        a key in NESTED, lists and mappings of these.
        """
        for columns in self._columns:
            for key, column in columns.items():
                for value in [column["all"]] if "all" in column else column["each"]:
                    _require_plain(value, key in NESTED)


def _require_plain(value: object, nested: bool) -> None:
    if nested and isinstance(value, list):
        for one in value:
            _require_plain(one, nested)
    elif nested and isinstance(value, dict):
        for key, one in value.items():
            text(key)
            _require_plain(one, nested)
    elif not isinstance(value, str | bool | None):
        number(value)


def positions(groups: Sequence[Mapping[str, Any]], num_rows: int) -> dict[int, tuple[int, int]]:
    """Of each row, its group and its position in it."""
    by_row: dict[int, tuple[int, int]] = {}
    for g, group in enumerate(groups):
        for position, row in enumerate(rows_of(group["rows"], num_rows)):
            if row in by_row:
                raise ValueError(f"it has row {row} twice")
            by_row[row] = g, position
    return by_row


def rows_of(rows: Sequence[object], num_rows: int) -> list[int]:
    if not all(type(row) is int and 0 <= row < num_rows for row in rows):
        raise ValueError("a row of it is not that of a job")
    return list(rows)  # type: ignore[arg-type]


def count(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise ValueError(f"{json.dumps(value)[:40]} is not a count or a number of it")
    return value


def number(value: object) -> float:
    if type(value) not in (int, float) or not -math.inf < value < math.inf:  # type: ignore[operator]
        raise ValueError(f"{str(value)[:40]} is not a number of it")
    return float(value)  # type: ignore[arg-type]


def text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:40]} is not a text")
    return value


def texts(values: object) -> list[str]:
    if not isinstance(values, list):
        raise TypeError(f"{str(values)[:40]} is not a list of texts")
    return [text(value) for value in values]
