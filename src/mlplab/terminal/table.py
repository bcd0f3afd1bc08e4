"""Plain tables for a terminal."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from mlplab.terminal.output import plain

_NUMBER = re.compile(r"[+-]?([\d,]*\.?\d+(e[+-]?\d+)?|inf|nan)?( \[\S+, \S+\]| \(all equal\))?")


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] | None = None) -> list[str]:
    """Format rows of cells as aligned columns, one line per row; the first row is a header.

    The columns `left` are left-aligned and the others right-aligned; by default, columns of numbers
    are right-aligned.
    """
    width = max((len(row) for row in rows), default=0)
    cells = [[plain(cell) for cell in row] + [""] * (width - len(row)) for row in rows]
    sizes = [max(map(len, column)) for column in zip(*cells, strict=True)]
    if left is None:
        left = [i for i in range(width) if not _holds_numbers([row[i] for row in cells[1:]])]
    return [
        "  ".join(
            cell.ljust(size) if i in left else cell.rjust(size)
            for i, (cell, size) in enumerate(zip(row, sizes, strict=True))
        ).rstrip()
        for row in cells
    ]


def _holds_numbers(cells: Sequence[str]) -> bool:
    return any(cells) and all(map(_NUMBER.fullmatch, cells))
