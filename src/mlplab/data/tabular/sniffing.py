"""Detect how a text file is written from its first lines."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, BinaryIO

from mlplab.data.tabular.encoding_choice import decode_head, detected_encoding, invalid_utf8
from mlplab.data.tabular.text_source import TextSource
from mlplab.errors import DataError

MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?", "#N/A")
"""Strings that count as a missing value."""

DELIMITERS = (",", ";", "\t", "|")
SAMPLE_BYTES = 1 << 18
_MAX_SAMPLE_BYTES = 1 << 26
_MIN_SAMPLE_LINES = 3
_MAX_LINES = 200


@dataclass(frozen=True)
class Format:
    """What the user says about how a file is written; None is detected."""

    delimiter: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    header: bool | None = None
    missing: tuple[str, ...] = MISSING
    """The strings that count as a missing value."""
    sheet: str | None = None
    """The sheet of a spreadsheet: its name, or its number from 0."""
    column_missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Further strings that count as a missing value in a column, by its name."""


@dataclass(frozen=True)
class SniffResult:
    """How a text file is written, with the names of its columns."""

    delimiter: str
    encoding: str
    decimal: str
    header: bool
    names: list[str]
    missing: tuple[str, ...] = MISSING
    lines_before_rows: int = 0
    """The number of lines before the first row: the header and what is before it."""
    unnamed: tuple[str, ...] = ()
    """Of `names`, those made up for columns without a name."""
    skipped: int = 0
    """The number of lines before the header that are neither empty nor part of the table."""
    column_missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Row:
    """A row of a sample of a text file.

    Attributes:
        cells: its cells without surrounding blanks.
        start, end: the number of lines before it, and before what follows.
    """

    cells: list[str]
    start: int
    end: int

    @property
    def is_blank(self) -> bool:
        return not any(self.cells)

    @property
    def is_comment(self) -> bool:
        return bool(self.cells) and self.cells[0].startswith("#")


def sniff(source: TextSource, form: Format) -> SniffResult:
    """Detect how a text file is written; fields that are set in `form` are taken as they are.

    Raises DataError if the file is not in the encoding, its encoding cannot be recognized, it has
    no rows, or repeated column names.
    """
    with source.open() as file:
        head, is_complete = read_head(file)
        if source.text is not None:
            form = replace(form, delimiter=",", encoding="utf-8", decimal=".")
        elif form.encoding is None:
            encoding = detected_encoding(head, source.path, is_complete)
            if encoding == "utf-8" and (later := invalid_utf8(head, file)):
                encoding = detected_encoding(later, source.path, is_complete=False)
            form = replace(form, encoding=encoding)
    return sniff_head(head, source.path, form, is_complete, source.has_names)


def read_head(file: IO[bytes] | BinaryIO) -> tuple[bytes, bool]:
    """Return the start of a file with at least a few lines, and whether it is the whole file."""
    head = file.read(SAMPLE_BYTES)
    while (
        len(head) % SAMPLE_BYTES == 0
        and head.count(b"\n") + head.count(b"\r") < _MIN_SAMPLE_LINES
        and len(head) < _MAX_SAMPLE_BYTES
        and (more := file.read(SAMPLE_BYTES))
    ):
        head += more
    return head, len(head) % SAMPLE_BYTES != 0


def sniff_head(
    head: bytes, path: Path, form: Format, is_complete: bool, has_names: bool = False
) -> SniffResult:
    """Detect as `sniff` does how a text file is written that starts with `head`.

    Args:
        head: the first bytes of the file.
        path: the file, for messages.
        form: what is known.
        is_complete: whether `head` is the whole file.
        has_names: whether the first line is known to have the names of the columns.
    """
    encoding = form.encoding or detected_encoding(head, path, is_complete)
    sample = decode_head(head, path, encoding, is_complete)
    lines = io.StringIO(sample.lstrip("\ufeff"), newline="").readlines()[:_MAX_LINES]
    if not is_complete and 1 < len(lines) < _MAX_LINES:
        lines.pop()  # it may end anywhere
    if not any(line.strip() for line in lines):
        raise DataError(f"{path} has no rows, only empty lines.")
    delimiter = form.delimiter or _delimiter(lines)
    rows = _rows(lines, delimiter)
    if not has_names:
        rows = rows[_start(rows, form.header) :]
    decimal = form.decimal or _decimal([row.cells for row in rows], delimiter)
    header = True if has_names else form.header
    if header is None:
        header = _is_header(rows[0].cells, decimal)
    names, unnamed = _names(path, rows, header)
    return SniffResult(
        delimiter,
        encoding,
        decimal,
        header,
        names,
        form.missing,
        rows[0].end if header else rows[0].start,
        unnamed,
        sum(bool(line.strip()) for line in lines[: rows[0].start]),
        form.column_missing,
    )


def delimiter_name(delimiter: str) -> str:
    """Return the name of a delimiter for messages."""
    return {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "space"}.get(
        delimiter, repr(delimiter)
    )


