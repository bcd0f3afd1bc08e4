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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.data.table import DataFrame
from mlplab.data.tabular.sniffing import SniffResult
from mlplab.data.tabular.text_source import TextSource
from mlplab.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.csv import InvalidRow

SECTION_BYTES = 1 << 26
THREAD_CHUNK_BYTES = 1 << 20  # parsed by one thread at a time
WIDE_CHUNK_BYTES = 1 << 10  # the same for each column of a wide file, at least
MAX_BLOCKS = 500
"""A frame of up to this many columns has each in memory of its own, which is freed with it."""


def parse_csv(
    source: TextSource,
    dialect: SniffResult,
    text_columns: Sequence[str] = (),
    number_columns: Sequence[str] = (),
) -> DataFrame:
    """Return all rows of delimited text.

    Columns of integers with leading zeros are codes and become strings, and so do dates with time
    zones, which would otherwise be converted to UTC.

    Args:
        source: the text.
        dialect: how it is written.
        text_columns: columns to read as strings, whatever their cells look like.
        number_columns: columns that are numbers although they have leading zeros.

    Raises:
        DataError: for rows with a wrong number of cells, text in another encoding, or a file
            without rows.
    """
    import pyarrow as pa

    types = {name: pa.string() for name in text_columns if name in dialect.names}
    table = _parse(source, dialect, types)
    if table.num_rows == 0:
        raise DataError(f"{source.path} has a header but no rows.")
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
    if integers and not _may_have_codes(source, dialect):
        integers = []
    if zoned or integers:
        texts = dict.fromkeys([*zoned, *integers], pa.string())
        strings = _parse(source, dialect, texts, list(texts))
        for name in [*zoned, *(name for name in integers if _has_leading_zeros(strings[name]))]:
            table = _with_column(table, name, strings[name])
    table = plain_decimals(table, dialect, types)
    is_narrow = table.num_columns <= MAX_BLOCKS
    frame = table.to_pandas(split_blocks=is_narrow, self_destruct=True)
    return frame.assign(**source.objects) if source.objects else frame


def plain_decimals(table: pa.Table, dialect: SniffResult, columns: Iterable[str]) -> pa.Table:
    """Return the table with a decimal point in numbers among strings, in place of a comma."""
    if dialect.decimal == ".":
        return table
    import pyarrow.compute as pc

    for name in columns:
        column = pc.replace_substring_regex(table[name], r"^([+-]?\d+),(\d+)$", r"\1.\2")
        table = _with_column(table, name, column)
    return table


def _with_column(table: pa.Table, name: str, column: pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, column)


def _parse(
    source: TextSource,
    dialect: SniffResult,
    types: dict[str, pa.DataType],
    columns: Sequence[str] = (),
) -> pa.Table:
    """Parse the columns with these names, or all; those for which further strings count as missing
    once more by themselves, so that their types do not depend on these strings.
    """
    import pyarrow as pa

    table = _parse_columns(source, dialect, types, columns)
    for name, missing in dialect.column_missing.items():
        if name in table.column_names:
            further = replace(dialect, missing=(*dialect.missing, *missing))
            table = _with_column(table, name, _parse_columns(source, further, types, [name])[name])
    for field in table.schema:
        if pa.types.is_binary(field.type):
            raise DataError(
                f"{source.path}, column '{field.name}': it has cells that are not in the encoding"
                f" {dialect.encoding}. Name its encoding, such as dataset.encoding=cp949."
            )
    return table


def _parse_columns(
    source: TextSource,
    dialect: SniffResult,
    types: dict[str, pa.DataType],
    columns: Sequence[str] = (),
) -> pa.Table:
    """Parse the columns with these names, or all."""
    is_plain = source.is_plain_file and is_utf8(dialect)
    if is_plain and source.path.stat().st_size > 2 * SECTION_BYTES:
        table = _parse_in_sections(source.path, dialect, types, columns)
        if table is not None:
            return table
    return _parse_at_once(source, dialect, types, columns)


def _may_have_codes(source: TextSource, dialect: SniffResult) -> bool:
    """Return whether a cell of the file may begin with a zero before another digit."""
    wide = dialect.encoding.startswith(("utf-16", "utf-32"))
    file = as_utf8(source, dialect) if wide else source.open()
    last = b"\n"
    with file:
        while section := file.read(SECTION_BYTES):
            if re.search(rb"[^0-9A-Za-z.+-]0[0-9]", last + section):
                return True
            last = section[-2:]
    return False


def _has_leading_zeros(column: pa.ChunkedArray) -> bool:
    import pyarrow.compute as pc

    return bool(pc.any(pc.match_substring_regex(column, r"^\s*0[0-9]")).as_py())


