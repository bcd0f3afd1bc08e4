"""What is mirrored of a run, a sweep, and each job of a sweep, read from their folders."""

from __future__ import annotations

import hashlib
import math
import os
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.config.root import GROUPS
from mlplab.io.files import write_json, write_yaml
from mlplab.runs.flat_config import flat_config
from mlplab.runs.packs import Packs, is_packed
from mlplab.runs.plan_text import NAME as PLAN
from mlplab.runs.plan_text import PlannedConfigs
from mlplab.runs.run_index import json_or_empty, summary_of
from mlplab.trackers import Evaluation
from mlplab.tracking import read_metrics

if TYPE_CHECKING:
    from mlplab.runs.pack_reader import PackedHistories

FINAL = ("done", "diverged", "pruned", "failed", "interrupted")
"""Statuses of a run that is not in training."""
_NUMBERS = ("best_epoch", "epochs", "steps", "num_parameters", "seconds", "cpu_seconds")
_OF_SWEEP = ("planned", "done", "failed", "diverged", "pruned", "missing", "seconds", "cpu_seconds")
_FILES = ("config.yaml", "summary.json", "data_report.md", "evaluation.json", "error.txt")
_FILES_OF_SWEEP = (PLAN, "summary.json", "summary.md", "results.csv", "report.html")
_PICTURES = (".png", ".gif", ".svg")
_WEIGHTS = "weights.safetensors"

Artifacts = Iterator[tuple[str, Path]]


class RunContents:
    """A run folder, which may be in training."""

    kind = "run"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json; empty while the run is in training."""
        return summary_of(self.folder)

    @property
    def params(self) -> dict[str, object]:
        """The flat configuration: "optimizer" -> "adam", "optimizer.lr" -> 0.01."""
        return flat_config(self.folder)

    @property
    def origin(self) -> dict[str, Any]:
        """The content of provenance.json."""
        return json_or_empty(self.folder / "provenance.json")

    def columns(self) -> tuple[Mapping[str, Sequence[float]], float]:
        """The columns of metrics.csv, and when it was written, in seconds since 1970."""
        path = self.folder / "metrics.csv"
        if path.is_symlink() or not path.is_file():
            return {}, 0.0
        return read_metrics(path), path.stat().st_mtime

    @property
    def stamp(self) -> object:
        """What changes whenever the evaluations do."""
        try:
            status = os.stat(self.folder / "metrics.csv")
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns

    def numbers(self) -> dict[str, float]:
        """The final numbers: metrics of the best weights, as `val_best/loss` and `test/loss`."""
        return final_numbers(self.summary, _NUMBERS)

    def artifacts(self, weights: bool) -> Artifacts:
        """Yield the name and the path of each file that is mirrored."""
        names = [*_FILES, *([_WEIGHTS] if weights else ())]
        for name in names:
            yield from _regular(self.folder, name)
        for below in ("pictures", "artifacts"):
            if (self.folder / below).is_dir() and not (self.folder / below).is_symlink():
                for path in sorted((self.folder / below).iterdir()):
                    if below == "artifacts" or path.suffix in _PICTURES:
                        yield from _regular(self.folder, f"{below}/{path.name}")

    def stamps(self, weights: bool) -> list[tuple[str, int, int]]:
        """Return name, size and time of each artifact."""
        return _stamps(self.artifacts(weights))


class SweepContents:
    """The folder of a sweep without its jobs, which are runs of their own."""

    kind = "sweep"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_packed = is_packed(folder)
        self._packs, self._configs = Packs(folder), PlannedConfigs(str(folder))
        self._plan_stamp: object = None

    @cached_property
    def _histories(self) -> PackedHistories:
        from mlplab.runs.pack_reader import PackedHistories  # imports torch

        return PackedHistories(self._packs.locate)

    @property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json; its status is `running` during the training."""
        return json_or_empty(self.folder / "summary.json")

    @property
    def params(self) -> dict[str, object]:
        """The values that all jobs share, and of each key that differs the list of its values."""
        configs = [self.config(number) for number in self._configs.numbers]
        shared = [key for key in configs[0] if all(key in c for c in configs)] if configs else []
        return {key: _distinct([config[key] for config in configs]) for key in shared}

    @property
    def stamp(self) -> object:
        return None

    @property
    def origin(self) -> dict[str, Any]:
        return {}

    def columns(self) -> tuple[Mapping[str, Sequence[float]], float]:
        """No evaluations: those of a sweep are those of its jobs."""
        return {}, 0.0

    def numbers(self) -> dict[str, float]:
        """The numbers of jobs with each status, and the computing time."""
        return final_numbers(self.summary, _OF_SWEEP)

    def artifacts(self, weights: bool) -> Artifacts:
        """Yield the name and the path of the plan and the reports."""
        for name in _FILES_OF_SWEEP:
            yield from _regular(self.folder, name)

    def stamps(self, weights: bool) -> list[tuple[str, int, int]]:
        """Return name, size and time of each artifact."""
        return _stamps(self.artifacts(weights))

    def ended_jobs(self, without: Collection[int] = ()) -> dict[int, RunContents]:
        """The jobs that have ended, by number, but for those in `without`."""
        self._read_plan_again()
        if self.is_packed or is_packed(self.folder):
            self.is_packed = True
            self._packs.refresh_sound()
            return {
                number: PackedContents(self, number, self._packs, self._histories)
                for number in self._packs.numbers
                if number not in without
            }
        folder = self.folder / "jobs"
        names = [] if folder.is_symlink() or not folder.is_dir() else os.listdir(folder)
        numbers = sorted(int(name) for name in names if re.fullmatch(r"[0-9]{1,9}", name))
        jobs = {n: RunContents(folder / str(n)) for n in numbers if n not in without}
        return {n: job for n, job in jobs.items() if not job.folder.is_symlink() and job.summary}

    def _read_plan_again(self) -> None:
        """Read the plan again if a search has added trials to it."""
        stamp = os.stat(self.folder / PLAN).st_mtime_ns if (self.folder / PLAN).exists() else None
        if stamp != self._plan_stamp:
            self._plan_stamp, self._configs = stamp, PlannedConfigs(str(self.folder))

    def config(self, number: int) -> dict[str, object]:
        """The flat configuration of a job, as the plan has it."""
        stored = self._configs.find(number)
        return {key: stored.get(key) for key in stored}


