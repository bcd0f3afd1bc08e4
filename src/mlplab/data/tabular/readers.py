"""Read data files of all supported formats as data frames, without unpickling anything.

The format follows from the suffix; how a text file is written is detected and noted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlplab.data.table import DataFrame
from mlplab.data.tabular.arrays import idx_frame, numpy_frame
from mlplab.data.tabular.csv import parse_csv, release_unused_memory
from mlplab.data.tabular.sniffing import Format, delimiter_name, sniff, suffixes
from mlplab.errors import DataError
from mlplab.extras import require

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".data")
SUPPORTED_FORMATS = (
    "CSV and TSV (also .gz, .bz2, .xz), Parquet (.parquet), Feather (.feather), NumPy (.npz, .npy),"
    " IDX (-ubyte, also .gz)"
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
    inner, outer = suffixes(path)
    try:
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
        if inner in TEXT_SUFFIXES:
            return _read_text(path, form, text_columns, number_columns)
    except DataError:
        raise
    except Exception as error:  # readers raise all kinds of exceptions for a damaged file
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(
            f"{path} cannot be read as {inner.removeprefix('.') or 'data'}: {reason}"
        ) from error
    kind = f"type {''.join(path.suffixes[-2:])}" if path.suffixes else "a type without a suffix"
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


def _read_text(
    path: Path, form: Format, text_columns: Sequence[str], number_columns: Sequence[str]
) -> ReadResult:
    dialect = sniff(path, form)
    frame = parse_csv(path, dialect, text_columns, number_columns)
    release_unused_memory()
    note = (
        f"{path}: {delimiter_name(dialect.delimiter)} between cells, decimal"
        f" {'comma' if dialect.decimal == ',' else 'point'}, encoding {dialect.encoding},"
        f" {'a header' if dialect.header else 'no header'}; {len(frame)} rows,"
        f" {len(dialect.names)} columns"
    )
    if dialect.encoding == "cp1252":
        note += (
            "; the encoding is a guess: if names or categories look wrong, set dataset.encoding,"
            " for example to cp949, shift_jis or gb18030"
        )
    return ReadResult(frame, [note], dialect.decimal)