def is_utf8(dialect: SniffResult) -> bool:
    """Return whether the text can be parsed as it is."""
    return dialect.encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig", "ascii")


def as_utf8(source: TextSource, dialect: SniffResult) -> io.BytesIO:
    """Return text of any encoding in UTF-8. Raises DataError if it is not in its encoding."""
    with source.open() as file:
        content = file.read()
    try:
        return io.BytesIO(content.decode(dialect.encoding).encode())
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{source.path}, line {line}: it is not in the encoding {dialect.encoding}. Name its"
            " encoding, such as dataset.encoding=cp949."
        ) from error


def release_unused_memory() -> None:
    """Return the unused memory of pyarrow's allocator to the operating system."""
    # a data frame that was passed from Python may come without pyarrow
    if pyarrow := sys.modules.get("pyarrow"):
        pyarrow.default_memory_pool().release_unused()


def _parse_in_sections(
    path: Path,
    dialect: SniffResult,
    given_types: dict[str, pa.DataType],
    columns: Sequence[str],
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
        if section.count(b'"') % 2:
            return None  # it may end in a quoted cell
        try:
            table = _table(
                pa.BufferReader(pa.py_buffer(section)),
                dialect,
                is_start=not tables,
                types=types,
                columns=columns,
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
    source: TextSource,
    dialect: SniffResult,
    types: dict[str, pa.DataType],
    columns: Sequence[str],
) -> pa.Table:
    import pyarrow as pa

    try:
        return _table(parser_input(source, dialect), dialect, True, types, columns)
    except pa.ArrowInvalid:
        bad_rows: list[str] = []

        def on_invalid_row(row: InvalidRow) -> str:
            bad_rows.append(_describe_bad_row(row, dialect.lines_before_rows))
            return "skip"

        table = _table(
            parser_input(source, dialect), dialect, True, types, columns, on_invalid_row, False
        )
        if bad_rows:
            others = f" {len(bad_rows)} such rows." if len(bad_rows) > 3 else ""
            raise DataError(f"{source.path}: {'; '.join(bad_rows[:3])}.{others}") from None
        return table


def parser_input(source: TextSource, dialect: SniffResult) -> object:
    """Return what pyarrow reads: the path of a file or an open file, in UTF-8."""
    if not is_utf8(dialect):
        return as_utf8(source, dialect)
    return str(source.path) if source.is_plain_file else source.open()


def _table(
    file: object,
    dialect: SniffResult,
    is_start: bool,
    types: dict[str, pa.DataType],
    columns: Sequence[str] = (),
    on_invalid_row: Callable[[InvalidRow], str] | None = None,
    is_plain: bool = True,
) -> pa.Table:
    """Parse a file. If it is not `is_plain`, cells may contain line ends, and rows are counted."""
    from pyarrow import csv

    return csv.read_csv(
        file,
        **arrow_options(
            dialect,
            types,
            on_invalid_row,
            columns,
            not is_plain,
            skip_rows=dialect.lines_before_rows if is_start else 0,
            use_threads=is_plain,
            block_size=max(THREAD_CHUNK_BYTES, WIDE_CHUNK_BYTES * len(dialect.names)),
        ),
    )


def arrow_options(
    dialect: SniffResult,
    types: dict[str, pa.DataType],
    on_invalid_row: Callable[[InvalidRow], str] | None = None,
    columns: Sequence[str] = (),
    newlines_in_values: bool = False,
    **read_options: object,
) -> dict[str, object]:
    """Return the keyword arguments for pyarrow's CSV readers.

    Args:
        dialect: how the file is written.
        types: the types of columns whose type must not be inferred.
        on_invalid_row: called for a row with a wrong number of cells.
        columns: the columns to return; none stands for all.
        newlines_in_values: whether quoted cells may contain line ends.
        **read_options: further arguments of pyarrow's ReadOptions.
    """
    from pyarrow import csv

    return {
        "read_options": csv.ReadOptions(column_names=dialect.names, **read_options),
        "parse_options": csv.ParseOptions(
            delimiter=dialect.delimiter,
            invalid_row_handler=on_invalid_row,
            newlines_in_values=newlines_in_values,
        ),
        "convert_options": csv.ConvertOptions(
            null_values=list(dialect.missing),
            strings_can_be_null=True,
            decimal_point=dialect.decimal,
            column_types=types,
            include_columns=list(columns),
        ),
    }


def _describe_bad_row(row: InvalidRow, header_lines: int) -> str:
    where = (
        f"line {row.number}, row {row.number - header_lines}" if row.number is not None else "a row"
    )
    return f"{where} has {row.actual_columns} cells, not {row.expected_columns}: {row.text[:80]!r}"
