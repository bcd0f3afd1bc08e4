"""results.parquet and histories.parquet: a sweep as two tables for pandas, Polars and DuckDB.

results.parquet has the columns of results.csv, one row per job. histories.parquet has `job`,
`epoch`, `step` and the metrics, one row per evaluation of a job. Null is what was not measured, and
NaN what was measured and is not a finite number. pyarrow must be installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlplab.io.files import open_atomic
from mlplab.io.links import refuse_links
from mlplab.sweeps.execution.job_store import Columns, JobStore
from mlplab.sweeps.report.results import Results, columns, is_number, rows

if TYPE_CHECKING:
    import pyarrow as pa

RESULTS, HISTORIES = "results.parquet", "histories.parquet"
ROWS_PER_GROUP = 1 << 17
"""Rows that are in memory before they are written. Readers skip groups by the ranges of columns."""
COMPRESSION = "zstd"
MAX_INTEGER = 1 << 63
KEYS = ("job", "epoch", "step")


def write_tables(results: Results, job_store: JobStore) -> tuple[Path, Path]:
    """Write both files into the folder of the sweep, replacing earlier ones, and return their
    paths.

    Histories are read pack by pack. Raises DamagedFileError or LinkError for jobs or files that
    cannot be read or written.
    """
    paths = results.folder / RESULTS, results.folder / HISTORIES
    refuse_links(paths)
    _write_results(paths[0], results)
    _write_histories(paths[1], job_store, [job.number for job in results.jobs])
    return paths


def _write_results(path: Path, results: Results) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names, cells = columns(results), rows(results)
    by_name = dict(zip(names, zip(*cells, strict=True), strict=True)) if cells else {}
    for key in results.keys:
        values = [job.values[key] for job in results.jobs]
        if all(value is None or isinstance(value, bool) for value in values):
            by_name[key] = tuple(values)  # in a CSV file they are texts
    table = pa.table({name: _array(by_name.get(name, ())) for name in names})
    with open_atomic(path) as (_, file):
        pq.write_table(table, file, row_group_size=ROWS_PER_GROUP, compression=COMPRESSION)


def _array(values: Sequence[Any]) -> pa.Array:
    """Cells as integers, numbers, truth values or texts: the first of these that all are."""
    import pyarrow as pa

    present = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in present):
        kind = pa.bool_() if present else pa.null()
    elif all(isinstance(x, int) and is_number(x) and abs(x) < MAX_INTEGER for x in present):
        kind = pa.int64()
    elif all(map(is_number, present)):
        return pa.array([None if x is None else float(x) for x in values], pa.float64())
    else:
        return pa.array([None if x is None else str(x) for x in values], pa.string())
    return pa.array(values, kind)


def _write_histories(path: Path, job_store: JobStore, numbers: Sequence[int]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    metrics = [name for name in job_store.history_names(numbers) if name not in KEYS]
    fields = [(key, pa.int64()) for key in KEYS] + [(name, pa.float64()) for name in metrics]
    schema = pa.schema(fields)
    with (
        open_atomic(path) as (_, file),
        pq.ParquetWriter(
            file, schema, compression=COMPRESSION, use_dictionary=list(KEYS)
        ) as writer,
    ):
        for chunk in _chunks(job_store.histories(numbers)):
            jobs = np.repeat([number for number, _ in chunk], [_length(one) for _, one in chunk])
            arrays = [pa.array(jobs, pa.int64())]
            for name in schema.names[1:]:
                arrays.append(pa.chunked_array([_cells(one, name) for _, one in chunk]))
            writer.write_table(pa.table(arrays, schema=schema), row_group_size=ROWS_PER_GROUP)


def _cells(history: Columns, name: str) -> pa.Array:
    """A column of a history; null if the job did not measure it."""
    import pyarrow as pa

    kind, cast = (pa.int64(), np.int64) if name in KEYS else (pa.float64(), np.float64)
    if name not in history:
        return pa.nulls(_length(history), kind)
    return pa.array(np.asarray(history[name]).astype(cast), kind, from_pandas=False)


def _length(history: Columns) -> int:
    return len(history["epoch"])


def _chunks(histories: Iterator[tuple[int, Columns]]) -> Iterator[list[tuple[int, Columns]]]:
    chunk: list[tuple[int, Columns]] = []
    num_rows = 0
    for number, history in histories:
        if not len(history.get("epoch", ())):
            continue
        chunk.append((number, history))
        num_rows += _length(history)
        if num_rows >= ROWS_PER_GROUP:
            yield chunk
            chunk, num_rows = [], 0
    if chunk:
        yield chunk
