"""Read a large file chunk by chunk, as data frames whose columns have the kinds of the training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mlplab.data.table import DataFrame
from mlplab.data.tabular.columns import CATEGORY, NUMBER
from mlplab.data.tabular.csv import arrow_options
from mlplab.data.tabular.encoder import Encoder
from mlplab.data.tabular.readers import TEXT_SUFFIXES, read
from mlplab.data.tabular.sniffing import Format, sniff, suffixes
from mlplab.errors import DataError
from mlplab.extras import require

CHUNK_BYTES = 1 << 22  # of a text file
CHUNK_ROWS = 1 << 16  # of a Parquet file


def read_chunks(
    path: Path, form: Format, encoder: Encoder | None, text_columns: Sequence[str] = ()
) -> Iterator[DataFrame]:
    """Yield the rows of a file in order, chunk by chunk.

    Args:
        path: the file; text and Parquet files are streamed, others are read at once.
        form: how a text file is written; what it leaves open is detected.
        encoder: the encoder whose columns must have the kinds of the training.
        text_columns: further columns, such as an identifier, to read as text.

    Raises:
        DataError: if the file is missing, empty or cannot be read.
    """
    require("A data file", "files", "pandas", "pyarrow")
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
            yield from _text_chunks(path, form, encoder, text_columns)
            return
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split())[:300]}") from error
    yield read(path, form).frame


def _text_chunks(
    path: Path, form: Format, encoder: Encoder | None, text_columns: Sequence[str]
) -> Iterator[DataFrame]:
    import pyarrow as pa
    from pyarrow import csv

    dialect = sniff(path, form)
    # pyarrow streams UTF-8 only; files in other encodings are small in practice
    if dialect.encoding not in ("utf-8", "utf-8-sig"):
        yield read(path, form).frame
        return
    type_of_kind = {NUMBER: pa.float64(), CATEGORY: pa.string()}
    types = dict.fromkeys(text_columns, pa.string()) | {
        column.name: type_of_kind[column.kind]
        for column in (encoder.columns if encoder else ())
        if column.kind in type_of_kind
    }
    options = arrow_options(
        dialect,
        {name: types[name] for name in dialect.names if name in types},
        skip_rows=int(dialect.header),
        block_size=CHUNK_BYTES,
        use_threads=False,
    )
    for batch in csv.open_csv(str(path), **options):
        if batch.num_rows:
            yield batch.to_pandas().rename(columns=str)
