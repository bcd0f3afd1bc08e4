"""The files of a run: written before it starts, at every evaluation, and when it ends.

The files of a member of a population are written all at once.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from mlplab.io.files import (
    remove_leftovers,
    weights_bytes,
    write_bytes_atomic,
    write_json,
    write_text_atomic,
    write_yaml,
    yaml_text,
)
from mlplab.io.links import make_folder
from mlplab.model.preprocessing import Preprocessing
from mlplab.runs.compute_time import ComputeTime, Stopwatch
from mlplab.runs.debugging import overfit_result
from mlplab.runs.flat_config import all_overrides
from mlplab.runs.history_file import write_history
from mlplab.runs.hparams import HParams, final_scalars
from mlplab.runs.initial_weights import save_copy
from mlplab.runs.provenance import provenance
from mlplab.runs.run_index import json_or_empty
from mlplab.settings import Settings
from mlplab.terminal.output import note
from mlplab.tracking import EventWriter, MetricsFile, bulk_metrics
from mlplab.training import Callback, Group, Row, Session
from mlplab.training.history import HistoryBuffer
from mlplab.training.outcome import Outcome
from mlplab.training.prepare import PreparedMember
from mlplab.training.time_limit import TIME_LIMIT

_FOLDERS = ("checkpoints", "pictures", "projector", "artifacts")
"""Folders of a run that files are written into."""
LEVELS = ("off", "summary", "scalars", "full")


class Record(Callback):
    """The files of one run.

    `tracking=off` writes the configuration, the summary and the weights; `summary` adds
    metrics.csv, and `scalars` the event file. `resumed_from` is the step at which a run is
    resumed.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        preprocessing: Preprocessing,
        data_hash: str,
        history_buffer: HistoryBuffer,
        resumed_from: int | None = None,
    ) -> None:
        resumed = resumed_from is not None
        self.folder, self.settings, self.preprocessing, self.names = (
            folder,
            settings,
            preprocessing,
            history_buffer.names,
        )
        level = LEVELS.index(settings.tracking.level)
        last_step = history_buffer.rows[-1].step if history_buffer.rows else None
        self.stopwatch = Stopwatch()
        if resumed_from is not None:
            record_resume(folder, settings, resumed_from)
        else:
            write_config_and_provenance(folder, settings, data_hash)
        self.metrics = (
            _metrics_file(folder / "metrics.csv", history_buffer, resumed) if level >= 1 else None
        )
        self.events = (
            EventWriter(folder, (0 if last_step is None else last_step + 1) if resumed else None)
            if level >= 2
            else None
        )
        if self.events is not None:
            config_text = yaml_text(settings.config)
            write_event_header(self.events, config_text, HParams.of_run(settings, self.names))
            self._write_events(history_buffer.rows)

    def on_rows(self, session: Session, group: Group, rows: Sequence[Row]) -> None:
        """Write evaluations; readers see them immediately."""
        if self.metrics is not None:
            self.metrics.rows(_lines(rows))
        self._write_events(rows)

    def _write_events(self, rows: Sequence[Row]) -> None:
        """Write evaluations into the event file, if there is one; those before a checkpoint are
        missing if the run had no event file until it was resumed.
        """
        if self.events is not None and rows:
            values = [row.values[:, 0].tolist() for row in rows]
            columns = dict(zip(self.names, zip(*values, strict=True), strict=True))
            self.events.history([row.step for row in rows], columns, [row.time for row in rows])

    def on_scalar(self, session: Session, member: int, name: str, step: int, value: float) -> None:
        if self.events is not None:
            self.events.scalars(step, {name: value})

    def on_artifact(self, session: Session, member: int, name: str, data: bytes) -> None:
        write_artifacts(self.folder, {name: data})

    def finish(
        self,
        outcome: Outcome,
        num_parameters: int,
        device: torch.device,
        spent: ComputeTime,
        exact: bool = True,
        stopped_by: int | None = None,
        health: Sequence[Mapping[str, object]] = (),
        population: int = 1,
        more: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """Write the summary, which marks a run with its weights as ended; return it.

        `exact` is False if the run was resumed under other conditions, `stopped_by` the signal that
        stopped it, `health` are the findings of the diagnosis, and `more` are further entries.
        """
        # an interrupted run may be resumed, which writes its final scalars
        if self.events is not None and outcome.status != "interrupted":
            _write_final_scalars(self.events, outcome)
        summary = {
            **summarize(self.settings, outcome, num_parameters, spent, str(device), population),
            **({} if exact else {"resume_exact": False}),
            **({} if stopped_by is None else {"signal": stopped_by}),
            **({"health": list(health)} if health else {}),
            **(more or {}),
        }
        _end(self.folder, summary)
        return summary

    def write_weights(self, best: nn.Module, last: nn.Module) -> None:
        """Write the best weights and those of the last step, before `finish`."""
        write_weights(
            self.folder, best.state_dict(), last.state_dict(), self.preprocessing.to_json()
        )

    def fail(self, trace: str) -> None:
        """Record that the run raised: write the trace and the status `failed`."""
        # a full disk or a missing folder may be the reason of the failure
        with contextlib.suppress(OSError):
            write_failure(self.folder, self.settings, trace, self.stopwatch.elapsed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self.fail("".join(traceback.format_exception(error)))
        self.close()

    def close(self) -> None:
        """Close the files that grow during the run."""
        for file in (self.metrics, self.events):
            if file is not None:
                file.close()


def _lines(rows: Sequence[Row]) -> list[tuple[float, ...]]:
    return [(row.epoch, row.step, *row.values[:, 0].tolist()) for row in rows]


def _metrics_file(path: Path, history_buffer: HistoryBuffer, resumed: bool) -> MetricsFile:
    """A new file; for a resumed run, one with the rows up to the checkpoint and none after it."""
    if resumed:
        bulk_metrics(path, history_buffer.names, _lines(history_buffer.rows))
    return MetricsFile(path, history_buffer.names, resume=resumed)


def record_resume(folder: Path, settings: Settings, step: int) -> None:
    """Write the configuration and the overrides, since the length of training may have changed,
    append the step and conditions of the resume to provenance.json, and delete what the previous
    process left.
    """
    write_yaml(folder / "config.yaml", settings.config)
    if settings.overrides:
        write_yaml(folder / "overrides.yaml", all_overrides(folder, settings.overrides))
    path = folder / "provenance.json"
    content = json_or_empty(path)
    content.setdefault("resumed", []).append(
        {"from_step": step, **provenance(sys.argv, content.get("data_hash", ""))}
    )
    write_json(path, content)
    remove_run_leftovers(folder)


def remove_run_leftovers(folder: Path) -> None:
    """Delete the temporary files that killed processes left in the folder of a run."""
    for below in (folder, *(folder / name for name in _FOLDERS)):
        remove_leftovers(below)


def write_member(
    folder: Path,
    settings: Settings,
    data_hash: str,
    preprocessing: str,
    outcome: Outcome,
    best: Mapping[str, Tensor],
    last: Mapping[str, Tensor],
    summary: Mapping[str, object],
    hparams: HParams,
    log: str,
    origin: Mapping[str, object],
    ended: float,
    draw: Callable[[EventWriter], None] | None = None,
) -> None:
    """Write the files of a run that trained as a member of a population, as `Record` would have.

    `preprocessing` is JSON, `origin` as in `write_config_and_provenance`, and `ended` when the run
    ended, in seconds since 1970. `draw` adds images to the event file, if there is one.
    """
    history, level = outcome.history, LEVELS.index(settings.tracking.level)
    config_text = yaml_text(settings.config)
    write_config_and_provenance(folder, settings, data_hash, config_text, origin)
    _write_log(folder, log, f"{outcome.status}: {outcome.reason}", ended=ended)
    if level >= 1:
        write_history(folder, history)
    if level >= 2:
        with EventWriter(folder) as events:
            write_event_header(events, config_text, hparams)
            events.history(history.step.tolist(), history.columns, history.time.tolist())
            events.rows(outcome.logged.scalars)
            if draw is not None:
                draw(events)
            _write_final_scalars(events, outcome)
    write_artifacts(folder, outcome.logged.artifacts)
    write_weights(folder, best, last, preprocessing)
    _end(folder, summary)


def write_artifacts(folder: Path, artifacts: Mapping[str, bytes]) -> None:
    """Write files that callbacks save into the folder `artifacts` of a run."""
    for name, data in artifacts.items():
        write_bytes_atomic(make_folder(folder / "artifacts") / name, data)


def write_config_and_provenance(
    folder: Path,
    settings: Settings,
    data_hash: str,
    config_text: str | None = None,
    origin: Mapping[str, object] | None = None,
) -> None:
    """Write what is known before a run starts: configuration, overrides, provenance, and data that
    only Python passed.

    `config_text` is the configuration as YAML, if it is known. It is written last: a folder that
    has one has all of them, and can be resumed. `origin` is the provenance of another process that
    trained the run, but for the command and the hash of the data.
    """
    settings.dataset.save(folder)
    write_yaml(folder / "overrides.yaml", list(settings.overrides))
    command = settings.command or sys.argv
    if origin is None:
        origin = provenance(command, data_hash)
    else:
        origin = {**origin, "command": list(command), "data_hash": data_hash}
    # a job whose data could not be prepared has none
    engine = {"engine": settings.engine} if settings.engine != "auto" else {}
    initial = save_copy(settings, folder)
    write_json(folder / "provenance.json", {**origin, **engine, **initial})
    write_text_atomic(folder / "config.yaml", config_text or yaml_text(settings.config))


def write_data_report(folder: Path, member: PreparedMember, quiet: bool) -> None:
    """Write data_report.md for a dataset from a file, and print its findings unless `quiet`."""
    report = member.prepared.report
    if report is None or not getattr(member.settings.dataset, "report", True):
        return
    write_text_atomic(folder / "data_report.md", report.to_markdown())
    findings = [
        f"{finding.column + ': ' if finding.column else ''}{finding.observation}."
        f" {finding.consequence}."
        for finding in report.findings
    ]
    if not quiet:
        for line in (*report.notes, *findings):
            note(line)


def write_weights(
    folder: Path, best: Mapping[str, Tensor], last: Mapping[str, Tensor], preprocessing: str
) -> None:
    """Write the best weights as model and as checkpoint, and the last weights as checkpoint."""
    metadata = {"format": "mlplab-weights-1", "preprocessing": preprocessing}
    best_bytes = weights_bytes(best, metadata)
    write_bytes_atomic(folder / "weights.safetensors", best_bytes)
    make_folder(folder / "checkpoints")
    write_bytes_atomic(folder / "checkpoints" / "best.safetensors", best_bytes)
    write_bytes_atomic(folder / "checkpoints" / "last.safetensors", weights_bytes(last, metadata))


def summarize(
    settings: Settings,
    outcome: Outcome,
    num_parameters: int,
    spent: ComputeTime,
    device: str,
    population: int,
) -> dict[str, object]:
    """Return the content of summary.json. `spent` is the member's share of the time of the
    `population` members that trained together: those of all jobs add up to the time of training
    in a sweep.
    """
    return {
        "status": outcome.status,
        "reason": outcome.reason,
        **({"time_limited": True} if outcome.reason.startswith(TIME_LIMIT) else {}),
        "name": settings.name,
        "seed": settings.seed,
        "device": device,
        "engine": settings.engine,
        "epochs": outcome.epochs,
        "steps": outcome.steps,
        "best_epoch": outcome.best_epoch,
        "num_parameters": num_parameters,
        **({} if outcome.temperature is None else {"temperature": outcome.temperature}),
        **spent.rounded(device),
        "population": population,
        **({} if settings.debug is None else {"debug": settings.debug}),
        **(overfit_result(outcome.history) if settings.debug == "overfit" else {}),
        "metrics": outcome.metrics,
    }


def _end(folder: Path, summary: Mapping[str, object]) -> None:
    if summary["status"] == "diverged":
        write_text_atomic(folder / "error.txt", f"diverged: {summary['reason']}\n")
    write_json(folder / "summary.json", summary)


def write_failure(folder: Path, settings: Settings, trace: str, spent: ComputeTime) -> None:
    """Write the trace of a run that raised, and a summary with status `failed`."""
    write_text_atomic(folder / "error.txt", trace)
    write_json(folder / "summary.json", summarize_failure(settings, trace, spent))


def summarize_failure(settings: Settings, trace: str, spent: ComputeTime) -> dict[str, object]:
    """Return the content of summary.json of a run that raised."""
    return {
        "status": "failed",
        "name": settings.name,
        "seed": settings.seed,
        "reason": trace.strip().splitlines()[-1],
        **spent.rounded(),
        "metrics": {},
    }


def write_failed_member(
    folder: Path,
    settings: Settings,
    trace: str,
    summary: Mapping[str, object],
    origin: Mapping[str, object],
    ended: float,
) -> None:
    """Write the files of a member that raised; the arguments are those of `write_member`."""
    write_config_and_provenance(folder, settings, "", origin=origin)
    _write_log(folder, f"failed: {summary['reason']}", ended=ended)
    write_text_atomic(folder / "error.txt", trace)
    write_json(folder / "summary.json", summary)


def _write_log(folder: Path, *lines: str, ended: float) -> None:
    """Write a complete log.txt in the format of `log_to`. `ended` is in seconds since 1970."""
    now = datetime.fromtimestamp(ended)
    stamp = f"{now:%Y-%m-%d %H:%M:%S},{now.microsecond // 1000:03d}"
    write_text_atomic(folder / "log.txt", "".join(f"{stamp} INFO {line}\n" for line in lines))


def write_event_header(events: EventWriter, config_text: str, hparams: HParams) -> None:
    """Write the start of an event file: the configuration as YAML and the hyperparameters."""
    events.text("configuration", f"```yaml\n{config_text}```")
    events.hparams(hparams.values, hparams.metrics, hparams.choices)


def _write_final_scalars(events: EventWriter, outcome: Outcome) -> None:
    for step, values in final_scalars(
        outcome.history.names, outcome.metrics, outcome.best_step, outcome.steps
    ):
        events.scalars(step, values)
    events.hparams_end(outcome.status)
