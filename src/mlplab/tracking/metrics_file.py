"""metrics.csv: the history of a run as anyone can read it, exact to the last bit."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Self

from mlplab.io.files import AppendFile, write_bytes_atomic

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a text begins with that a spreadsheet would run."""


class MetricsFile:
    """A CSV file with the columns epoch, step and the given ones, written row by row.

    Numbers are written so that reading gives the same bits; nan and inf as such; what a row lacks
    stays empty. An existing file is refused, unless `resume`: then it must have these columns, and
    a torn last line is cut off.
    """

    def __init__(self, path: Path, columns: Sequence[str], *, resume: bool = False) -> None:
        self.columns = tuple(columns)
        header = _lines([("epoch", "step", *self.columns)])
        if resume:
            whole = _whole_lines(path.read_bytes())
            if not whole.startswith(header):
                raise ValueError(
                    f"{path} has other columns than epoch, step, {', '.join(self.columns)}"
                )
            self._file = AppendFile(path, resume=True)
            self._file.truncate(len(whole))
        else:
            self._file = AppendFile(path)
            self._file.append(header)

    def write(self, epoch: int, step: int, values: Mapping[str, float | None]) -> None:
        """One row; a value under a name that is no column is a KeyError."""
        unknown = values.keys() - set(self.columns)
        if unknown:
            raise KeyError(f"{sorted(unknown)} not among the columns {list(self.columns)}")
        self.rows([(epoch, step, *[values.get(column) for column in self.columns])])

    def rows(self, rows: Sequence[Sequence[float | None]]) -> None:
        """Several rows in one write: epoch, step, and a value for each column."""
        self._file.append(_lines(rows))

    def close(self) -> None:
        """Close; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def bulk_metrics(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[float | None]]
) -> None:
    """A whole metrics file at once. `columns` are the metrics; a row is epoch, step and a value for
    each of them.
    """
    write_bytes_atomic(path, _lines([("epoch", "step", *columns), *rows]))


def table_bytes(rows: Iterable[Sequence[Any]]) -> bytes:
    """Rows of numbers and texts as CSV, the first being the header: numbers to their last bit,
    texts so that no spreadsheet runs them.
    """
    return _lines(list(rows))


def read_metrics(path: Path) -> dict[str, list[float]]:
    """The columns of a metrics file, epoch and step among them; an empty cell is nan. A torn last
    line is ignored.
    """
    rows = list(csv.reader(io.StringIO(_whole_lines(path.read_bytes()).decode(), newline="")))
    if not rows:
        return {}
    names = [
        name[1:] if name[:1] == "'" and name[1:].startswith(FORMULA) else name for name in rows[0]
    ]
    return {name: [float(row[i] or "nan") for row in rows[1:]] for i, name in enumerate(names)}


def _whole_lines(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1]


def _lines(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(
        [[_cell(value) for value in row] for row in rows]
    )
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    """A float as float, whose text is the shortest that reads back the same; a text so that no
    spreadsheet runs it as a formula.
    """
    if value is None or type(value) in (float, int):
        return value
    # a lone carriage return would not be quoted, and so end the line for a reader
    if isinstance(value, str):
        return ("'" if value.startswith(FORMULA) else "") + value.replace("\r", " ")
    return int(value) if isinstance(value, Integral) else float(value)
