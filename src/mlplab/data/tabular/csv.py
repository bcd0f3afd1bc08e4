"""Parse delimited text into a data frame with pyarrow.

Parsing is strict: a row with more or fewer cells than the header is an error, not a row with
missing cells. A large file is read in sections, because pyarrow keeps the parsed text of everything
that it reads at once, which for a whole file takes as much memory again as its numbers.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.data.table import DataFrame
from mlplab.data.tabular.sniffing import SniffResult, open_decompressed, suffixes
from mlplab.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.csv import InvalidRow

SECTION_BYTES = 1 << 26
THREAD_CHUNK_BYTES = 1 << 20  # parsed by one thread at a time


def parse_csv(
    path: Path,
    dialect: SniffResult,
    text_columns: Sequence[str] = (),
    number_columns: Sequence[str] = (),
) -> DataFrame:
    """Return all rows of a delimited text file.

    Columns of integers with leading zeros are codes and become strings, and so do dates with time
    zones, which would otherwise be converted to UTC.

    Args:
        path: the file.
        dialect: how it is written.
        text_columns: columns to read as strings, whatever their cells look like.
        number_columns: columns that are numbers although they have leading zeros.

    Raises:
        DataError: for a row with a wrong number of cells or a file without rows.
    """
    import pyarrow as pa

    types = {name: pa.string() for name in text_columns if name in dialect.names}
    table = _parse(path, dialect, types)
    if table.num_rows == 0:
        raise DataError(f"{path} has a header but no rows.")
    zoned = [
        field.name
        for field in table.schema
        if pa.types.is_timestamp(field.type) and field.type.tz is not None
    ]
    integers = [
        field.name
        for field in table.schema
        if pa.types.is_integer(field.type) and field.name not in number_columns
    ]
    if integers and not _may_have_codes(path, dialect):
        integers = []
    if zoned or integers:
        strings = _parse(path, dialect, types | dict.fromkeys([*zoned, *integers], pa.string()))
        for name in [*zoned, *(name for name in integers if _has_leading_zeros(strings[name]))]:
            table = table.set_column(table.schema.get_field_index(name), name, strings[name])
    return plain_decimals(table, dialect, types).to_pandas(split_blocks=True, self_destruct=True)


def plain_decimals(table: pa.Table, dialect: SniffResult, columns: Iterable[str]) -> pa.Table:
    """Return the table with a decimal point in numbers among strings, in place of a comma."""
    if dialect.decimal == ".":
        return table
    import pyarrow.compute as pc

    for name in columns:
        column = pc.replace_substring_regex(table[name], r"^([+-]?\d+),(\d+)$", r"\1.\2")
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def _parse(path: Path, dialect: SniffResult, types: dict[str, pa.DataType]) -> pa.Table:
    utf8 = dialect.encoding in ("utf-8", "utf-8-sig")
    large = path.stat().st_size > 2 * SECTION_BYTES and not suffixes(path)[1]
    table = _parse_in_sections(path, dialect, types) if large and utf8 else None
    if table is None:
        source = str(path) if utf8 else as_utf8(path, dialect)
        table = _parse_at_once(path, dialect, source, types)
    return table


def _may_have_codes(path: Path, dialect: SniffResult) -> bool:
    """Return whether a cell of the file may begin with a zero before another digit."""
    wide = dialect.encoding.startswith(("utf-16", "utf-32"))
    file = as_utf8(path, dialect) if wide else open_decompressed(path)
    last = b"\n"
    with file:
        while section := file.read(SECTION_BYTES):
            if re.search(rb"[\W_]0[0-9]", last + section):
                return True
            last = section[-2:]
    return False


def _has_leading_zeros(column: pa.ChunkedArray) -> bool:
    import pyarrow.compute as pc

    return bool(pc.any(pc.match_substring_regex(column, r"^\s*0[0-9]")).as_py())


def as_utf8(path: Path, dialect: SniffResult) -> io.BytesIO:
    """Return the text of a file of any encoding in UTF-8."""
    with open_decompressed(path) as file:
        return io.BytesIO(file.read().decode(dialect.encoding).encode())


def release_unused_memory() -> None:
    """Return the unused memory of pyarrow's allocator to the operating system."""
    # a data frame that was passed from Python may come without pyarrow
    if pyarrow := sys.modules.get("pyarrow"):
        pyarrow.default_memory_pool().release_unused()


def _parse_in_sections(
    path: Path, dialect: SniffResult, given_types: dict[str, pa.DataType]
) -> pa.Table | None:
    """Parse section by section, with the given column types and otherwise those of the first
    section.

    Returns None if a later section does not fit these types or is malformed: then the whole file
    must be parsed at once.
    """
    import pyarrow as pa

    tables: list[pa.Table] = []
    types = given_types
    for section in _sections(path):
        try:
            table = _table(
                pa.BufferReader(pa.py_buffer(section)),
                dialect,
                is_start=not tables,
                types=types,
            )
        except pa.ArrowException:
            return None
        types = {field.name: field.type for field in table.schema}
        tables.append(table)
    return pa.concat_tables(tables)


def _sections(path: Path) -> Iterator[bytes]:
    """Yield the file in sections of whole lines."""
    with open(path, "rb") as file:
        while section := file.read(SECTION_BYTES):
            yield section + file.readline()


def _parse_at_once(
    path: Path, dialect: SniffResult, source: object, types: dict[str, pa.DataType]
) -> pa.Table:
    first_bad_row: list[str] = []

    def on_invalid_row(row: InvalidRow) -> str:
        if not first_bad_row:
            first_bad_row.append(_describe_bad_row(row, dialect.lines_before_rows))
        return "error"

    try:
        return _table(source, dialect, True, types, on_invalid_row)
    except Exception as error:
        if first_bad_row:
            raise DataError(f"{path}: {first_bad_row[0]}") from error
        raise


def _table(
    source: object,
    dialect: SniffResult,
    is_start: bool,
    types: dict[str, pa.DataType],
    on_invalid_row: Callable[[InvalidRow], str] | None = None,
) -> pa.Table:
    from pyarrow import csv

    return csv.read_csv(
        source,
        **arrow_options(
            dialect,
            types,
            on_invalid_row,
            skip_rows=dialect.lines_before_rows if is_start else 0,
            use_threads=True,
            block_size=THREAD_CHUNK_BYTES,
        ),
    )


def arrow_options(
    dialect: SniffResult,
    types: dict[str, pa.DataType],
    on_invalid_row: Callable[[InvalidRow], str] | None = None,
    **read_options: object,
) -> dict[str, object]:
    """Return the keyword arguments for pyarrow's CSV readers.

    Args:
        dialect: how the file is written.
        types: the types of columns whose type must not be inferred.
        on_invalid_row: called for a row with a wrong number of cells.
        **read_options: further arguments of pyarrow's ReadOptions.
    """
    from pyarrow import csv

    return {
        "read_options": csv.ReadOptions(column_names=dialect.names, **read_options),
        "parse_options": csv.ParseOptions(
            delimiter=dialect.delimiter,
            invalid_row_handler=on_invalid_row,
            newlines_in_values=False,
        ),
        "convert_options": csv.ConvertOptions(
            null_values=list(dialect.missing),
            strings_can_be_null=True,
            decimal_point=dialect.decimal,
            column_types=types,
        ),
    }


def _describe_bad_row(row: InvalidRow, header_lines: int) -> str:
    where = (
        f"line {row.number}, row {row.number - header_lines}" if row.number is not None else "a row"
    )
    return f"{where} has {row.actual_columns} cells, not {row.expected_columns}: {row.text[:80]!r}"
