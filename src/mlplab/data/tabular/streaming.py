"""Read a later file chunk by chunk, with the kinds that its columns had in training."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mlplab.data.table import DataFrame
from mlplab.data.tabular.cells import parse_numbers
from mlplab.data.tabular.columns import NUMBER
from mlplab.data.tabular.csv import arrow_options, is_utf8, parse_csv, parser_input, plain_decimals
from mlplab.data.tabular.encoder import Encoder
from mlplab.data.tabular.readers import read, text_source
from mlplab.data.tabular.sniffing import Format, SniffResult, read_head, sniff, sniff_head
from mlplab.data.tabular.text_source import (
    CONVERTED_SUFFIXES,
    TEXT_SUFFIXES,
    TextSource,
    suffixes,
)
from mlplab.errors import DataError, MissingExtraError
from mlplab.extras import require

if TYPE_CHECKING:
    import pyarrow as pa

STDIN = Path("-")
"""The standard input, which holds CSV."""
_STDIN_NAME = "the standard input"
CHUNK_BYTES = 1 << 22  # of a text file
CHUNK_ROWS = 1 << 16  # of a Parquet file


def read_chunks(
    path: Path,
    form: Format,
    encoder: Encoder | None,
    text_columns: Sequence[str] = (),
    number_columns: Sequence[str] = (),
) -> Iterator[DataFrame]:
    """Yield the rows of a file in order, chunk by chunk, with an index that counts from 0.

    Args:
        path: the file, or STDIN; text and Parquet files are streamed, others are read at once.
        form: how a text file is written; what it leaves open is detected.
        encoder: the encoder whose columns must have the kinds of the training.
        text_columns: further columns, such as an identifier, to read as strings.
        number_columns: further columns, such as a target, to read as numbers.

    Raises:
        DataError: if the file is missing, empty or cannot be read, or a cell is not a number.
    """
    require("A data file", "files", "pandas", "pyarrow")
    start = 0
    for frame in _chunks(path, form, encoder, text_columns, number_columns):
        yield frame.set_axis(range(start, start + len(frame)))
        start += len(frame)


def source_name(path: Path) -> str:
    """Return what messages call a file, or STDIN."""
    return _STDIN_NAME if path == STDIN else str(path)


def _chunks(
    path: Path,
    form: Format,
    encoder: Encoder | None,
    text_columns: Sequence[str],
    number_columns: Sequence[str],
) -> Iterator[DataFrame]:
    if path != STDIN and (not path.is_file() or path.stat().st_size == 0):
        read(path, form)  # raises with the reason
    try:
        inner = "" if path == STDIN else suffixes(path)[0]
        if inner == ".parquet":
            from pyarrow import parquet

            for batch in parquet.ParquetFile(path).iter_batches(CHUNK_ROWS):
                yield batch.to_pandas().rename(columns=str)
            return
        if path == STDIN or inner in TEXT_SUFFIXES + CONVERTED_SUFFIXES:
            types = _column_types(encoder, text_columns, number_columns)
            yield from _text_chunks(path, form, *types)
            return
    except (DataError, MissingExtraError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        if "UTF8" in reason:
            reason += "; --encoding names the encoding"
        raise DataError(f"{source_name(path)} cannot be read: {reason}") from error
    yield read(path, form).frame


def _column_types(
    encoder: Encoder | None, text_columns: Sequence[str], number_columns: Sequence[str]
) -> tuple[set[str], set[str], set[str]]:
    """Return the columns to read as strings, as numbers, and as numbers that are not plain."""
    columns = encoder.columns if encoder else ()
    formatted = set(encoder.target_formats) if encoder else set()
    formatted.update(column.name for column in columns if column.number_format is not None)
    numbers = {column.name for column in columns if column.kind == NUMBER}
    texts = {column.name for column in columns} - numbers
    return texts.union(text_columns), numbers.union(number_columns) - formatted, formatted


def _text_chunks(
    path: Path, form: Format, texts: set[str], numbers: set[str], formatted: set[str]
) -> Iterator[DataFrame]:
    import pyarrow as pa
    from pyarrow import csv

    source, file, dialect = _stdin(form) if path == STDIN else _opened(path, form)
    _refuse_nested_cells(source, texts | numbers | formatted)
    formatted = formatted | (form.column_missing.keys() & (texts | numbers))
    text_columns = [name for name in dialect.names if name in texts | formatted]
    types = dict.fromkeys(text_columns, pa.string()) | {
        name: pa.float64() for name in dialect.names if name in numbers - texts - formatted
    }
    options = arrow_options(
        dialect,
        types,
        newlines_in_values=True,
        skip_rows=dialect.lines_before_rows,
        block_size=CHUNK_BYTES,
        use_threads=False,
    )
    decimals = [name for name in text_columns if name in texts | numbers]
    try:
        for batch in csv.open_csv(file, **options):
            if batch.num_rows:
                table = plain_decimals(pa.Table.from_batches([batch]), dialect, decimals)
                named = table.drop_columns(list(dialect.unnamed))
                yield named.to_pandas().rename(columns=str)
    except pa.ArrowInvalid:
        if path != STDIN:
            _refuse_wrong_numbers(source, dialect, types)
        raise


def _opened(path: Path, form: Format) -> tuple[TextSource, object, SniffResult]:
    """Return the text of a file, the same as pyarrow reads it, and how it is written."""
    source = text_source(path, form)
    dialect = sniff(source, form)
    return source, parser_input(source, dialect), dialect


def _stdin(form: Format) -> tuple[TextSource, object, SniffResult]:
    """Return the same of the standard input, which can be read only once."""
    source = TextSource(Path(_STDIN_NAME))
    head, is_complete = read_head(sys.stdin.buffer)
    if not head:
        raise DataError(f"{_STDIN_NAME} is empty (0 bytes).")
    dialect = sniff_head(head, source.path, form, is_complete)
    file: Any = _Replayed(head, sys.stdin.buffer)
    if not is_utf8(dialect):
        file = io.BytesIO(file.read().decode(dialect.encoding).encode())
    return source, file, dialect


def _refuse_nested_cells(source: TextSource, columns: set[str]) -> None:
    """Raise DataError if a column that is read holds lists or objects."""
    nested = sorted(columns & source.objects.keys())
    if nested:
        raise DataError(
            f"{source.path}: the column(s) {', '.join(nested)} hold lists or objects, not one value"
            " for each row."
        )


class _Replayed(io.RawIOBase):
    """A stream whose first bytes were read already."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self.head, self.rest = io.BytesIO(head), rest

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            return self.head.read() + self.rest.read()
        return self.head.read(size) or self.rest.read(size)


def _refuse_wrong_numbers(
    source: TextSource, dialect: SniffResult, types: dict[str, pa.DataType]
) -> None:
    """Raise DataError if a column of numbers has a cell that is not a number."""
    frame = parse_csv(source, dialect, list(types))
    for name, kind in types.items():
        if str(kind) == "double":
            parse_numbers(frame[name], f"{source.path}, column '{name}'")
