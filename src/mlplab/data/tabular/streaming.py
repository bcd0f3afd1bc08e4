"""Read a later file chunk by chunk, with the kinds that its columns had in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.data.table import DataFrame
from mlplab.data.tabular.cells import parse_numbers
from mlplab.data.tabular.columns import NUMBER
from mlplab.data.tabular.csv import arrow_options, as_utf8, parse_csv, plain_decimals
from mlplab.data.tabular.encoder import Encoder
from mlplab.data.tabular.readers import TEXT_SUFFIXES, read
from mlplab.data.tabular.sniffing import Format, SniffResult, sniff, suffixes
from mlplab.errors import DataError
from mlplab.extras import require

if TYPE_CHECKING:
    import pyarrow as pa

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
        path: the file; text and Parquet files are streamed, others are read at once.
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
            columns = encoder.columns if encoder else ()
            formats = dict(encoder.target_formats) if encoder else {}
            formats |= {c.name: c.number_format for c in columns if c.number_format is not None}
            numbers = {column.name for column in columns if column.kind == NUMBER}
            texts = {column.name for column in columns} - numbers
            numbers.update(number_columns)
            yield from _text_chunks(
                path, form, texts.union(text_columns), numbers - set(formats), set(formats)
            )
            return
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split())[:300]}") from error
    yield read(path, form).frame


def _text_chunks(
    path: Path, form: Format, texts: set[str], numbers: set[str], formatted: set[str]
) -> Iterator[DataFrame]:
    import pyarrow as pa
    from pyarrow import csv

    dialect = sniff(path, form)
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
    try:
        for batch in csv.open_csv(str(path) if utf8 else as_utf8(path, dialect), **options):
            if batch.num_rows:
                table = pa.Table.from_batches([batch])
                yield plain_decimals(table, dialect, text_columns).to_pandas().rename(columns=str)
    except pa.ArrowInvalid:
        _refuse_wrong_numbers(path, dialect, types)
        raise


def _refuse_wrong_numbers(path: Path, dialect: SniffResult, types: dict[str, pa.DataType]) -> None:
    """Raise DataError if a column of numbers has a cell that is not a number."""
    frame = parse_csv(path, dialect, list(types))
    for name, kind in types.items():
        if str(kind) == "double":
            parse_numbers(frame[name], f"{path}, column '{name}'")
