"""dataset=file: a table of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlplab.data.table import Ints
from mlplab.data.tabular.readers import read
from mlplab.data.tabular.sniffing import Format
from mlplab.data.tabular.table_builder import table_of
from mlplab.data.tabular.table_options import TabularDataset
from mlplab.errors import DataError
from mlplab.schema import choice, text

if TYPE_CHECKING:
    import pandas as pd

    from mlplab.data.tabular.raw_table import RawTable


@dataclass(frozen=True, kw_only=True)
class File(TabularDataset):
    """A table of your own: CSV, TSV, Parquet, Feather, NumPy or IDX. Numbers, truth values,
    categories and dates become features; text is refused.
    """

    path: str = text(None, "the file, relative to the folder of the command")
    val_path: str | None = text(
        None, "a file of its own for validation; its rows never train", optional=True
    )
    test_path: str | None = text(None, "a file of its own for the test", optional=True)
    delimiter: str | None = text(None, "between cells; null is found out", optional=True)
    encoding: str | None = text(
        None, "of a text file, such as utf-8 or latin-1; null is found out", optional=True
    )
    decimal: str | None = text(None, "point or comma in numbers; null is found out", optional=True)
    header: str = choice(
        "auto",
        ("auto", "yes", "no"),
        "whether the first line names the columns; without it they are x1, x2, ...",
    )

    def make(self, rng: np.random.Generator) -> RawTable:  # type: ignore[override]
        """The columns as they are in the file; they become numbers once they are split."""
        return read_table(self)


def read_table(dataset: File) -> RawTable:
    """Read the file, or files, decide what its columns are, and refuse what cannot be learnt from.
    Raises DataError.
    """
    form = Format(
        dataset.delimiter,
        dataset.encoding,
        dataset.decimal,
        None if dataset.header == "auto" else dataset.header == "yes",
    )
    reading = read(dataset.path, form)
    frame, told, parts = reading.frame, list(reading.told), None
    frame.columns = [str(name) for name in frame.columns]
    others = {
        part: path
        for part, path in (("val", dataset.val_path), ("test", dataset.test_path))
        if path
    }
    if others:
        frame, parts, more = _joined(frame, others, form, str(dataset.path))
        told += more
    return table_of(dataset, frame, str(dataset.path), parts, told)


def _joined(
    frame: pd.DataFrame, others: Mapping[str, str], form: Format, source: str
) -> tuple[pd.DataFrame, dict[str, Ints], list[str]]:
    """The rows of all files, and which come from where."""
    import pandas as pd

    frames, parts, told, start = [frame], {"train": np.arange(len(frame))}, [], len(frame)
    for part, path in others.items():
        reading = read(path, form)
        reading.frame.columns = [str(name) for name in reading.frame.columns]
        absent = sorted(set(frame.columns) - set(reading.frame.columns))
        if absent:
            raise DataError(f"{path} lacks the column(s) {', '.join(absent)} of {source}.")
        frames.append(reading.frame[list(frame.columns)])
        parts[part] = np.arange(start, start + len(reading.frame))
        start += len(reading.frame)
        told += reading.told
    return pd.concat(frames, ignore_index=True), parts, told
