"""Detect how a text file is written from its first lines."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mlplab.errors import DataError

MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?", "#N/A")
"""Strings that count as a missing value."""

DELIMITERS = (",", ";", "\t", "|")
SAMPLE_BYTES = 1 << 18


@dataclass(frozen=True)
class Format:
    """What the user says about how a text file is written; None is detected."""

    delimiter: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    header: bool | None = None
    missing: tuple[str, ...] = MISSING
    """The strings that count as a missing value."""


@dataclass(frozen=True)
class SniffResult:
    """How a text file is written, with the names of its columns."""

    delimiter: str
    encoding: str
    decimal: str
    header: bool
    names: list[str]
    missing: tuple[str, ...] = MISSING
    blank_lines: int = 0
    """The number of empty lines before the first row or the header."""

    @property
    def lines_before_rows(self) -> int:
        return self.blank_lines + self.header


def sniff(path: Path, form: Format) -> SniffResult:
    """Detect how a text file is written; fields that are set in `form` are taken as they are.

    Raises DataError if the file is not in the encoding, has no rows, or has missing or repeated
    column names.
    """
    with open_decompressed(path) as file:
        return sniff_head(file.read(SAMPLE_BYTES), path, form)


def sniff_head(head: bytes, path: Path, form: Format) -> SniffResult:
    """Detect as `sniff` does how a text file is written whose first SAMPLE_BYTES are `head`."""
    encoding = form.encoding or _encoding(head)
    try:
        sample = head.decode(encoding, errors="ignore" if len(head) == SAMPLE_BYTES else "strict")
    except (UnicodeDecodeError, LookupError) as error:
        raise DataError(
            f"{path} is not in the encoding {encoding}: {error}. Name its encoding, such as"
            " dataset.encoding=latin-1."
        ) from error
    all_lines = sample.splitlines()[:200]
    lines = [line for line in all_lines if line.strip()]
    delimiter = form.delimiter or _delimiter(lines)
    decimal = form.decimal or _decimal(lines, delimiter)
    header = _header(lines, delimiter, decimal) if form.header is None else form.header
    return SniffResult(
        delimiter,
        encoding,
        decimal,
        header,
        _names(path, lines, delimiter, header),
        form.missing,
        all_lines.index(lines[0]) if lines else 0,
    )


def delimiter_name(delimiter: str) -> str:
    """Return the name of a delimiter for messages."""
    return {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "space"}.get(
        delimiter, repr(delimiter)
    )


def suffixes(path: Path) -> tuple[str, str]:
    """Return the suffix of the format and that of the compression: (.csv, .gz) for x.csv.gz."""
    outer = path.suffix.lower()
    if outer in (".gz", ".bz2", ".xz"):
        return path.with_suffix("").suffix.lower(), outer
    return outer, ""


def open_decompressed(path: Path) -> IO[bytes]:
    """Return the file, opened for reading and decompressed as its suffix says."""
    import bz2
    import lzma

    openers: dict[str, Any] = {"": open, ".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    file: IO[bytes] = openers[suffixes(path)[1]](path, "rb")
    return file


def _encoding(head: bytes) -> str:
    for mark, name in (
        (b"\xef\xbb\xbf", "utf-8-sig"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if head.startswith(mark):
            return name
    try:
        head[: -4 if len(head) == SAMPLE_BYTES else None].decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError as error:
        return "cp1252" if error.start < len(head) - 8 else "utf-8"


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]


def _delimiter(lines: list[str]) -> str:
    """The delimiter that splits most lines into the same number of cells, at least two."""

    def agreement(delimiter: str) -> float:
        sizes = Counter(len(_cells(line, delimiter)) for line in lines)
        size, times = sizes.most_common(1)[0]
        return times / len(lines) + 0.001 * size if size > 1 else 0.0

    return max(DELIMITERS, key=agreement) if lines else DELIMITERS[0]


def _decimal(lines: list[str], delimiter: str) -> str:
    if delimiter == ",":
        return "."
    cells = [cell for line in lines[1:] for cell in _cells(line, delimiter)]
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


def _header(lines: list[str], delimiter: str, decimal: str) -> bool:
    """Whether the first line is a header: none of its cells is a number or a missing value."""
    first = _cells(lines[0], delimiter) if lines else []
    return (
        any(first)
        and all(parse_number(cell.replace(decimal, ".")) is None for cell in first)
        and all(not cell or cell not in MISSING for cell in first)
    )


def _names(path: Path, lines: list[str], delimiter: str, header: bool) -> list[str]:
    if not lines:
        raise DataError(f"{path} has no rows, only empty lines.")
    first = _cells(lines[0].lstrip("\ufeff"), delimiter)
    if not header:
        return [f"x{i + 1}" for i in range(len(first))]
    if len(lines) == 1:
        raise DataError(f"{path} has a header but no rows.")
    repeated = [name for name, count in Counter(first).items() if count > 1]
    if repeated:
        numbers = [i + 1 for i, name in enumerate(first) if name == repeated[0]]
        raise DataError(
            f"{path}, line 1: the column name '{repeated[0]}' occurs {len(numbers)} times (columns"
            f" {', '.join(map(str, numbers))}). Give each column a different name."
        )
    if "" in first:
        raise DataError(f"{path}, line 1: column {first.index('') + 1} has no name.")
    return first
