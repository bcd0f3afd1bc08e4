"""dataset=file: a user's own table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlplab.data.table import Ints
from mlplab.data.tabular.readers import read
from mlplab.data.tabular.sniffing import Format
from mlplab.data.tabular.table_builder import build_table
from mlplab.data.tabular.table_options import TabularDataset
from mlplab.errors import DataError
from mlplab.schema import choice, text

if TYPE_CHECKING:
    import pandas as pd

    from mlplab.data.tabular.raw_table import RawTable


@dataclass(frozen=True, kw_only=True)
class File(TabularDataset):
    """A table of your own: CSV, TSV, Parquet, Feather, NumPy or IDX. Numbers, booleans, categories
    and dates become features; text is refused.
    """

    path: str = text(None, "the file, relative to the working folder of the command")
    val_path: str | None = text(
        None, "separate file for validation; its rows are never trained on", optional=True
    )
    test_path: str | None = text(None, "separate file for testing", optional=True)
    delimiter: str | None = text(None, "between cells; null detects it", optional=True)
    encoding: str | None = text(
        None, "of a text file, such as utf-8 or latin-1; null detects it", optional=True
    )
    decimal: str | None = text(
        None, "decimal sign, a point or a comma; null detects it", optional=True
    )
    header: str = choice(
        "auto",
        ("auto", "yes", "no"),
        "whether the first line names the columns; without it they are x1, x2, ...",
    )

    def make(self, rng: np.random.Generator) -> RawTable:  # type: ignore[override]
        """Return the columns as they are in the file; they are encoded after splitting."""
        return read_table(self)


def read_table(dataset: File) -> RawTable:
    """Read the file or files of a dataset and classify the columns.

    Raises DataError if a file cannot be read or a column cannot be learned from.
    """
    form = Format(
        dataset.delimiter,
        dataset.encoding,
        dataset.decimal,
        None if dataset.header == "auto" else dataset.header == "yes",
    )
    result = read(dataset.path, form)
    frame, notes, given_split = result.frame, list(result.notes), None
    other_paths = {
        split: path
        for split, path in (("val", dataset.val_path), ("test", dataset.test_path))
        if path
    }
    if other_paths:
        frame, given_split, more = _concatenate(frame, other_paths, form, str(dataset.path))
        notes += more
    return build_table(dataset, frame, str(dataset.path), given_split, notes)


def _concatenate(
    frame: pd.DataFrame, other_paths: Mapping[str, str], form: Format, source: str
) -> tuple[pd.DataFrame, dict[str, Ints], list[str]]:
    """Return the rows of all files, the row numbers of each split, and notes on the other files."""
    import pandas as pd

    frames, given_split, notes = [frame], {"train": np.arange(len(frame))}, []
    start = len(frame)
    for split, path in other_paths.items():
        result = read(path, form)
        absent = sorted(set(frame.columns) - set(result.frame.columns))
        if absent:
            raise DataError(f"{path} lacks the column(s) {', '.join(absent)} of {source}.")
        frames.append(result.frame[list(frame.columns)])
        given_split[split] = np.arange(start, start + len(result.frame))
        start += len(result.frame)
        notes += result.notes
    return pd.concat(frames, ignore_index=True), given_split, notes
