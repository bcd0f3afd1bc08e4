"""metrics.csv: the history of a run as a plain CSV file, exact to the last bit."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from mlplab.io.files import AppendFile, Closing, write_bytes_atomic
from mlplab.io.reading import reading

FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")
"""First characters of text that a spreadsheet would run as a formula."""


class MetricsFile(Closing):
    """A CSV file with the columns epoch, step and `columns`, written row by row.

    Reading a number gives the same bits; NaN and infinities are written as nan and inf, and missing
    values as empty cells. Raises FileExistsError if the file exists, unless `resume` is set: then
    an incomplete last line is cut off, and other columns raise ValueError.
    """

    def __init__(self, path: Path, columns: Sequence[str], *, resume: bool = False) -> None:
        self.columns = tuple(columns)
        header = table_bytes([("epoch", "step", *self.columns)])
        if resume:
            complete_lines = _complete_lines(path)
            if not complete_lines.startswith(header):
                raise ValueError(
                    f"the columns of {path} are not epoch, step, {', '.join(self.columns)}"
                )
            self._file = AppendFile(path, resume=True)
            self._file.truncate(len(complete_lines))
        else:
            self._file = AppendFile(path)
            self._file.append(header)

    def write(self, epoch: int, step: int, values: Mapping[str, float | None]) -> None:
        """Append one row. Raises KeyError for a name that is not a column."""
        unknown = values.keys() - set(self.columns)
        if unknown:
            raise KeyError(f"{sorted(unknown)} not among the columns {list(self.columns)}")
        self.rows([(epoch, step, *[values.get(column) for column in self.columns])])

    def rows(self, rows: Sequence[Sequence[float | None]]) -> None:
        """Append several rows in one write: epoch, step, and a value for each column."""
        self._file.append(table_bytes(rows))

    def close(self) -> None:
        """Close the file; closing it again does nothing."""
        self._file.close()


def bulk_metrics(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[float | None]]
) -> None:
    """Write a complete metrics file. `columns` are the metrics; a row is epoch, step and a value
    for each metric.
    """
    write_bytes_atomic(path, table_bytes([("epoch", "step", *columns), *rows]))


def table_bytes(rows: Iterable[Sequence[object]]) -> bytes:
    """Return rows of numbers and strings, the first being the header, as CSV.

    Numbers are exact to the last bit; strings are quoted so that no spreadsheet runs them.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(
        [[_cell(value) for value in row] for row in rows]
    )
    return text.getvalue().encode()


def read_metrics(path: Path) -> dict[str, list[float]]:
    """Return the columns of a metrics file, including epoch and step; an empty cell is nan.

    An incomplete last line is ignored; a file without a complete line has no columns. Raises
    DamagedFileError if it is not a metrics file.
    """
    with reading(path):
        rows = list(csv.reader(io.StringIO(_complete_lines(path).decode(), newline="")))
        if not rows:
            return {}
        names = [
            name[1:] if name[:1] == "'" and name[1:].startswith(FORMULA_PREFIXES) else name
            for name in rows[0]
        ]
        if names[:2] != ["epoch", "step"]:
            raise ValueError("it does not begin with the columns epoch and step")
        for number, row in enumerate(rows, 1):
            if len(row) != len(names):
                raise ValueError(f"line {number} has {len(row)} cells in place of {len(names)}")
        columns = {
            name: [float(row[i] or "nan") for row in rows[1:]] for i, name in enumerate(names)
        }
        if not all(n.is_integer() for key in ("epoch", "step") for n in columns[key]):
            raise ValueError("an epoch or a step is not an integer")
        return columns


def _complete_lines(path: Path) -> bytes:
    data = path.read_bytes()
    return data[: data.rfind(b"\n") + 1]


def _cell(value: Any) -> object:
    """A number as int or float, whose text is the shortest that reads back the same; a string with
    a quote if a spreadsheet would run it as a formula.
    """
    if value is None or type(value) in (float, int):
        return value
    # a carriage return without a line feed is not quoted and would end the line for a reader
    if isinstance(value, str):
        return ("'" if value.startswith(FORMULA_PREFIXES) else "") + value.replace("\r", " ")
    return int(value) if isinstance(value, Integral) else float(value)
