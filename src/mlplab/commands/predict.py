"""`mlplab predict DIR FILE [-o OUT]`: predict new rows."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mlplab.commands.folder_arguments import (
    FORMAT_OPTIONS,
    JSON_OPTION,
    OUTPUT_OPTIONS,
    Options,
    check_output,
    kind,
    later_format,
    load_plugins,
    parse,
)
from mlplab.commands.table_output import print_document
from mlplab.commands.threshold_option import THRESHOLD_OPTION, chosen_threshold, levels
from mlplab.errors import ConfigError
from mlplab.extras import require
from mlplab.io.files import open_atomic
from mlplab.terminal.output import note

if TYPE_CHECKING:
    import pandas as pd

    from mlplab.data.tabular.sniffing import Format
    from mlplab.runs.ensemble import Predictor

FORMATS = ("csv", "jsonl", "parquet")
FORMAT_OF_SUFFIX = {**{f".{name}": name for name in FORMATS}, ".ndjson": "jsonl"}
STDOUT = Path("-")


OPTIONS: Options = {
    "file": {
        "metavar": "FILE",
        "type": Path,
        "help": "rows to predict, with the columns of the training data; - reads CSV from a pipe",
    },
    "-o --out": {
        "metavar": "OUT",
        "type": Path,
        "default": STDOUT,
        "help": "file for the predictions: .csv, .jsonl, .parquet (default: -, which prints them)",
    },
    "--output-format": {
        "choices": FORMATS,
        "help": "the format of OUT (default: as its name says, and CSV where they are printed)",
    },
    "--id": {
        "metavar": "COLUMN",
        "help": (
            "column to copy next to the predictions (default: dataset.id_column, if the file has"
            " it)"
        ),
    },
    "--interval": {
        "metavar": "LEVEL",
        "type": levels,
        "default": (),
        "help": (
            "for values: add the ends of intervals that contain the value of a new row with this"
            " probability, such as 0.9; several as in 0.5,0.9"
        ),
    },
    **THRESHOLD_OPTION,
    **OUTPUT_OPTIONS,
    **FORMAT_OPTIONS,
    **JSON_OPTION,
}


def predict(arguments: Sequence[str]) -> int:
    """Predict every row of a file with a run, or with the mean of a sweep's jobs.

    The predictions are in the order of the rows: the class and the probability of each class, or
    values. The file is read in chunks; without -o each is printed when it is predicted, and a row
    that is refused ends the output.
    """
    args = parse("predict", predict.__doc__ or "", arguments, OPTIONS)
    kind(args.folder)
    out: Path = args.out
    output_format = _output_format(out, args.output_format)
    check_output(out, args.force, args.best)
    require("A data file", "files", "pandas", "pyarrow")
    load_plugins(args.folder, args.plugin)
    from mlplab.sweeps.open_job import predictor as load_predictor

    predictor = load_predictor(args.folder, args.best)
    for level in args.interval:
        predictor.intervals.check_level(level)
    threshold = chosen_threshold(args.threshold, predictor.runs)
    form = later_format(args, predictor.runs[0])
    unfamiliar = Unfamiliar()
    later = Later(args.file, form, args.id, args.interval, threshold)
    tables = _tables(predictor, later, unfamiliar)
    if args.json and out == STDOUT:
        predictions = [row for table in tables for row in _records(table)]
        rows = len(predictions)
    else:
        predictions, rows = None, _write(out, output_format, tables)
    for line in unfamiliar.lines(rows):
        note(line)
    if args.json:
        document = {
            "folder": str(args.folder),
            "rows": rows,
            "runs": len(predictor.runs),
            "remarks": unfamiliar.lines(rows),
            "file": None if out == STDOUT else str(out),
            "predictions": predictions,
        }
        print_document("predictions", document)
        return 0
    if out == STDOUT:
        return 0
    members = f"the mean of {len(predictor.runs)} runs" if len(predictor.runs) > 1 else "one run"
    print(f"{rows} rows predicted by {members}")
    print(out)
    return 0


def _output_format(out: Path, chosen: str | None) -> str:
    """Return the format of the output. Raises ConfigError if the name of the file has none."""
    implied = "csv" if out == STDOUT else FORMAT_OF_SUFFIX.get(out.suffix.lower())
    if chosen is None and implied is None:
        raise ConfigError(
            f"`-o {out}`: predictions are written as {', '.join(FORMAT_OF_SUFFIX)}, by the name of"
            f" the file or with --output-format {'|'.join(FORMATS)}; `-o -` prints them."
        )
    if chosen == "parquet" and out == STDOUT and sys.stdout.isatty():
        raise ConfigError("--output-format parquet is not text: name a file with -o.")
    return chosen or str(implied)


class Unfamiliar:
    """The cells of a file that training has not seen the like of, counted per column."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.examples: dict[tuple[str, str], str] = {}

    def add(self, cells: Mapping[tuple[str, str], pd.Series]) -> None:
        for key, values in cells.items():
            self.counts[key] += len(values)
            first = values.iloc[0]
            if first == first and first is not None:
                self.examples.setdefault(key, str(first)[:40])

    def lines(self, num_rows: int) -> list[str]:
        """Return a line per column and kind of cell."""
        return [
            f"column '{column}': {count} of {num_rows} cells are {description}"
            + (
                f", such as '{self.examples[key]}'"
                if (key := (column, description)) in self.examples
                else ""
            )
            for (column, description), count in self.counts.items()
        ]