def _rows(lines: Sequence[str], delimiter: str) -> list[_Row]:
    """Return the rows of a sample; a quoted cell may contain line ends."""
    rows: list[_Row] = []
    reader = csv.reader(lines, delimiter=delimiter)
    start = 0
    try:
        for cells in reader:
            rows.append(_Row([cell.strip() for cell in cells], start, reader.line_num))
            start = reader.line_num
    except csv.Error:  # a quote that does not end: such a row is refused when it is parsed
        pass
    return rows


def _start(rows: Sequence[_Row], header: bool | None) -> int:
    """Return the index of the first row of the table: after empty lines, comments and titles.

    A title is a line with cells in at most half of the columns, before one that has the names of
    all columns.
    """
    filled = [i for i, row in enumerate(rows) if not row.is_blank]
    plain = [i for i in filled if not rows[i].is_comment]
    if 2 * len(plain) < len(filled):  # cells begin with the sign of a comment
        plain = filled
    width = _usual_width([rows[i] for i in plain])
    comments = filled[: filled.index(plain[0])]
    first = plain[0]
    if comments and len(rows[comments[-1]].cells) == width:
        first = first if _is_header(rows[first].cells, ".") else comments[-1]
    named = next((i for i in filled if i >= first and not _is_title(rows[i].cells, width)), first)
    has_names = len(rows[named].cells) == width and _is_header(rows[named].cells, ".")
    return named if has_names and header is not False else first


def _is_title(cells: Sequence[str], width: int) -> bool:
    num_filled = sum(bool(cell) for cell in cells)
    num_left = len(list(filter(None, cells[:num_filled])))
    return (
        width > 1
        and 0 < num_filled <= max(1, width // 2)
        and num_left == num_filled
        and parse_number(cells[0]) is None
    )


def _usual_width(rows: Sequence[_Row]) -> int:
    """Return the most frequent number of cells, of equally frequent ones the larger."""
    widths = Counter(len(row.cells) for row in rows)
    return max(widths, key=lambda width: (widths[width], width), default=0)


def _delimiter(lines: Sequence[str]) -> str:
    """The delimiter that splits most rows into the same number of cells, at least two."""

    def agreement(delimiter: str) -> float:
        filled = [row for row in _rows(lines, delimiter) if not row.is_blank]
        rows = [row for row in filled if not row.is_comment] or filled
        sizes = Counter(len(row.cells) for row in rows)
        size, times = sizes.most_common(1)[0] if rows else (0, 0)
        return times / len(rows) + 0.001 * size if size > 1 else 0.0

    return max(DELIMITERS, key=agreement)


def _decimal(rows: Sequence[Sequence[str]], delimiter: str) -> str:
    if delimiter == ",":
        return "."
    cells = [cell for row in rows[1:] for cell in row]
    commas = sum(
        "," in cell and parse_number(cell.replace(",", ".", 1)) is not None for cell in cells
    )
    points = sum("." in cell and parse_number(cell) is not None for cell in cells)
    return "," if commas > points else "."


def parse_number(cell: str) -> float | None:
    """Return the number that a cell stands for; None if it is none."""
    try:
        return float(cell)
    except ValueError:
        return None


def _is_header(cells: Sequence[str], decimal: str) -> bool:
    """Whether a line is a header: none of its cells is a number or a missing value."""
    return (
        any(cells)
        and all(parse_number(cell.replace(decimal, ".")) is None for cell in cells)
        and all(not cell or cell not in MISSING for cell in cells)
    )


def _names(path: Path, rows: Sequence[_Row], header: bool) -> tuple[list[str], tuple[str, ...]]:
    """Return the names of the columns, and those of them that were made up."""
    first, later = rows[0].cells, [row.cells for row in rows[1:] if not row.is_blank]
    if not header:
        return [f"x{i + 1}" for i in range(len(first))], ()
    if not later:
        raise DataError(f"{path} has a header but no rows.")
    names = list(first)
    if names[0].startswith("# "):  # as NumPy writes it
        names[0] = names[0][2:].strip()
    width = _usual_width(rows[1:])
    if width == len(names) + 1 and all(len(cells) != len(names) for cells in later):
        if any(cells[-1] for cells in later):
            raise DataError(
                f"{path}: the header has {len(names)} names, but each row has {width} cells. Name"
                " all columns; R writes a table without row names with row.names=FALSE."
            )
        names.append("")  # each row ends with a delimiter
    if width == len(names) - 1 and not names[-1]:
        names.pop()
    problems = [
        f"the column name '{name}' occurs {count} times (columns"
        f" {', '.join(str(i + 1) for i, other in enumerate(names) if other == name)})"
        for name, count in Counter(filter(None, names)).items()
        if count > 1
    ]
    if problems:
        raise DataError(
            f"{path}, line {rows[0].start + 1}: {'; '.join(problems)}. Give each column a different"
            " name."
        )
    unnamed = {i: f"column {i + 1} (unnamed)" for i, name in enumerate(names) if not name}
    return [unnamed.get(i, name) for i, name in enumerate(names)], tuple(unnamed.values())
