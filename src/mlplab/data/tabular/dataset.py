"""dataset=file: a user's own table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlplab.data.table import Dataset
from mlplab.data.tabular.raw_table import RawTable
from mlplab.data.tabular.readers import read
from mlplab.data.tabular.sniffing import MISSING, Format
from mlplab.data.tabular.table_builder import build_table
from mlplab.data.tabular.table_options import TabularDataset
from mlplab.errors import DataError, FieldError
from mlplab.schema import anything, choice, text

ALL_COLUMNS = "*"
"""The key of na_values for the columns without a list of their own."""


@dataclass(frozen=True, kw_only=True)
class File(TabularDataset):
    """A table of your own: CSV, TSV, a spreadsheet, JSON lines, Parquet, Feather, NumPy or IDX.
    Numbers, booleans, categories and dates become features; text is refused.
    """

    path: str = text(None, "the file, relative to the working folder of the command")
    val_path: str | None = text(
        None, "separate file for validation; its rows are never trained on", optional=True
    )
    test_path: str | None = text(None, "separate file for testing", optional=True)
    delimiter: str | None = text(None, "between cells; null detects it", optional=True)
    encoding: str | None = text(
        None, "of a text file, such as utf-8, latin-1 or cp949; null detects it", optional=True
    )
    decimal: str | None = text(
        None, "decimal sign, a point or a comma; null detects it", optional=True
    )
    header: str = choice(
        "auto",
        ("auto", "yes", "no"),
        "whether the first line names the columns; without it they are x1, x2, ...",
    )

    sheet: str | int | None = anything(
        None, "sheet of a spreadsheet: its name, or its number from 0; null takes the only one"
    )
    na_values: Sequence[str] | Mapping[str, Sequence[str]] | None = anything(
        None,
        "list of the strings that count as an empty cell; null takes NA, N/A, NaN, NULL, None, ?"
        " and the like; {age: [-1], '*': [NA]} is for each column, and '*' for all, as the list",
    )

    def check(self) -> None:
        super().check()
        lists = self.na_values.values() if isinstance(self.na_values, Mapping) else [self.na_values]
        for markers in lists:
            if markers is not None and not (
                isinstance(markers, (list, tuple)) and all(map(_is_marker, markers))
            ):
                expected = "is not a list of strings, nor such a list for each column"
                raise FieldError("na_values", self.na_values, expected)
        is_sheet = isinstance(self.sheet, (str, int)) and not isinstance(self.sheet, bool)
        if self.sheet is not None and not is_sheet:
            raise FieldError("sheet", self.sheet, "is neither the name of a sheet nor its number")

    @property
    def markers(self) -> Sequence[str]:
        markers = self.na_values
        if isinstance(markers, Mapping):
            markers = markers.get(ALL_COLUMNS)
        return MISSING if markers is None else ("", *map(str, markers))

    @property
    def column_markers(self) -> Mapping[str, tuple[str, ...]]:
        if not isinstance(self.na_values, Mapping):
            return {}
        return {
            str(name): tuple(map(str, markers))
            for name, markers in self.na_values.items()
            if name != ALL_COLUMNS
        }

    @property
    def form(self) -> Format:
        """How the text files are written, as far as the options say it."""
        header = None if self.header == "auto" else self.header == "yes"
        return Format(
            self.delimiter,
            self.encoding,
            self.decimal,
            header,
            tuple(self.markers),
            None if self.sheet is None else str(self.sheet),
            self.column_markers,
        )

    def make(self, rng: np.random.Generator) -> RawTable:  # type: ignore[override]
        """Return the columns as they are in the file; they are encoded after splitting."""
        return read_table(self)


def _is_marker(marker: object) -> bool:
    return isinstance(marker, (str, int, float)) and not isinstance(marker, bool)


def read_table(dataset: File) -> RawTable:
    """Read the file or files of a dataset and classify the columns.

    Raises DataError if a file cannot be read or a column cannot be learned from.
    """
    text_columns = [*dataset.categories, *([dataset.id_column] if dataset.id_column else [])]
    other_paths = {
        split: path
        for split, path in (("val", dataset.val_path), ("test", dataset.test_path))
        if path
    }
    results = [
        read(path, dataset.form, text_columns, dataset.numbers)
        for path in (dataset.path, *other_paths.values())
    ]
    notes = [note for result in results for note in result.notes] + _marker_notes(dataset)
    first, *others = (result.frame for result in results)
    if not others:
        return build_table(dataset, first, str(dataset.path), None, notes, results[0].decimal)
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
    return build_table(dataset, all_rows, str(dataset.path), given_split, notes, results[0].decimal)


def _marker_notes(dataset: File) -> list[str]:
    """Return which strings count as an empty cell, as far as the user says it."""
    notes = []
    if dataset.markers is not MISSING:
        listed = ", ".join(repr(marker) for marker in dataset.markers[1:])
        notes.append(f"cells that count as empty: {listed or 'only those without text'}")
    return notes + [
        f"column '{name}': cells that count as empty, too: {', '.join(map(repr, markers))}"
        for name, markers in dataset.column_markers.items()
    ]


def later_format(
    dataset: Dataset,
    given: Format,
    markers: Sequence[str],
    column_markers: Mapping[str, tuple[str, ...]],
) -> Format:
    """Return how later files of a run are written: as `given`, else like the file of the training,
    as far as its options said it; the rest is detected.

    `markers` are the strings that count as an empty cell, and `column_markers` those of columns.
    """
    trained = dataset.form if isinstance(dataset, File) else Format()
    return Format(
        given.delimiter or trained.delimiter,
        given.encoding or trained.encoding,
        given.decimal or trained.decimal,
        trained.header if given.header is None else given.header,
        tuple(markers),
        given.sheet or trained.sheet,
        column_markers,
    )