@dataclass(frozen=True)
class Later:
    """The file to predict, how it is written, its identifier, and what is predicted of it."""

    path: Path
    form: Format
    id_column: str | None
    levels: Sequence[float]
    threshold: float | None


def _tables(predictor: Predictor, later: Later, unfamiliar: Unfamiliar) -> Iterator[pd.DataFrame]:
    """Yield predictions in chunks, each row with its identifier or its number from 1."""
    from mlplab.data.tabular.columns import require_column
    from mlplab.data.tabular.streaming import read_chunks, source_name

    first, path, id_column = predictor.runs[0], later.path, later.id_column
    trained_id_column = getattr(first.settings.dataset, "id_column", None)
    encoder = first.preprocessing.encoder
    for frame in read_chunks(
        path,
        later.form,
        encoder,
        [name for name in (id_column, trained_id_column) if name],
    ):
        if id_column is not None:
            require_column(id_column, list(frame.columns), source_name(path), "id column")
        name = id_column or (trained_id_column if trained_id_column in frame.columns else None)
        table = predictor.table(frame, source_name(path), later.levels, later.threshold)
        if encoder is not None:
            unfamiliar.add(encoder.unfamiliar(frame))
        table.insert(
            0,
            _unused_name(name or "row", table),
            frame[name].to_numpy() if name is not None else frame.index.to_numpy() + 1,
        )
        yield table


def _unused_name(name: str, table: pd.DataFrame) -> str:
    """Return the name of a column, with a suffix if the predictions have a column of this name."""
    return name if name not in table.columns else f"{name} (input)"


def _write(out: Path, output_format: str, tables: Iterator[pd.DataFrame]) -> int:
    """Write atomically, so that a failure leaves no file, or print; return the number of rows."""
    writers = {"csv": _write_csv, "jsonl": _write_json_lines, "parquet": _write_parquet}
    write = writers[output_format]
    if out == STDOUT:
        rows = write(sys.stdout.buffer, tables)
        sys.stdout.buffer.flush()
        return rows
    with open_atomic(out) as (_, file):
        return write(file, tables)


def _records(table: pd.DataFrame) -> list[dict[Hashable, object]]:
    """The rows as plain values, empty cells as None."""
    cells = table.astype(object).where(table.notna(), None)
    return [
        {
            name: cell if cell is None or isinstance(cell, (bool, int, float)) else str(cell)
            for name, cell in row.items()
        }
        for row in cells.to_dict("records")
    ]


def _write_csv(file: BinaryIO, tables: Iterator[pd.DataFrame]) -> int:
    rows = 0
    for table in tables:
        text = safe(table).to_csv(index=False, header=rows == 0, lineterminator="\n")
        file.write(text.encode())
        rows += len(table)
    return rows


def _write_json_lines(file: BinaryIO, tables: Iterator[pd.DataFrame]) -> int:
    rows = 0
    for table in tables:
        records = _records(table)
        lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in records)
        file.writelines(f"{line}\n".encode() for line in lines)
        rows += len(records)
    return rows


def _write_parquet(file: BinaryIO, tables: Iterator[pd.DataFrame]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer, rows = None, 0
    try:
        for table in tables:
            chunk = pa.Table.from_pandas(table, preserve_index=False)
            if writer is None:
                writer = pq.ParquetWriter(file, chunk.schema)
            writer.write_table(chunk.cast(writer.schema))
            rows += len(table)
    finally:
        if writer is not None:
            writer.close()
    return rows


def safe(table: pd.DataFrame) -> pd.DataFrame:
    """Return a copy whose names of columns and strings no spreadsheet runs as formulas."""
    from pandas.api import types

    escaped = table.copy(deep=False)
    for name in escaped.columns:
        if not types.is_numeric_dtype(escaped[name]) and not types.is_bool_dtype(escaped[name]):
            escaped[name] = escaped[name].map(_escaped)
    return escaped.rename(columns=_escaped)


def _escaped(value: object) -> object:
    from mlplab.tracking.metrics_file import FORMULA_PREFIXES

    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_PREFIXES) else value
