"""Plain tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from mlplab.terminal.output import plain


def aligned(rows: Sequence[Sequence[str]], gap: int = 2) -> list[str]:
    """Format rows of cells as aligned columns, one line per row; numbers are right-aligned."""
    width = max((len(row) for row in rows), default=0)
    cells = [[plain(cell) for cell in row] + [""] * (width - len(row)) for row in rows]
    sizes = [max((len(row[i]) for row in cells), default=0) for i in range(width)]
    right_aligned = [
        all(_is_number(row[i]) for row in cells[1:] if row[i]) and any(row[i] for row in cells[1:])
        for i in range(width)
    ]
    return [
        (" " * gap)
        .join(
            cell.rjust(size) if to_right else cell.ljust(size)
            for cell, size, to_right in zip(row, sizes, right_aligned, strict=True)
        )
        .rstrip()
        for row in cells
    ]


def _is_number(cell: str) -> bool:
    return (
        cell in ("-", "")
        or cell.lstrip("+-").replace(",", "").replace(".", "", 1).replace("e-", "", 1).isdigit()
    )
