"""Read a pack, which `pack_file` describes: whatever is wrong with one, the error names it, and
nothing of a damaged pack is used.

Shapes: J jobs, E evaluations of a job, P parameters.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlplab.io.files import MAX_BYTES, parse_json
from mlplab.io.links import refuse_links
from mlplab.io.reading import reading
from mlplab.runs.job_record import JobRecord
from mlplab.runs.pack_file import FORMAT, SHARED, checksum
from mlplab.training import Frames, History, Outcome
from mlplab.training.outcome import Logged


class Pack:
    """A pack whose index has been read and checked. `numbers` are those of its jobs, in order, and
    `ended` when they ended, in seconds since 1970.

    Raises DamagedFileError, and LinkError if the path is a symbolic link.
    """

    def __init__(self, path: Path) -> None:
        refuse_links([path])
        self.path = path
        with reading(path, remedy(path.parent)):
            with _File(path) as file:
                index = file.index()
            jobs = _Table(index["jobs"], None)
            self.numbers = [_count(number) for number in jobs.column("number")]
            self.ended = [_number(time) for time in jobs.column("ended")]
            self._summaries = _Table(index["summaries"], len(self.numbers))
            if len(set(self.numbers)) < len(self.numbers):
                raise ValueError("it has a job twice")
            self.statuses = [_text(status) for status in self._summaries.column("status")]
            self._summaries.require_plain()
            self._metric_names: dict[int, tuple[list[str], np.ndarray]] = {}
            for group, values in zip(index["metrics"], file.metrics, strict=True):
                names, rows = _texts(group["names"]), _rows(group["rows"], len(self.numbers))
                for row, of_row in zip(rows, values.reshape(len(rows), len(names)), strict=True):
                    self._metric_names[row] = names, of_row

    def summary(self, row: int) -> dict[str, Any]:
        """The content of summary.json of a job; a metric that is not finite is None."""
        metrics = {
            name: value if math.isfinite(value) else None
            for name, value in self._metrics(row).items()
        }
        return {**self._summaries.row(row), "metrics": metrics}

    def _metrics(self, row: int) -> dict[str, float]:
        names, values = self._metric_names.get(row, ([], np.zeros(0)))
        return dict(zip(names, values.tolist(), strict=True))

    def records(self, rows: Iterable[int] | None = None) -> Iterator[JobRecord]:
        """Yield what is stored of the jobs in these rows, or of all. Raises DamagedFileError."""
        with reading(self.path, remedy(self.path.parent)), _File(self.path) as file:
            contents = _Contents(file, len(self.numbers))
            chosen = [
                self._record(contents, row)
                for row in (range(len(self.numbers)) if rows is None else rows)
            ]
        yield from chosen

    def _record(self, contents: _Contents, row: int) -> JobRecord:
        summary, details = self._summaries.row(row), contents.details.row(row)
        metrics = self._metrics(row)
        weights = contents.weights(row)
        outcome = None
        if weights is not None:
            (theta_P, buffers), (last_P, last_buffers) = weights
            outcome = Outcome(
                status=self.statuses[row],
                reason=_text(summary["reason"]),
                epochs=_count(summary["epochs"]),
                steps=_count(summary["steps"]),
                best_epoch=_count(summary["best_epoch"]),
                best_step=_count(details["best_step"]),
                history=contents.history(row),
                metrics=metrics,
                theta_P=theta_P,
                buffers=buffers,
                last_theta_P=last_P,
                last_buffers=last_buffers,
                logged=contents.logged(row),
            )
        return JobRecord(
            number=self.numbers[row],
            ended=self.ended[row],
            summary={**summary, "metrics": metrics},
            origin=contents.origin(details["origin"]),
            log=_text(details["log"]),
            trace=contents.text(details["trace"]),
            data_hash=contents.text(details["data_hash"]),
            preprocessing=contents.text(details["preprocessing"]),
            outcome=outcome,
            frames=contents.frames(row),
        )


def remedy(packs: Path) -> str:
    """What to do about a damaged pack in this folder of a sweep."""
    return (
        "Restore the file from a copy, or delete it and train its jobs again: mlplab resume"
        f" {packs.parent}"
    )


class _File:
    """The tensors of an open pack, each checked when it is read."""

    def __init__(self, path: Path) -> None:
        from safetensors import safe_open

        self._opened: Any = safe_open(path, framework="pt")

    def __enter__(self) -> _File:
        self._file = self._opened.__enter__()
        metadata = self._file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise ValueError(
                f"its format is {metadata.get('format')!r}, and this version of mlplab reads"
                f" {FORMAT!r}"
            )
        self._checksums: Mapping[str, object] = {"index": int(metadata["index"])}
        content = self.json("index")
        self._index, self._checksums = content, content["checksums"]
        self.metrics = [
            self.tensor(f"metrics.{g}", torch.float64).numpy()
            for g in range(len(content["metrics"]))
        ]
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.__exit__(*error)

    def index(self) -> dict[str, Any]:
        return self._index

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        tensor: Tensor = self._file.get_tensor(name)
        if checksum(tensor) != self._checksums[name]:
            raise ValueError(f"the checksum of its {name} differs")
        if dtype is not None and tensor.dtype != dtype:
            raise ValueError(f"its {name} has the type {tensor.dtype}")
        return tensor

    def json(self, name: str) -> dict[str, Any]:
        if self._file.get_slice(name).get_shape()[0] > MAX_BYTES:
            raise ValueError(f"its {name} has more than {MAX_BYTES} bytes")
        value = parse_json(self.tensor(name, torch.uint8).numpy().tobytes())
        if not isinstance(value, dict):
            raise TypeError(f"its {name} has no keys and values")
        return value


class _Contents:
    """What a pack stores of its jobs besides their summaries; each tensor is read once."""

    def __init__(self, file: _File, num_jobs: int) -> None:
        self._file, self._cache = file, dict[str, Tensor]()
        index, details = file.index(), file.json("details")
        self._texts = _texts(details["texts"])
        self._origins: dict[int, dict[str, Any]] = {}
        self.details = _Table(details["jobs"], num_jobs)
        self._histories, self._weights = index["histories"], index["weights"]
        self._history_of = _positions(self._histories, num_jobs)
        self._weights_of = _positions(self._weights, num_jobs)
        if self._history_of.keys() != self._weights_of.keys():
            raise ValueError("its histories and its weights are not of the same jobs")
        self._ends = [
            list(itertools.accumulate(map(_count, h["lengths"]))) for h in self._histories
        ]
        self._frames = {frames["row"]: frames for frames in index["frames"]}
        self._scalars = _runs_of_rows(details["scalars"])
        self._artifacts = _runs_of_rows(details["artifacts"])

    def _tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        if name not in self._cache:
            self._cache[name] = self._file.tensor(name, dtype)
        return self._cache[name]

    def text(self, number: object) -> str:
        return self._texts[_count(number)]

    def origin(self, number: object) -> dict[str, Any]:
        if (key := _count(number)) not in self._origins:
            self._origins[key] = dict(parse_json(self._texts[key]))
        return self._origins[key]

    def weights(self, row: int) -> tuple[tuple[Tensor, dict[str, Tensor]], ...] | None:
        """The best and the last weights and buffers; None if the job has none."""
        if row not in self._weights_of:
            return None
        g, position = self._weights_of[row]
        group = self._weights[g]

        def of(name: str) -> Tensor:
            tensor = self._tensor(name)
            if len(tensor) != len(group["rows"]):
                raise ValueError(f"its {name} are not those of {len(group['rows'])} jobs")
            return tensor[position]

        buffers = _texts(group["buffers"])
        return tuple(
            (of(prefix), {name: of(f"{prefix}.{name}") for name in buffers})
            for prefix in (f"weights.{g}.best", f"weights.{g}.last")
        )

    def history(self, row: int) -> History:
        g, position = self._history_of[row]
        group, ends = self._histories[g], self._ends[g]
        end = ends[position]
        length = _count(group["lengths"][position])
        columns: dict[str, np.ndarray] = {}
        for key in SHARED:
            dtype = torch.float64 if key == "time" else torch.int64
            column = self._tensor(f"history.{g}.{key}", dtype).numpy()
            if len(column) != (length if key in group["shared"] else ends[-1]):
                raise ValueError(f"its history.{g}.{key} has another length than its jobs")
            columns[key] = column if key in group["shared"] else column[end - length : end]
        names, constant = tuple(_texts(group["names"])), dict(group["constant"])
        stored = self._tensor(f"history.{g}.values", torch.float64).numpy()
        if stored.shape != (ends[-1], len(names) - len(constant)):
            raise ValueError(f"its history.{g}.values has the shape {stored.shape}")
        varying = iter(stored[end - length : end].T)
        values = [
            np.full(length, _number(constant[name])) if name in constant else next(varying)
            for name in names
        ]
        matrix = np.array(values, dtype=np.float64).T.reshape(length, len(names))
        return History(names, values=matrix, **columns)

    def logged(self, row: int) -> Logged:
        scalars: dict[str, list[tuple[int, float, float]]] = {}
        for name, start, end in self._scalars.get(row, ()):
            points = self._tensor("scalars", torch.float64)[start:end].tolist()
            scalars[name] = [(int(step), value, time) for step, value, time in points]
        artifacts = {
            _file_name(name): self._tensor("artifacts", torch.uint8)[start:end].numpy().tobytes()
            if end > start
            else b""
            for name, start, end in self._artifacts.get(row, ())
        }
        return Logged(scalars, artifacts)

    def frames(self, row: int) -> tuple[Frames, int] | None:
        if row not in self._frames:
            return None
        stored, prefix = self._frames[row], f"frames.{row}"
        epoch, step, theta_RP = (
            self._tensor(f"{prefix}.{key}") for key in ("epoch", "step", "theta")
        )
        if not len(epoch) == len(step) == len(theta_RP) > _count(stored["best"]):
            raise ValueError(f"its {prefix} do not have the same length")
        buffers = {name: self._tensor(f"{prefix}.theta.{name}") for name in stored["buffers"]}
        return Frames(epoch.numpy(), step.numpy(), theta_RP, buffers), int(stored["best"])


class _Table:
    """Rows of plain values that are stored as columns, for each set of keys."""

    def __init__(self, groups: Sequence[Mapping[str, Any]], num_rows: int | None) -> None:
        self._columns = [group["columns"] for group in groups]
        all_rows = [row for group in groups for row in group["rows"]]
        num_rows = len(all_rows) if num_rows is None else num_rows
        self._place = _positions(groups, num_rows)
        if len(self._place) != num_rows:
            raise ValueError(f"it has {len(self._place)} rows, not {num_rows}")
        for group in groups:
            for key, column in group["columns"].items():
                if "all" not in column and len(column["each"]) != len(group["rows"]):
                    raise ValueError(f"its column {key} has another length than its jobs")

    def row(self, row: int) -> dict[str, Any]:
        g, position = self._place[row]
        return {
            key: column["all"] if "all" in column else column["each"][position]
            for key, column in self._columns[g].items()
        }

    def column(self, key: str) -> list[Any]:
        """The values of a key that all rows have."""
        values = []
        for row in range(len(self._place)):
            g, position = self._place[row]
            column = self._columns[g][key]
            values.append(column["all"] if "all" in column else column["each"][position])
        return values

    def require_plain(self) -> None:
        """Raise TypeError unless all values are texts, finite numbers, truth values or None."""
        for columns in self._columns:
            for key, column in columns.items():
                for value in [column["all"]] if "all" in column else column["each"]:
                    if not isinstance(value, str | bool | None):
                        _number(value)
                    if not isinstance(key, str):
                        raise TypeError(f"{key!r} is not a text")


def _positions(groups: Sequence[Mapping[str, Any]], num_rows: int) -> dict[int, tuple[int, int]]:
    """Of each row, its group and its position in it."""
    places: dict[int, tuple[int, int]] = {}
    for g, group in enumerate(groups):
        for position, row in enumerate(_rows(group["rows"], num_rows)):
            if row in places:
                raise ValueError(f"it has row {row} twice")
            places[row] = g, position
    return places


def _rows(rows: Sequence[object], num_rows: int) -> list[int]:
    if not all(type(row) is int and 0 <= row < num_rows for row in rows):
        raise ValueError("a row of it is not that of a job")
    return list(rows)  # type: ignore[arg-type]


def _runs_of_rows(entries: Sequence[Sequence[Any]]) -> dict[int, list[tuple[str, int, int]]]:
    """By row: the names of what was logged, with the start and end of each in its tensor."""
    by_row: dict[int, list[tuple[str, int, int]]] = {}
    end = 0
    for row, name, length in entries:
        start, end = end, end + _count(length)
        by_row.setdefault(_count(row), []).append((_text(name), start, end))
    return by_row


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise ValueError(f"{json.dumps(value)[:40]} is not a count or a number of it")
    return value


def _number(value: object) -> float:
    if type(value) not in (int, float) or not -math.inf < value < math.inf:  # type: ignore[operator]
        raise ValueError(f"{str(value)[:40]} is not a number of it")
    return float(value)  # type: ignore[arg-type]


def _file_name(name: str) -> str:
    if name != Path(name).name or name in ("", ".", "..") or "\0" in name:
        raise ValueError(f"{name[:40]!r} is not the name of a file")
    return name


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:40]} is not a text")
    return value


def _texts(values: object) -> list[str]:
    if not isinstance(values, list):
        raise TypeError(f"{str(values)[:40]} is not a list of texts")
    return [_text(value) for value in values]
