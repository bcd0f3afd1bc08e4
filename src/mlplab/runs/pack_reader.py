"""What a pack stores of its jobs besides their summaries: weights, histories, texts and frames.

Shapes: J jobs, E evaluations of a job, P parameters.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlplab.io.files import parse_json
from mlplab.io.reading import reading
from mlplab.runs.job_record import JobRecord
from mlplab.runs.pack_file import SHARED
from mlplab.runs.pack_index import Pack, PackFile, remedy
from mlplab.runs.pack_table import Table, count, number, positions, text, texts
from mlplab.training import Frames, History, Outcome
from mlplab.training.outcome import Logged

MAX_CACHED_BYTES = 256 << 20
"""Of histories that stay in memory."""


def read_records(pack: Pack, rows: Iterable[int] | None = None) -> list[JobRecord]:
    """Return what is stored of the jobs in these rows of a pack, or of all.

    Raises DamagedFileError.
    """
    with reading(pack.path, remedy(pack.path.parent)), PackFile(pack.path) as file:
        contents = _Contents(file, len(pack.numbers))
        return [
            _record(pack, contents, row)
            for row in (range(len(pack.numbers)) if rows is None else rows)
        ]


def _read_histories(pack: Pack) -> dict[int, History]:
    """Return the histories of the jobs of a pack that have one, by row. Raises DamagedFileError."""
    with reading(pack.path, remedy(pack.path.parent)), PackFile(pack.path) as file:
        contents = _Contents(file, len(pack.numbers))
        rows = (row for row in range(len(pack.numbers)) if contents.has_history(row))
        return {row: contents.history(row) for row in rows}


def read_histories(packs: Iterable[tuple[Pack, Sequence[int]]]) -> Iterator[tuple[int, History]]:
    """Yield (number, history) of the jobs in these rows of packs that have a history, pack by pack;
    none stays in memory. Raises DamagedFileError.
    """
    for pack, rows in packs:
        histories = _read_histories(pack)
        for row in rows:
            if row in histories:
                yield pack.numbers[row], histories[row]


class PackedHistories:
    """The histories of jobs in packs, one after another in any order. `locate` returns the pack of
    a job and its row in it.

    Those of the packs that were read last stay in memory.
    """

    def __init__(self, locate: Callable[[int], tuple[Pack, int]]) -> None:
        self._locate = locate
        self._histories: dict[Path, dict[int, History]] = {}

    def read(self, number: int) -> History | None:
        """Return the history of a job; None if it failed before it had one.

        Raises KeyError if no pack has the job, and DamagedFileError.
        """
        pack, row = self._locate(number)
        if pack.path not in self._histories:
            while self._num_bytes() > MAX_CACHED_BYTES:
                del self._histories[next(iter(self._histories))]
            self._histories[pack.path] = _read_histories(pack)
        return self._histories[pack.path].get(row)

    def _num_bytes(self) -> int:
        return sum(
            h.values.nbytes for of_pack in self._histories.values() for h in of_pack.values()
        )


def _record(pack: Pack, contents: _Contents, row: int) -> JobRecord:
    summary, details = pack.summaries.row(row), contents.details.row(row)
    metrics = pack.metrics(row)
    weights = contents.weights(row)
    outcome = None
    if weights is not None:
        (theta_P, buffers), (last_P, last_buffers) = weights
        outcome = Outcome(
            status=pack.statuses[row],
            reason=text(summary["reason"]),
            epochs=count(summary["epochs"]),
            steps=count(summary["steps"]),
            best_epoch=count(summary["best_epoch"]),
            best_step=count(details["best_step"]),
            history=contents.history(row),
            metrics=metrics,
            theta_P=theta_P,
            buffers=buffers,
            last_theta_P=last_P,
            last_buffers=last_buffers,
            logged=contents.logged(row),
        )
    return JobRecord(
        number=pack.numbers[row],
        ended=pack.ended[row],
        summary={**summary, "metrics": metrics},
        origin=contents.origin(details["origin"]),
        log=text(details["log"]),
        trace=contents.text(details["trace"]),
        data_hash=contents.text(details["data_hash"]),
        preprocessing=contents.text(details["preprocessing"]),
        outcome=outcome,
        frames=contents.frames(row),
    )


class _Contents:
    """What a pack stores of its jobs besides their summaries; each tensor is read once."""

    def __init__(self, file: PackFile, num_jobs: int) -> None:
        self._file, self._cache = file, dict[str, np.ndarray]()
        index, details = file.index, file.json("details")
        self._texts = texts(details["texts"])
        self._origins: dict[int, dict[str, Any]] = {}
        self.details = Table(details["jobs"], num_jobs)
        self._histories, self._weights = index["histories"], index["weights"]
        self._history_of = positions(self._histories, num_jobs)
        self._weights_of = positions(self._weights, num_jobs)
        if self._history_of.keys() != self._weights_of.keys():
            raise ValueError("its histories and its weights are not of the same jobs")
        self._ends = [list(itertools.accumulate(map(count, h["lengths"]))) for h in self._histories]
        self._measured: dict[int, tuple[tuple[str, ...], np.ndarray]] = {}
        self._frames = {frames["row"]: frames for frames in index["frames"]}
        self._scalars = _runs_of_rows(details["scalars"])
        self._artifacts = _runs_of_rows(details["artifacts"])

    def _array(self, name: str, dtype: str | None = None) -> np.ndarray:
        if name not in self._cache:
            self._cache[name] = self._file.array(name, dtype)
        return self._cache[name]

    def _tensor(self, name: str) -> Tensor:
        return torch.from_numpy(self._array(name))

    def text(self, number: object) -> str:
        return self._texts[count(number)]

    def origin(self, number: object) -> dict[str, Any]:
        if (key := count(number)) not in self._origins:
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

        buffers = texts(group["buffers"])
        return tuple(
            (of(prefix), {name: of(f"{prefix}.{name}") for name in buffers})
            for prefix in (f"weights.{g}.best", f"weights.{g}.last")
        )

    def has_history(self, row: int) -> bool:
        return row in self._history_of

    def history(self, row: int) -> History:
        g, position = self._history_of[row]
        group, ends = self._histories[g], self._ends[g]
        end = ends[position]
        length = count(group["lengths"][position])
        columns: dict[str, np.ndarray] = {}
        for key in SHARED:
            dtype = "<f8" if key == "time" else "<i8"
            column = self._array(f"history.{g}.{key}", dtype)
            if len(column) != (length if key in group["shared"] else ends[-1]):
                raise ValueError(f"its history.{g}.{key} has another length than its jobs")
            columns[key] = column if key in group["shared"] else column[end - length : end]
        names, values = self._values(g)
        return History(names, values=values[end - length : end], **columns)

    def _values(self, g: int) -> tuple[tuple[str, ...], np.ndarray]:
        """The names and the values [E, M] of what the jobs of a group have measured."""
        if g not in self._measured:
            group, num_rows = self._histories[g], self._ends[g][-1]
            names, constant = tuple(texts(group["names"])), dict(group["constant"])
            stored = self._array(f"history.{g}.values", "<f8")
            if stored.shape != (num_rows, len(names) - len(constant)):
                raise ValueError(f"its history.{g}.values has the shape {stored.shape}")
            values = np.empty((num_rows, len(names)))
            values[:, [i for i, name in enumerate(names) if name not in constant]] = stored
            for i, name in enumerate(names):
                if name in constant:
                    values[:, i] = number(constant[name])
            self._measured[g] = names, values
        return self._measured[g]

    def logged(self, row: int) -> Logged:
        scalars: dict[str, list[tuple[int, float, float]]] = {}
        for name, start, end in self._scalars.get(row, ()):
            points = self._array("scalars", "<f8")[start:end].tolist()
            scalars[name] = [(int(step), value, time) for step, value, time in points]
        artifacts = {
            _file_name(name): self._array("artifacts", "u1")[start:end].tobytes()
            if end > start
            else b""
            for name, start, end in self._artifacts.get(row, ())
        }
        return Logged(scalars, artifacts)

    def frames(self, row: int) -> tuple[Frames, int] | None:
        if row not in self._frames:
            return None
        stored, prefix = self._frames[row], f"frames.{row}"
        epoch, step = (self._array(f"{prefix}.{key}", "<i8") for key in ("epoch", "step"))
        theta_RP = self._tensor(f"{prefix}.theta")
        if not len(epoch) == len(step) == len(theta_RP) > count(stored["best"]):
            raise ValueError(f"its {prefix} do not have the same length")
        buffers = {name: self._tensor(f"{prefix}.theta.{name}") for name in stored["buffers"]}
        return Frames(epoch, step, theta_RP, buffers), int(stored["best"])


def _runs_of_rows(entries: Sequence[Sequence[Any]]) -> dict[int, list[tuple[str, int, int]]]:
    """By row: the names of what was logged, with the start and end of each in its tensor."""
    by_row: dict[int, list[tuple[str, int, int]]] = {}
    end = 0
    for row, name, length in entries:
        start, end = end, end + count(length)
        by_row.setdefault(count(row), []).append((text(name), start, end))
    return by_row


def _file_name(name: str) -> str:
    if name != Path(name).name or name in ("", ".", "..") or "\0" in name:
        raise ValueError(f"{name[:40]!r} is not the name of a file")
    return name
