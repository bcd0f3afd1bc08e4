"""A pack: one safetensors file with many jobs that have ended, without pickle or code.

index     JSON as bytes: the number, the time of its end and the summary of each job, and how the
          other tensors are divided among the jobs; read by everything that lists jobs
details   JSON as bytes: log lines, traces, provenance and preprocessing, equal ones once
metrics.G, history.G.*, weights.G.*   the metrics of the best weights [J, M], the evaluations of
          the jobs one after another [E, M], and weights [J, P] of the jobs of group G: those that
          measure the same, or have weights of the same shapes
scalars, artifacts, frames.R.*        what callbacks logged, and the frames of the job in row R

The metadata has the format and the checksum of the index, which has those of all other tensors.
Equal columns and equal steps of all jobs are stored once.

Shapes: J jobs, M measured names, E evaluations of all jobs, P parameters.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from mlplab.io.files import weights_bytes
from mlplab.runs.job_record import JobRecord
from mlplab.runs.pack_index import FORMAT, checksum
from mlplab.training import History

SHARED = ("epoch", "step", "time")
"""Columns of a history that are often equal for all jobs."""

T = TypeVar("T", bound=Hashable)


def pack_bytes(records: Sequence[JobRecord]) -> bytes:
    """Return the file that holds these records, in this order."""
    tensors: dict[str, Tensor] = {}
    index: dict[str, object] = {
        "jobs": _columns([{"number": r.number, "ended": r.ended} for r in records]),
        "summaries": _columns([_without_metrics(record.summary) for record in records]),
        "metrics": _metrics(records, tensors),
        "histories": _histories(records, tensors),
        "weights": _weights(records, tensors),
        "frames": _frames(records, tensors),
    }
    tensors["details"] = _json_tensor(
        {**_details(records), "scalars": _scalars(records, tensors)}
        | {"artifacts": _artifacts(records, tensors)}
    )
    index["checksums"] = {name: checksum(tensor.numpy()) for name, tensor in tensors.items()}
    tensors["index"] = _json_tensor(index)
    metadata = {"format": FORMAT, "index": str(checksum(tensors["index"].numpy()))}
    return weights_bytes(tensors, metadata)


def _json_tensor(value: object) -> Tensor:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def _without_metrics(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in summary.items() if key != "metrics"}


def _columns(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Rows of plain values as columns, for each set of keys; a column of one value has it once."""
    groups = _grouped(range(len(rows)), lambda row: tuple(rows[row]))
    return [
        {
            "rows": group,
            "columns": {key: _column([rows[row][key] for row in group]) for key in keys},
        }
        for keys, group in groups.items()
    ]


def _column(values: Sequence[object]) -> dict[str, object]:
    first = values[0]
    same = all(type(value) is type(first) and value == first for value in values)
    return {"all": first} if same else {"each": list(values)}


def _grouped(rows: Sequence[int], key_of: Callable[[int], T]) -> dict[T, list[int]]:
    groups: dict[T, list[int]] = {}
    for row in rows:
        groups.setdefault(key_of(row), []).append(row)
    return groups


def _ended(records: Sequence[JobRecord]) -> list[int]:
    """The rows of the jobs that have an outcome."""
    return [row for row, record in enumerate(records) if record.outcome is not None]


def _metrics(records: Sequence[JobRecord], tensors: dict[str, Tensor]) -> list[dict[str, object]]:
    groups = _grouped(_ended(records), lambda row: tuple(_outcome(records[row]).metrics))
    for g, rows in enumerate(groups.values()):
        values = [list(_outcome(records[row]).metrics.values()) for row in rows]
        tensors[f"metrics.{g}"] = torch.tensor(values, dtype=torch.float64).reshape(len(rows), -1)
    return [{"rows": rows, "names": list(names)} for names, rows in groups.items()]


def _outcome(record: JobRecord) -> Any:
    return record.outcome


def _histories(records: Sequence[JobRecord], tensors: dict[str, Tensor]) -> list[dict[str, object]]:
    groups = _grouped(_ended(records), lambda row: _outcome(records[row]).history.names)
    return [
        {
            "rows": rows,
            "names": list(names),
            **_history(f"history.{g}", [_outcome(records[row]).history for row in rows], tensors),
        }
        for g, (names, rows) in enumerate(groups.items())
    ]


