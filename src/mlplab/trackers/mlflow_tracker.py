"""MLflow: a local store in the outputs, or the server that MLFLOW_TRACKING_URI names.

Runs are in the experiment of their name, or in that of MLFLOW_EXPERIMENT_NAME. A sweep is a run
whose jobs are nested runs.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.io.links import make_folder, open_to_append
from mlplab.io.locks import try_lock
from mlplab.trackers.base import Evaluation, TrackedRun, Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient

URI, NAME = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"
ID_TAG = "mlplab.id"
MAX_METRICS, MAX_PARAMS, MAX_TAGS = 1000, 100, 100
"""Of one request, as MLflow documents them."""
MAX_PARAM, MAX_TAG = 6000, 5000
"""Characters of the value of a parameter and of a tag."""
STATUSES = {"done": "FINISHED", "running": "RUNNING", "diverged": "FAILED", "failed": "FAILED"}
"""Status of a run -> status in MLflow; any other is KILLED."""
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""Environment variables, unless the user has set them."""


class MlflowTracker(Tracker):
    """Mirrors a run to MLflow."""

    modules, extra = ("mlflow",), "mlflow"

    def target(self) -> str:
        return os.environ.get(URI) or f"sqlite:///{self._database.absolute()}"

    @property
    def _database(self) -> Path:
        return self.root / "mlflow.db"

    def open(self, run: TrackedRun) -> None:
        self._client = _connect(self.target())
        self._run_id = self._known(run) or self._create(run)
        run.saved["run"] = self._run_id
        stored = self._client.get_run(self._run_id)
        self._params = dict(stored.data.params)
        self._artifacts_uri = stored.info.artifact_uri
        self._sent = self._history(stored.data.metrics) if stored.data.metrics else {}
        tags = {ID_TAG: run.id, "mlplab.kind": run.kind, **run.tags}
        if stored.info.status != "RUNNING":
            self._client.update_run(self._run_id, status="RUNNING")
        self._set_tags(tags)

    def _known(self, run: TrackedRun) -> str | None:
        """The MLflow run that mirrors this run, unless there is none or it was deleted."""
        if (run_id := run.saved.get("run")) is not None:
            with contextlib.suppress(_failure()):
                stored = self._client.get_run(run_id)
                if stored.info.lifecycle_stage == "active":
                    return run_id
        experiment = self._client.get_experiment_by_name(_experiment_name(run))
        if experiment is None:
            return None
        same = self._client.search_runs(
            [experiment.experiment_id], f"tags.`{ID_TAG}` = '{run.id}'", max_results=1
        )
        return str(same[0].info.run_id) if same else None

    def _create(self, run: TrackedRun) -> str:
        tags = {"mlflow.runName": run.name, ID_TAG: run.id}
        if run.parent is not None and "run" in run.parent.saved:
            tags["mlflow.parentRunId"] = run.parent.saved["run"]
        experiment = self._experiment(_experiment_name(run))
        return str(self._client.create_run(experiment, tags=tags, run_name=run.name).info.run_id)

    def _experiment(self, name: str) -> str:
        if (experiment := self._client.get_experiment_by_name(name)) is not None:
            return str(experiment.experiment_id)
        location = None
        if URI not in os.environ:
            folder = (self.root / "mlflow-artifacts").absolute() / urllib.parse.quote(name, "")
            location = folder.as_uri()
        try:
            return str(self._client.create_experiment(name, artifact_location=location))
        except _failure():  # another process was first
            experiment = self._client.get_experiment_by_name(name)
            if experiment is None:
                raise
            return str(experiment.experiment_id)

    def _history(self, names: Mapping[str, float]) -> dict[tuple[str, int], float]:
        """What the MLflow run has: of an earlier process, which may have been killed before it
        could record that it was sent.
        """
        return {
            (name, metric.step): metric.value
            for name in names
            for metric in self._client.get_metric_history(self._run_id, name)
        }

    def params(self, values: Mapping[str, object]) -> None:
        texts = {key: _text(value)[:MAX_PARAM] for key, value in values.items()}
        new = {key: text for key, text in texts.items() if key not in self._params}
        param = import_module("mlflow.entities").Param
        for chunk in _chunks([param(key, text) for key, text in new.items()], MAX_PARAMS):
            self._client.log_batch(self._run_id, params=chunk)
        # parameters cannot change: those of a run that was extended are tags
        self._set_tags(
            {
                f"mlplab.changed.{key}": text
                for key, text in texts.items()
                if self._params.get(key, text) != text
            }
        )

    def metrics(self, evaluations: Sequence[Evaluation]) -> None:
        self._log(
            (name, value, one.time, one.epoch)
            for one in evaluations
            for name, value in {**one.values, "step": float(one.step)}.items()
        )

    def _log(self, values: Iterator[tuple[str, float, float, int]]) -> None:
        metric = import_module("mlflow.entities").Metric
        new = [
            metric(name, value, int(time * 1000), epoch)
            for name, value, time, epoch in values
            if not _same(self._sent.get((name, epoch)), value)
        ]
        for chunk in _chunks(new, MAX_METRICS):
            self._client.log_batch(self._run_id, metrics=chunk)

    def artifact(self, name: str, path: Path) -> None:
        folder = os.path.dirname(name)
        self._client.log_artifact(self._run_id, str(path), folder or None)

    def close(self, status: str, summary: Mapping[str, float]) -> None:
        epoch = int(summary.get("best_epoch", 0))
        self._log((name, value, time.time(), epoch) for name, value in summary.items())
        self._set_tags({"mlplab.status": status})
        self._client.set_terminated(self._run_id, STATUSES.get(status, "KILLED"))

    def _set_tags(self, tags: Mapping[str, str]) -> None:
        tag = import_module("mlflow.entities").RunTag
        for chunk in _chunks([tag(k, v[:MAX_TAG]) for k, v in tags.items()], MAX_TAGS):
            self._client.log_batch(self._run_id, tags=chunk)


@cache
def _connect(uri: str) -> MlflowClient:
    """The client of a store, which is created if it is a local one."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    with _locked(uri):
        client: MlflowClient = import_module("mlflow").MlflowClient(tracking_uri=uri)
        for name in ("mlflow", "alembic"):  # mlflow sets them when it is imported
            logging.getLogger(name).setLevel(logging.ERROR)
        client.get_experiment_by_name("Default")  # creates the tables
        return client


@contextlib.contextmanager
def _locked(uri: str) -> Iterator[None]:
    """Let one process at a time create the tables of a local store."""
    if not uri.startswith("sqlite:///") or URI in os.environ:
        yield
        return
    path = Path(uri.removeprefix("sqlite:///"))
    if not path.parent.is_dir():
        make_folder(path.parent)
    with open_to_append(Path(f"{path}.lock")) as file:
        with contextlib.suppress(OSError):  # a file system without locks
            while not try_lock(file.fileno()):
                time.sleep(0.2)
        yield


def _experiment_name(run: TrackedRun) -> str:
    return os.environ.get(NAME) or run.experiment


def _failure() -> type[Exception]:
    failure: type[Exception] = import_module("mlflow.exceptions").MlflowException
    return failure


def _same(sent: float | None, value: float) -> bool:
    """Whether a value was sent before; MLflow stores an infinity as the largest finite number."""
    if sent is None:
        return False
    if math.isinf(value):
        return abs(sent) > 1.79e308 and (sent > 0) == (value > 0)
    return sent == value or (math.isnan(sent) and math.isnan(value))


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
