"""Read data files of all supported formats as data frames, without unpickling anything.

The format follows from the suffix; how a text file is written is detected and noted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mlplab.data.table import DataFrame
from mlplab.data.tabular.arrays import idx_frame, numpy_frame
from mlplab.data.tabular.conversion import converted
from mlplab.data.tabular.csv import parse_csv, release_unused_memory
from mlplab.data.tabular.sniffing import Format, SniffResult, delimiter_name, sniff
from mlplab.data.tabular.text_source import (
    CONVERTED_SUFFIXES,
    TEXT_SUFFIXES,
    TextSource,
    open_decompressed,
    suffixes,
)
from mlplab.errors import DataError, MissingExtraError
from mlplab.extras import require

SUPPORTED_FORMATS = (
    "CSV and TSV, JSON lines (.jsonl, .ndjson) and spreadsheets (.xlsx), all of them also as .gz,"
    " .bz2, .xz, .zst or alone in a .zip; Parquet (.parquet), Feather (.feather), NumPy (.npz,"
    " .npy), IDX (-ubyte, also .gz)"
)


@dataclass(frozen=True)
class ReadResult:
    """The rows of a file, whose columns have strings as names, and notes on how it is written."""

    frame: DataFrame
    notes: list[str] = field(default_factory=list)
    decimal: str = "."

    def __post_init__(self) -> None:
        self.frame.columns = [str(name) for name in self.frame.columns]


def read(
    path: str | Path,
    form: Format | None = None,
    text_columns: Sequence[str] = (),
    number_columns: Sequence[str] = (),
) -> ReadResult:
    """Read a file of the format that its suffix names.

    Args:
        path: the file.
        form: how a text file is written; what it leaves open is detected.
        text_columns: columns of a text file to read as strings, whatever their cells look like.
        number_columns: columns of a text file that are numbers although they have leading zeros.

    Raises:
        DataError: if the file is missing, empty, of an unknown format, or damaged.
    """
    path, form = Path(path), form or Format()
    require("A data file", "files", "pandas", "pyarrow")
    if path.is_dir():
        raise DataError(f"{path} is a folder, but a data file is needed.")
    if not path.is_file():
        raise DataError(
            f"{path} does not exist (looked for {path.resolve()}; paths are relative to the"
            f" working folder of the command).{_similar_files(path)}"
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes).")
    inner = path.suffix
    try:
        inner, outer = suffixes(path)
        if inner in (".parquet", ".feather", ".arrow"):
            from pyarrow import feather, parquet

            reader = parquet if inner == ".parquet" else feather
            return ReadResult(reader.read_table(path).to_pandas())
        if inner in (".npz", ".npy"):
            return ReadResult(numpy_frame(path))
        if path.name.removesuffix(".gz").endswith("ubyte") or inner in (
            ".idx",
            ".idx1-ubyte",
            ".idx3-ubyte",
        ):
            return ReadResult(idx_frame(path, outer == ".gz"))
        if inner in TEXT_SUFFIXES + CONVERTED_SUFFIXES:
            return _read_text(text_source(path, form), form, text_columns, number_columns)
    except (DataError, MissingExtraError):
        raise
    except Exception as error:  # readers raise all kinds of exceptions for a damaged file
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(
            f"{path} cannot be read as {inner.removeprefix('.') or 'data'}: {reason}"
        ) from error
    types = path.suffixes[-2:] if path.suffix.lower() != ".zip" else [inner, " in a .zip"]
    kind = f"type {''.join(types)}" if types and types[0] else "a type without a suffix"
    raise DataError(
        f"{path}: files of {kind} are not supported. Supported formats: {SUPPORTED_FORMATS}."
    )


def _similar_files(path: Path) -> str:
    """A sentence that lists files with similar names in the same folder, or an empty string."""
    import difflib

    folder = path.parent
    names = [file.name for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    return f" Similar file(s) there: {', '.join(near)}." if near else ""


def text_source(path: Path, form: Format) -> TextSource:
    """Return the text of a file, which of a spreadsheet or JSON lines is made from its cells."""
    inner, _ = suffixes(path)
    if inner in TEXT_SUFFIXES:
        return TextSource(path)
    with open_decompressed(path) as file:
        return converted(path, file, inner, form)


def _read_text(
    source: TextSource, form: Format, text_columns: Sequence[str], number_columns: Sequence[str]
) -> ReadResult:
    dialect = sniff(source, form)
    frame = parse_csv(source, dialect, text_columns, number_columns)
    release_unused_memory()
    frame, notes = _named_columns(frame, dialect, source.path)
    note = (
        f"{source.path}: {delimiter_name(dialect.delimiter)} between cells, decimal"
        f" {'comma' if dialect.decimal == ',' else 'point'}, encoding {dialect.encoding},"
        f" {'a header' if dialect.header else 'no header'}"
    )
    if source.text is not None:
        note = f"{source.path}: {', '.join(source.notes)}"
    if dialect.skipped:
        note += f" after {dialect.skipped} line(s) that are not of the table"
    note += f"; {len(frame)} rows, {len(frame.columns)} columns"
    if dialect.encoding == "cp1252" and form.encoding is None:
        note += (
            "; the encoding is a guess: if names or categories look wrong, set dataset.encoding,"
            " for example to cp1250, cp949, shift_jis or gb18030"
        )
    return ReadResult(frame, [note, *notes], dialect.decimal)


def _named_columns(
    frame: DataFrame, dialect: SniffResult, path: Path
) -> tuple[DataFrame, list[str]]:
    """Return the frame without columns that have no name: empty ones, and the numbers of rows that
    pandas writes.

    Raises DataError for other columns without a name.
    """
    empty = [name for name in dialect.unnamed if frame[name].isna().all()]
    numbers = [
        name
        for name in dialect.unnamed
        if name == frame.columns[0] and _are_row_numbers(frame[name].to_numpy())
    ]
    others = [name for name in dialect.unnamed if name not in empty + numbers]
    if others:
        columns = ", ".join(str(frame.columns.get_loc(name) + 1) for name in others)
        raise DataError(
            f"{path}: column {columns} has no name. Name it in the first line, or remove it."
        )
    notes = [f"column {frame.columns.get_loc(name) + 1}, which has no name, is" for name in empty]
    notes = [f"{note} empty and left out" for note in notes]
    notes += ["column 1, which has no name, numbers the rows and is left out"] * len(numbers)
    return frame.drop(columns=[*empty, *numbers]), notes


def _are_row_numbers(cells: np.ndarray) -> bool:
    return cells.dtype.kind == "i" and (
        np.array_equal(cells, np.arange(len(cells)))
        or np.array_equal(cells, np.arange(1, len(cells) + 1))
    )
