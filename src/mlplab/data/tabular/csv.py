"""Delimited text as a data frame, by pyarrow, strictly: a row with more or fewer cells than the
header is an error and not a row with holes.

A large file is read in sections. pyarrow keeps the parsed text of all that it reads at once, which
for a whole file is as much again as its numbers.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.data.tabular.sniffing import MISSING, SniffResult
from mlplab.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SECTION = 1 << 26  # bytes
BLOCK = 1 << 20  # bytes that a thread parses


def parsed(place: Path, found: SniffResult, plain: bool) -> pd.DataFrame:
    """All rows. `plain`: not compressed. Raises DataError."""
    utf8 = found.encoding in ("utf-8", "utf-8-sig")
    in_sections = plain and utf8 and place.stat().st_size > 2 * SECTION
    table = _joined(place, found) if in_sections else None
    if table is None:
        table = _whole(
            place,
            found,
            (
                str(place)
                if utf8
                else io.BytesIO(_unpacked(place, plain).decode(found.encoding).encode())
            ),
        )
    if table.num_rows == 0:
        raise DataError(f"{place} holds a header and no rows.")
    return table.to_pandas(split_blocks=True, self_destruct=True)


def release() -> None:
    """Give back to the system what pyarrow's allocator holds and does not use."""
    import pyarrow

    pyarrow.default_memory_pool().release_unused()


def arrow_module(module: str) -> Any:
    """A part of pyarrow, imported when it is needed."""
    from importlib import import_module

    return import_module(f"pyarrow.{module}")


def _joined(place: Path, found: SniffResult) -> pa.Table | None:
    """Section by section, with the types of the first; None where a later one does not fit them, or
    is not well formed: then the whole file decides.
    """
    import pyarrow as pa

    tables: list[pa.Table] = []
    types: dict[str, pa.DataType] = {}
    for section in _sections(place):
        try:
            table = _table(
                pa.BufferReader(pa.py_buffer(section)),
                found,
                skipped=found.header and not tables,
                types=types,
            )
        except pa.ArrowException:
            return None
        types = types or {field.name: field.type for field in table.schema}
        tables.append(table)
    return pa.concat_tables(tables)


def _sections(place: Path) -> Iterator[bytes]:
    """The file in pieces of whole lines."""
    with open(place, "rb") as file:
        while piece := file.read(SECTION):
            yield piece + file.readline()


def _whole(place: Path, found: SniffResult, source: Any) -> pa.Table:
    """All at once."""
    bad: list[str] = []

    def invalid(row: Any) -> str:
        if not bad:
            bad.append(_ragged(row, int(found.header)))
        return "error"

    try:
        return _table(source, found, found.header, {}, invalid)
    except Exception as error:
        if bad:
            raise DataError(f"{place}: {bad[0]}") from error
        raise


def _table(
    source: Any,
    found: SniffResult,
    skipped: bool,
    types: dict[str, pa.DataType],
    invalid: Any = None,
) -> pa.Table:
    options = options_of(
        found, types, invalid, skip_rows=int(skipped), use_threads=True, block_size=BLOCK
    )
    return arrow_module("csv").read_csv(source, **options)


def options_of(
    found: SniffResult, types: dict[str, pa.DataType], invalid: Any = None, **reading: Any
) -> dict[str, Any]:
    """How a file is written and its cells are to be understood, in pyarrow's words. `types`: of
    columns whose kind is not to be found out.
    """
    arrow = arrow_module("csv")
    return {
        "read_options": arrow.ReadOptions(column_names=found.names, **reading),
        "parse_options": arrow.ParseOptions(
            delimiter=found.delimiter, invalid_row_handler=invalid, newlines_in_values=False
        ),
        "convert_options": arrow.ConvertOptions(
            null_values=list(MISSING),
            strings_can_be_null=True,
            decimal_point=found.decimal,
            column_types=types,
        ),
    }


def _ragged(row: Any, skipped: int) -> str:
    where = f"line {row.number}, row {row.number - skipped}" if row.number is not None else "a row"
    return f"{where} has {row.actual_columns} cells, not {row.expected_columns}: {row.text[:80]!r}"


def _unpacked(place: Path, plain: bool) -> bytes:
    import bz2
    import lzma

    if plain:
        return place.read_bytes()
    openers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    with openers[place.suffix.lower()](place, "rb") as file:
        return bytes(file.read())
