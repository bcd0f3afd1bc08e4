"""Runs as a table: a row for each run, and columns for its facts, configuration and metrics."""

from __future__ import annotations

import itertools
import json
import math
import operator
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.errors import ConfigError
from mlplab.extras import require
from mlplab.runs.run_index import Entry, RunIndex
from mlplab.runs.stored_config import StoredConfig

if TYPE_CHECKING:
    from pandas import DataFrame

_CONDITION = re.compile(r"\s*([\w./]+)\s*(<=|>=|!=|==|=|<|>)\s*(.*?)\s*")
_COMPARISONS = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_FIRST = ("folder", "kind", "sweep", "job", "name", "status", "reason", "time", "seed")
_INTEGERS = ("epochs", "steps", "best_epoch", "num_parameters", "population")
_LAST = (*_INTEGERS, "engine", "device", "seconds", "cpu_seconds")
MAX_COLUMNS = 1000
"""The number of columns of configuration, and of metrics; more are left out."""


@dataclass(frozen=True)
class Condition:
    """A comparison of a metric, an entry of the summary or a configuration key with a value."""

    key: str
    sign: str
    operand: str

    @classmethod
    def parse(cls, text: str, option: str = "--where") -> Condition:
        """Return the condition that a text states. Raises ConfigError."""
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise ConfigError(
                f"{option} {text!r} is not a condition: write KEY=VALUE, KEY!=VALUE, KEY<NUMBER or"
                " KEY>NUMBER, as in val/accuracy>0.9."
            )
        return cls(*match.groups())

    def holds(self, entry: Entry, index: RunIndex) -> bool:
        """Whether a run meets the condition; without a value, none does."""
        value = self._value(entry, index)
        try:
            return bool(_COMPARISONS[self.sign](float(value), float(self.operand)))
        except (TypeError, ValueError, OverflowError):
            expected = {"=": True, "==": True, "!=": False}.get(self.sign)
            texts = (str(value), str(as_override(value)))
            return value is not None and (self.operand in texts) is expected

    def _value(self, entry: Entry, index: RunIndex) -> Any:
        if "/" in self.key:
            return metric(entry, self.key)
        if self.key in entry.summary and not isinstance(entry.summary[self.key], dict):
            return entry.summary[self.key]
        return index.config(entry).get(self.key)


def metric(entry: Entry, name: str) -> Any:
    """Return the value of a metric of a run; None if it has none."""
    return (entry.summary.get("metrics") or {}).get(name)


def select(
    index: RunIndex, listed: Iterable[Entry], conditions: Sequence[Condition]
) -> list[Entry]:
    """Return the sound entries that meet all conditions."""
    return [
        entry
        for entry in listed
        if not entry.damaged and all(condition.holds(entry, index) for condition in conditions)
    ]


def cell_value(value: object) -> Any:
    """Return a value of a configuration for a cell: a list becomes text as in an override."""
    if value is None or isinstance(value, (int, float, str)):
        return value
    return str(value).replace(" ", "").replace("'", "")


def as_override(value: object) -> float | str | None:
    """Return a value for a cell of text, where a boolean is written as in an override, too."""
    cell: float | str | None = str(value).lower() if isinstance(value, bool) else cell_value(value)
    return cell


