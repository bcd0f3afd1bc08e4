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
from mlplab.data.tabular.csv import arrow_options, as_utf8, parse_csv, plain_decimals
from mlplab.data.tabular.encoder import Encoder
from mlplab.data.tabular.readers import TEXT_SUFFIXES, read
from mlplab.data.tabular.sniffing import (
    SAMPLE_BYTES,
    Format,
    SniffResult,
    sniff,
    sniff_head,
    suffixes,
)
from mlplab.errors import DataError
from mlplab.extras import require

if TYPE_CHECKING:
    import pyarrow as pa

STDIN = Path("-")
"""The standard input, which holds CSV."""
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


def _chunks(
    path: Path,
    form: Format,
    encoder: Encoder | None,
    text_columns: Sequence[str],
    number_columns: Sequence[str],
) -> Iterator[DataFrame]:
    if path == STDIN:
        try:
            yield from _text_chunks(
                path, form, *_column_types(encoder, text_columns, number_columns)
            )
        except DataError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise DataError(f"The standard input cannot be read as CSV: {reason}") from error
        return
    if not path.is_file() or path.stat().st_size == 0:
        read(path, form)  # raises with the reason
    inner, _ = suffixes(path)
    try:
        if inner == ".parquet":
            from pyarrow import parquet

            for batch in parquet.ParquetFile(path).iter_batches(CHUNK_ROWS):
                yield batch.to_pandas().rename(columns=str)
            return
        if inner in TEXT_SUFFIXES:
            yield from _text_chunks(
                path, form, *_column_types(encoder, text_columns, number_columns)
            )
            return
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split())[:300]}") from error
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

    head = sys.stdin.buffer.read(SAMPLE_BYTES) if path == STDIN else b""
    if path == STDIN and not head:
        raise DataError("The standard input is empty (0 bytes).")
    dialect = sniff_head(head, path, form) if path == STDIN else sniff(path, form)
    text_columns = [name for name in dialect.names if name in texts]
    types = dict.fromkeys(text_columns, pa.string()) | {
        name: pa.float64() if name in numbers else pa.string()
        for name in dialect.names
        if name in numbers | formatted and name not in texts
    }
    options = arrow_options(
        dialect,
        types,
        skip_rows=dialect.lines_before_rows,
        block_size=CHUNK_BYTES,
        use_threads=False,
    )
    utf8 = dialect.encoding in ("utf-8", "utf-8-sig")
    source: Any = str(path)
    if path == STDIN:
        source = _Replayed(head, sys.stdin.buffer)
        if not utf8:
            source = io.BytesIO(source.read().decode(dialect.encoding).encode())
    elif not utf8:
        source = as_utf8(path, dialect)
    try:
        for batch in csv.open_csv(source, **options):
            if batch.num_rows:
                table = pa.Table.from_batches([batch])
                yield plain_decimals(table, dialect, text_columns).to_pandas().rename(columns=str)
    except pa.ArrowInvalid:
        if path != STDIN:
            _refuse_wrong_numbers(path, dialect, types)
        raise


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


def _refuse_wrong_numbers(path: Path, dialect: SniffResult, types: dict[str, pa.DataType]) -> None:
    """Raise DataError if a column of numbers has a cell that is not a number."""
    frame = parse_csv(path, dialect, list(types))
    for name, kind in types.items():
        if str(kind) == "double":
            parse_numbers(frame[name], f"{path}, column '{name}'")
