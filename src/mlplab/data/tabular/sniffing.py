"""How a text file is written: found out from its first lines."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlplab.errors import DataError

MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?", "#N/A")
"""Texts that are taken for a missing value."""
DELIMITERS = (",", ";", "\t", "|")
_SAMPLE = 1 << 18
_LEAST_LINES = 2


@dataclass(frozen=True)
class Format:
    """How a text file is written; None is found out."""

    delimiter: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    header: bool | None = None


@dataclass(frozen=True)
class SniffResult:
    """How a text file is written."""

    delimiter: str
    encoding: str
    decimal: str
    header: bool
    names: list[str]


def sniff(place: Path, form: Format) -> SniffResult:
    """Find out how a text file is written, from its first lines; what the format says is taken.
    Raises DataError.
    """
    head = _sample(place)
    encoding = form.encoding or _encoding(head)
    try:
        sample = head.decode(encoding, errors="ignore" if len(head) == _SAMPLE else "strict")
    except (UnicodeDecodeError, LookupError) as error:
        raise DataError(
            f"{place} is not in the encoding {encoding}: {error}. Say which it is with"
            " dataset.encoding=latin-1, or another."
        ) from error
    lines = [line for line in sample.splitlines()[:200] if line.strip()]
    delimiter = form.delimiter or _delimiter(lines)
    decimal = form.decimal or _decimal(lines, delimiter)
    header = _header(lines, delimiter, decimal) if form.header is None else form.header
    return SniffResult(
        delimiter, encoding, decimal, header, _names(place, lines, delimiter, header)
    )


def word(delimiter: str) -> str:
    return {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "space"}.get(
        delimiter, repr(delimiter)
    )


def _sample(place: Path) -> bytes:
    import bz2
    import lzma

    openers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    with openers.get(place.suffix.lower(), open)(place, "rb") as file:
        return bytes(file.read(_SAMPLE))


def _encoding(head: bytes) -> str:
    for mark, name in (
        (b"\xef\xbb\xbf", "utf-8-sig"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if head.startswith(mark):
            return name
    try:
        head[: -4 if len(head) == _SAMPLE else None].decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError as error:
        return "cp1252" if error.start < len(head) - 8 else "utf-8"


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]


def _delimiter(lines: list[str]) -> str:
    """The one that cuts most lines into the same number of cells, of at least two."""
    best, chosen = 0.0, ","
    for delimiter in DELIMITERS:
        counts = Counter(len(_cells(line, delimiter)) for line in lines)
        size, times = counts.most_common(1)[0] if counts else (1, 0)
        agreement = times / max(len(lines), 1) + 0.001 * size
        if size > 1 and agreement > best:
            best, chosen = agreement, delimiter
    return chosen


def _decimal(lines: list[str], delimiter: str) -> str:
    if delimiter == ",":
        return "."
    cells = [cell for line in lines[1:] for cell in _cells(line, delimiter)]
    commas = sum(_is_number(cell.replace(",", ".", 1)) and "," in cell for cell in cells)
    points = sum(_is_number(cell) and "." in cell for cell in cells)
    return "," if commas > points else "."


def _is_number(cell: str) -> bool:
    try:
        float(cell)
        return True
    except ValueError:
        return False


def _header(lines: list[str], delimiter: str, decimal: str) -> bool:
    """No cell of the first line is a number, or a word for a missing one."""
    first = _cells(lines[0], delimiter) if lines else []
    plain = [cell.replace(decimal, ".") for cell in first]
    return (
        any(first)
        and not any(_is_number(cell) for cell in plain)
        and all(not cell or cell not in MISSING for cell in first)
    )


def _names(place: Path, lines: list[str], delimiter: str, header: bool) -> list[str]:
    if not lines:
        raise DataError(f"{place} holds no rows: only empty lines.")
    first = _cells(lines[0].lstrip("\ufeff"), delimiter)
    if not header:
        return [f"x{i + 1}" for i in range(len(first))]
    if len(lines) < _LEAST_LINES:
        raise DataError(f"{place} holds a header and no rows.")
    twice = [name for name, count in Counter(first).items() if count > 1]
    if twice:
        places = [i + 1 for i, name in enumerate(first) if name == twice[0]]
        raise DataError(
            f"{place}, line 1: the column '{twice[0]}' is there {len(places)} times (columns"
            f" {', '.join(map(str, places))}). Give each a name of its own."
        )
    if "" in first:
        raise DataError(f"{place}, line 1: column {first.index('') + 1} has no name.")
    return first