def iso_time(seconds: float) -> str | None:
    """Return seconds since 1970 as UTC in ISO 8601; None outside the years of the calendar."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return None


@dataclass(frozen=True)
class RunTable:
    """Columns of equal length, by name; None where a run lacks a value."""

    columns: Mapping[str, Sequence[Any]]

    @classmethod
    def of(cls, index: RunIndex, listed: Sequence[Entry], all_keys: bool = False) -> RunTable:
        """Return the table of entries.

        Its configuration keys are those that an override of one of the runs sets and those whose
        values differ, or with `all_keys` all of them.
        """
        facts = _facts(listed)
        configs = _config_columns([index.config(entry) for entry in listed], all_keys)
        metrics = _columns([entry.summary.get("metrics") or {} for entry in listed])
        return cls(
            {
                **{name: facts[name] for name in _FIRST},
                **{name: column for name, column in configs.items() if name not in facts},
                **metrics,
                **{name: facts[name] for name in _LAST},
            }
        )

    def rows(self) -> Iterator[list[Any]]:
        """Yield the cells of each row."""
        return map(list, zip(*self.columns.values(), strict=True))

    def json_lines(self) -> Iterator[str]:
        """Yield the lines of a JSON array with one object, and one line, a row; values that are not
        finite are null.
        """
        names = list(self.columns)
        before = "["
        for row in self.rows():
            finite = [None if _is_not_finite(value) else value for value in row]
            yield f"{before}\n{json.dumps(dict(zip(names, finite, strict=True)), allow_nan=False)}"
            before = ","
        yield "[]" if before == "[" else "\n]"

    def to_frame(self) -> DataFrame:
        """Return the table as a DataFrame: whole numbers with missing ones as Int64, and the time
        in UTC. Raises MissingExtraError without pandas.
        """
        require("A list of runs as a DataFrame", "sweep", "pandas")
        import numpy as np
        import pandas as pd

        columns: dict[str, Any] = dict(self.columns)
        for name in ("job", "seed", *_INTEGERS):
            columns[name] = _integers(columns[name])
        for name, values in columns.items():
            if "/" in name or name in ("seconds", "cpu_seconds"):
                columns[name] = np.array(values, dtype=np.float64)  # None is nan
        columns["time"] = pd.to_datetime(columns["time"], utc=True, errors="coerce")
        return pd.DataFrame(columns)


def list_runs(folder: Path, where: Sequence[str] = ()) -> DataFrame:
    """Return the runs and the jobs of sweeps below a folder that meet all conditions, newest first.

    Raises ConfigError if there is no such folder, or for a condition that is none, and
    MissingExtraError without pandas.
    """
    require("mlplab.list_runs, which returns a DataFrame,", "sweep", "pandas")
    conditions = [Condition.parse(text, "where") for text in where]
    require_folder(folder)
    index = RunIndex(folder)
    runs = [entry for entry in index.entries(jobs=True) if entry.kind != "sweep"]
    table = RunTable.of(index, select(index, runs, conditions))
    index.save()
    return table.to_frame()


def require_folder(folder: Path) -> None:
    """Raise ConfigError if there is no such folder."""
    if not folder.is_dir():
        raise ConfigError(
            f"{folder} is not a folder (looked for {folder.resolve()}): there are no runs to list."
        )


def _facts(listed: Sequence[Entry]) -> dict[str, list[Any]]:
    """The columns of _FIRST and _LAST."""
    summaries = [entry.summary for entry in listed]
    facts: dict[str, list[Any]] = {
        name: [
            value if isinstance(value := summary.get(name), (int, float, str)) else None
            for summary in summaries
        ]
        for name in (*_FIRST, *_LAST)
    }
    return facts | {
        "folder": [entry.path for entry in listed],
        "kind": [entry.kind for entry in listed],
        "sweep": [entry.sweep for entry in listed],
        "job": [_job_number(entry) for entry in listed],
        "time": [iso_time(entry.changed) for entry in listed],
    }


def _job_number(entry: Entry) -> int | None:
    name = os.path.basename(entry.path)
    return int(name) if entry.kind == "job" and _is_number(name) else None


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows as columns: None where a row lacks the key. Rows with equal keys are joined at once."""
    shapes = dict.fromkeys(map(tuple, rows))
    names = list(dict.fromkeys(itertools.chain.from_iterable(shapes)))[:MAX_COLUMNS]
    if len(shapes) == 1 and len(names) == len(next(iter(shapes))):
        return dict(zip(names, map(list, zip(*map(dict.values, rows), strict=True)), strict=True))
    return {name: [row.get(name) for row in rows] for name in names}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 16


def _is_not_finite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _config_columns(configs: Sequence[StoredConfig], all_keys: bool) -> dict[str, list[Any]]:
    """The columns of configuration keys: all, or those that are overridden or differ."""
    bases = list({id(config.base): config.base for config in configs}.values())
    keys = dict.fromkeys(key for base in bases for key in base)
    if not all_keys:
        overridden = {key for config in configs for key in config.overridden}
        changed = {key for config in configs for key in config.changes}
        changed |= {key for key in keys if len({repr(base.get(key)) for base in bases}) > 1}
        keys = {
            key: None
            for key in keys
            if key in overridden
            or (key in changed and len({repr(config.get(key)) for config in configs}) > 1)
        }
    return {
        key: [cell_value(config.get(key)) for config in configs] for key in list(keys)[:MAX_COLUMNS]
    }


def _integers(values: Sequence[Any]) -> Any:
    """Whole numbers as a column that may have missing ones; anything else as it is."""
    import pandas as pd

    try:
        return pd.array([value if value is None else int(value) for value in values], "Int64")
    except (TypeError, ValueError, OverflowError):
        return list(values)