class PackedContents(RunContents):
    """A job that is stored in a pack."""

    def __init__(
        self, sweep: SweepContents, number: int, packs: Packs, histories: PackedHistories
    ) -> None:
        super().__init__(sweep.folder / "jobs" / str(number))
        self._sweep, self._number, self._packs, self._histories = sweep, number, packs, histories

    @property
    def summary(self) -> dict[str, Any]:
        return self._packs.summary(self._number)

    @property
    def params(self) -> dict[str, object]:
        return self._sweep.config(self._number)

    @property
    def origin(self) -> dict[str, Any]:
        return {}

    @property
    def stamp(self) -> object:
        return self._packs.ended(self._number)

    def columns(self) -> tuple[Mapping[str, Sequence[float]], float]:
        history = self._histories.read(self._number)
        if history is None:
            return {}, 0.0
        columns = {"epoch": history.epoch, "step": history.step, **history.columns}
        lists = {name: column.tolist() for name, column in columns.items()}
        return lists, self._packs.ended(self._number)

    def artifacts(self, weights: bool) -> Artifacts:
        """Yield the configuration and the summary, as `mlplab open` would write them."""
        with tempfile.TemporaryDirectory(prefix="mlplab-mirror-") as folder:
            config, summary = Path(folder, "config.yaml"), Path(folder, "summary.json")
            write_yaml(config, _nested(self.params))
            write_json(summary, self.summary)
            yield config.name, config
            yield summary.name, summary

    def stamps(self, weights: bool) -> list[tuple[str, int, int]]:
        """Nothing: a pack never changes."""
        return []


def _stamps(artifacts: Artifacts) -> list[tuple[str, int, int]]:
    statuses = [(name, path.stat()) for name, path in artifacts]
    return [(name, status.st_size, status.st_mtime_ns) for name, status in statuses]


def final_numbers(summary: Mapping[str, Any], keys: Sequence[str]) -> dict[str, float]:
    """Return the numbers of a summary and the metrics in it, of which those of the best weights on
    train and val are named train_best/... and val_best/..., since the evaluations have their names.
    """
    numbers = {key: summary[key] for key in keys if isinstance(summary.get(key), (int, float))}
    metrics = summary.get("metrics")
    for name, value in (metrics if isinstance(metrics, dict) else {}).items():
        split, _, metric = name.partition("/")
        best = f"{split}_best/{metric}" if split in ("train", "val") else name
        numbers[best] = math.nan if value is None else value
    return {name: float(value) for name, value in numbers.items()}


def evaluations(contents: RunContents | SweepContents) -> list[Evaluation]:
    """Return the evaluations of a run so far. Raises DamagedFileError."""
    columns, time = contents.columns()
    names = [name for name in columns if name not in ("epoch", "step")]
    if "epoch" not in columns or "step" not in columns:
        return []
    rows = zip(*(columns[name] for name in names), strict=True) if names else iter(())
    return [
        Evaluation(int(epoch), int(step), time, dict(zip(names, values, strict=True)))
        for epoch, step, values in zip(columns["epoch"], columns["step"], rows, strict=True)
    ]


def digest(data: bytes) -> str:
    """Return 16 hexadecimal digits that identify the content of a file."""
    return hashlib.sha256(data).hexdigest()[:16]


def _regular(folder: Path, name: str) -> Artifacts:
    path = folder / name
    if path.is_file() and not path.is_symlink():
        yield name, path


def _distinct(values: Sequence[object]) -> object:
    """The value, if all are equal, or a list of those that differ, at most 100."""
    distinct = list({repr(value): value for value in values}.values())
    return distinct[0] if len(distinct) == 1 else distinct[:100]


def _nested(config: Mapping[str, object]) -> dict[str, Any]:
    """The configuration of a job as in config.yaml, from the flat one."""
    tree: dict[str, Any] = {}
    for key, value in config.items():
        *parents, last = key.split(".")
        node = tree
        for name in parents:
            node = node.setdefault(name, {})
        if not parents and key in GROUPS:
            node.setdefault(key, {})["name"] = value
        else:
            node[last] = value
    return tree
