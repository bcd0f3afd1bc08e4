"""Read spreadsheets and JSON lines as the CSV text that has the same cells.

So a cell means the same in all of these formats, in training as in prediction: codes with leading
zeros, numbers that are stored as text, dates and strings that count as empty are recognized in the
text. Numbers keep all of their digits, and dates are written as in ISO 8601.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from mlplab.data.tabular.sniffing import Format
from mlplab.data.tabular.text_source import TextSource
from mlplab.errors import DataError
from mlplab.extras import require


def converted(path: Path, file: IO[bytes], suffix: str, form: Format) -> TextSource:
    """Return the text of a spreadsheet or of JSON lines.

    Args:
        path: the file, for messages.
        file: its content, decompressed.
        suffix: the suffix of its format.
        form: which sheet of a spreadsheet to read.

    Raises:
        DataError: if the file is not of its format, a spreadsheet has several sheets and none is
            named, or a row of JSON is not an object.
        MissingExtraError: if a library is missing.
    """
    if suffix in (".xlsx", ".xlsm"):
        return _spreadsheet(path, file, form.sheet)
    return _json_rows(path, file, is_document=suffix == ".json")


def _as_csv(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_cell(cell) for cell in row] for row in rows)
    return text.getvalue().encode()


def _cell(cell: object) -> str:
    """Return the text of a cell, empty if there is none."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, datetime.datetime):
        at_midnight = cell.time() == datetime.time()
        return cell.date().isoformat() if at_midnight else cell.isoformat(sep="T")
    if isinstance(cell, float):
        return repr(cell)
    return cell.isoformat() if isinstance(cell, datetime.date) else str(cell)


def _spreadsheet(path: Path, file: IO[bytes], chosen: str | None) -> TextSource:
    require("A spreadsheet", "excel", "openpyxl")
    import openpyxl

    content = io.BytesIO(file.read())
    with warnings.catch_warnings():  # of formats and validations, which have no effect on cells
        warnings.simplefilter("ignore")
        book = openpyxl.load_workbook(content, read_only=True, data_only=True)
        sheets = {sheet.title: sheet for sheet in book.worksheets}
        name = _sheet_name(path, sheets, chosen)
        rows = _table_rows(sheets[name])
        book.close()
    if not rows:
        raise DataError(f"{path}: the sheet '{name}' has no cells.")
    return TextSource(path, _as_csv(rows), notes=(f"the sheet '{name}'",))


def _sheet_name(path: Path, sheets: dict[str, Any], chosen: str | None) -> str:
    """Return the name of the sheet that the user chose, or of the only one with cells."""
    listed = ", ".join(f"'{name}'" for name in sheets)
    if chosen in sheets:
        return str(chosen)
    names = list(sheets)
    if chosen is not None:
        if chosen.isdecimal() and int(chosen) < len(names):
            return names[int(chosen)]
        raise DataError(f"{path} has no sheet {chosen!r}. Its sheets, from 0: {listed}.")
    visible = [name for name, sheet in sheets.items() if sheet.sheet_state == "visible"]
    filled = [name for name in visible if next(_cells(sheets[name]), None)]
    if len(filled) > 1:
        first = filled[0] if filled[0].isidentifier() else f"'\"{filled[0]}\"'"
        raise DataError(
            f"{path} has {len(filled)} sheets with cells: {', '.join(map(repr, filled))}. Choose"
            f" one, by name or by its number from 0: dataset.sheet={first} (--sheet of a command)."
        )
    if not filled:
        raise DataError(f"{path} has no visible sheet with cells; its sheets are {listed}.")
    return filled[0]


def _cells(sheet: Any) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a sheet that have a cell."""
    sheet.reset_dimensions()  # what the file says about its size may be wrong
    for row in sheet.iter_rows(values_only=True):
        if any(cell is not None and cell != "" for cell in row):
            yield row


def _table_rows(sheet: Any) -> list[list[object]]:
    """Return the rows of a sheet, without the empty columns around the table."""
    rows = list(_cells(sheet))
    used = [[i for i, cell in enumerate(row) if cell is not None and cell != ""] for row in rows]
    first = min((columns[0] for columns in used), default=0)
    width = max((columns[-1] + 1 for columns in used), default=0)
    return [[*row, *[None] * (width - len(row))][first:width] for row in rows]


def _json_rows(path: Path, file: IO[bytes], is_document: bool) -> TextSource:
    if is_document:
        document = _parsed(path, file.read(), "")
        if not isinstance(document, list):
            raise DataError(f"{path} must be a list of objects, one for each row.")
        rows = document
    else:
        lines = enumerate(file.read().splitlines(), 1)
        rows = [_parsed(path, line, f", line {n}") for n, line in lines if line.strip()]
    wrong = next((i for i, row in enumerate(rows) if not isinstance(row, dict)), None)
    if wrong is not None:
        raise DataError(
            f'{path}, row {wrong + 1}: each row must be an object such as {{"x": 1.5, "y": "a"}}.'
        )
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        raise DataError(f"{path} has no rows.")
    nested = {name for row in rows for name, cell in row.items() if isinstance(cell, (dict, list))}
    cells = ([None if name in nested else row.get(name) for name in names] for row in rows)
    return TextSource(
        path,
        _as_csv([names, *cells]),
        has_names=True,
        objects={name: [row.get(name) for row in rows] for name in names if name in nested},
        notes=("JSON",),
    )


def _parsed(path: Path, text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}{where}: this is not JSON ({error}).") from error