def _history(
    prefix: str, histories: Sequence[History], tensors: dict[str, Tensor]
) -> dict[str, object]:
    """Store the histories of jobs that measure the same: the columns that vary in one matrix."""
    first, shared = histories[0], []
    for key in SHARED:
        columns = [getattr(history, key) for history in histories]
        if all(np.array_equal(columns[0], column) for column in columns[1:]):
            shared.append(key)
            columns = columns[:1]
        tensors[f"{prefix}.{key}"] = torch.from_numpy(np.concatenate(columns))
    values = np.concatenate([history.values for history in histories])
    constant = {
        name: float(column[0])
        for name, column in zip(first.names, values.T, strict=True)
        if len(column) and math.isfinite(column[0]) and _is_constant(column)
    }
    varying = [m for m, name in enumerate(first.names) if name not in constant]
    tensors[f"{prefix}.values"] = torch.from_numpy(np.ascontiguousarray(values[:, varying]))
    lengths = [len(history) for history in histories]
    return {"lengths": lengths, "shared": shared, "constant": constant}


def _is_constant(column: np.ndarray) -> bool:
    """Whether all bits agree: 0.0 and -0.0 differ."""
    bits = np.ascontiguousarray(column, dtype=np.float64).view(np.int64)
    return bool((bits == bits[0]).all())


def _weights(records: Sequence[JobRecord], tensors: dict[str, Tensor]) -> list[dict[str, object]]:
    groups = _grouped(_ended(records), lambda row: _shapes(records[row]))
    stored: list[dict[str, object]] = []
    for g, rows in enumerate(groups.values()):
        outcomes = [_outcome(records[row]) for row in rows]
        for which, theta, buffers in (
            ("best", "theta_P", "buffers"),
            ("last", "last_theta_P", "last_buffers"),
        ):
            prefix = f"weights.{g}.{which}"
            tensors[prefix] = torch.stack([getattr(one, theta) for one in outcomes])
            for name in getattr(outcomes[0], buffers):
                tensors[f"{prefix}.{name}"] = torch.stack(
                    [getattr(one, buffers)[name] for one in outcomes]
                )
        stored.append({"rows": rows, "buffers": list(outcomes[0].buffers)})
    return stored


def _shapes(record: JobRecord) -> Hashable:
    """What the weights of jobs agree in that are stored in one tensor."""
    outcome = _outcome(record)
    theta_P: Tensor = outcome.theta_P
    buffers = [(n, v.dtype, tuple(v.shape)) for n, v in outcome.buffers.items()]
    return theta_P.dtype, tuple(theta_P.shape), tuple(buffers)


def _details(records: Sequence[JobRecord]) -> dict[str, object]:
    """Texts of the jobs; long ones are numbered, since most are equal."""
    texts: dict[str, int] = {}

    def number(text: str) -> int:
        return texts.setdefault(text, len(texts))

    rows = [
        {
            "best_step": record.outcome.best_step if record.outcome else 0,
            "log": record.log,
            "trace": number(record.trace),
            "data_hash": number(record.data_hash),
            "preprocessing": number(record.preprocessing),
            "origin": number(json.dumps(record.origin)),
        }
        for record in records
    ]
    return {"jobs": _columns(rows), "texts": list(texts)}


def _scalars(records: Sequence[JobRecord], tensors: dict[str, Tensor]) -> list[list[object]]:
    """Store what callbacks logged: step, value and time, one tag of a job after another."""
    tags = [
        (row, name, points)
        for row in _ended(records)
        for name, points in _outcome(records[row]).logged.scalars.items()
    ]
    if tags:
        points = [point for _, _, of_tag in tags for point in of_tag]
        tensors["scalars"] = torch.tensor(points, dtype=torch.float64).reshape(-1, 3)
    return [[row, name, len(points)] for row, name, points in tags]


def _artifacts(records: Sequence[JobRecord], tensors: dict[str, Tensor]) -> list[list[object]]:
    """Store the files that callbacks saved, one after another."""
    files = [
        (row, name, data)
        for row in _ended(records)
        for name, data in _outcome(records[row]).logged.artifacts.items()
    ]
    if data := b"".join(data for _, _, data in files):
        tensors["artifacts"] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return [[row, name, len(data)] for row, name, data in files]


def _frames(records: Sequence[JobRecord], tensors: dict[str, Tensor]) -> list[dict[str, object]]:
    stored: list[dict[str, object]] = []
    for row, record in enumerate(records):
        if record.frames is None:
            continue
        frames, best = record.frames
        prefix = f"frames.{row}"
        tensors[f"{prefix}.epoch"] = torch.from_numpy(frames.epoch)
        tensors[f"{prefix}.step"] = torch.from_numpy(frames.step)
        tensors[f"{prefix}.theta"] = frames.theta_RP
        for name, value in frames.buffers.items():
            tensors[f"{prefix}.theta.{name}"] = value
        stored.append({"row": row, "best": best, "buffers": list(frames.buffers)})
    return stored
