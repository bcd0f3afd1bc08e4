"""A large file piece by piece, as data frames whose columns have the kinds that training met."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.data.tabular.columns import CATEGORY, NUMBER
from mlplab.data.tabular.csv import arrow_module, options_of
from mlplab.data.tabular.encoder import Encoder
from mlplab.data.tabular.readers import TEXT, pandas, read, suffixes
from mlplab.data.tabular.sniffing import Format, sniff
from mlplab.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

BLOCK = 1 << 22  # bytes of a text file read at once
ROWS = 1 << 16  # rows of a Parquet file read at once


def pieces(
    path: Path, form: Format, encoder: Encoder | None, kept: Sequence[str] = ()
) -> Iterator[pd.DataFrame]:
    """The rows of a file in their order, the columns of the encoder and `kept` among them. Raises
    DataError.
    """
    pandas()
    if not path.is_file() or path.stat().st_size == 0:
        read(path, form)  # says what is wrong
    inner, _ = suffixes(path)
    try:
        if inner == ".parquet":
            for batch in arrow_module("parquet").ParquetFile(path).iter_batches(ROWS):
                yield _named(batch.to_pandas())
            return
        if inner in TEXT:
            yield from _text_pieces(path, form, encoder, kept)
            return
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split())[:300]}") from error
    yield _named(read(path, form).frame)


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    frame.columns = [str(name) for name in frame.columns]
    return frame


def _text_pieces(
    path: Path, form: Format, encoder: Encoder | None, kept: Sequence[str]
) -> Iterator[pd.DataFrame]:
    import pyarrow as pa

    found = sniff(path, form)
    # pyarrow streams UTF-8 only; others are small in practice
    if found.encoding not in ("utf-8", "utf-8-sig"):
        yield _named(read(path, form).frame)
        return
    kinds = {column.name: column.kind for column in encoder.columns} if encoder else {}
    types: dict[str, Any] = {
        name: pa.float64() for name, kind in kinds.items() if kind == NUMBER and name in found.names
    }
    types |= {
        name: pa.string()
        for name, kind in kinds.items()
        if kind == CATEGORY and name in found.names
    }
    types |= {name: pa.string() for name in kept if name in found.names and name not in types}
    options = options_of(
        found, types, skip_rows=int(found.header), block_size=BLOCK, use_threads=False
    )
    reader = arrow_module("csv").open_csv(str(path), **options)
    for batch in reader:
        if batch.num_rows:
            yield _named(batch.to_pandas())
