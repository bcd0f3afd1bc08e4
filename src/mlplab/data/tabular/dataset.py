"""dataset=file: a user's own table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlplab.data.tabular.raw_table import RawTable
from mlplab.data.tabular.readers import read
from mlplab.data.tabular.sniffing import Format
from mlplab.data.tabular.table_builder import build_table
from mlplab.data.tabular.table_options import TabularDataset
from mlplab.errors import DataError
from mlplab.schema import choice, text


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
    other_paths = {
        split: path
        for split, path in (("val", dataset.val_path), ("test", dataset.test_path))
        if path
    }
    results = [read(path, form) for path in (dataset.path, *other_paths.values())]
    notes = [note for result in results for note in result.notes]
    first, *others = (result.frame for result in results)
    if not others:
        return build_table(dataset, first, str(dataset.path), None, notes)
    columns = list(first.columns)
    for path, frame in zip(other_paths.values(), others, strict=True):
        absent = sorted(set(columns) - set(frame.columns))
        if absent:
            raise DataError(f"{path} lacks the column(s) {', '.join(absent)} of {dataset.path}.")
    import pandas as pd

    all_rows = pd.concat([first, *(frame[columns] for frame in others)], ignore_index=True)
    ends = np.cumsum([len(result.frame) for result in results])
    rows = np.split(np.arange(len(all_rows)), ends[:-1])
    given_split = dict(zip(("train", *other_paths), rows, strict=True))
    return build_table(dataset, all_rows, str(dataset.path), given_split, notes)
