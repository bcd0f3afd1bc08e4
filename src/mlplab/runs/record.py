"""What a run writes into its folder: before it starts, with every evaluation, and when it ends; or,
for a member of a population, at once.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mlplab.io.files import save_weights, write_json, write_text_atomic, write_yaml, yaml_text
from mlplab.io.links import make_folder
from mlplab.model.preprocessing import Preprocessing
from mlplab.runs.hparams import HParams, final_scalars
from mlplab.runs.provenance import provenance
from mlplab.settings import Settings
from mlplab.terminal.output import note
from mlplab.tracking import EventWriter, MetricsFile, bulk_metrics
from mlplab.training.history import HistoryBuffer, Row
from mlplab.training.outcome import Outcome
from mlplab.training.prepare import PreparedMember

LEVELS = ("off", "summary", "scalars", "full")


class Record:
    """The files of one run. `tracking=off` leaves the configuration, the summary and the weights;
    `summary` adds metrics.csv; `scalars` the event file.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        preprocessing: Preprocessing,
        data_hash: str,
        journal: HistoryBuffer,
        resumed: bool = False,
    ) -> None:
        self.folder, self.settings, self.preprocessing, self.names = (
            folder,
            settings,
            preprocessing,
            journal.names,
        )
        level = LEVELS.index(settings.tracking.level)
        self.started = time.monotonic()
        if resumed:
            record_resume(folder, settings, journal.rows[-1].step if journal.rows else 0)
        else:
            write_config_and_provenance(folder, settings, data_hash)
        self.metrics = (
            _metrics_file(folder / "metrics.csv", journal, resumed) if level >= 1 else None
        )
        self.events = (
            EventWriter(folder, _next_step(journal) if resumed else None) if level >= 2 else None
        )
        if self.events is not None and not journal.rows:
            write_event_header(self.events, settings, HParams.of_run(settings, self.names))

    def rows(self, rows: Sequence[Row], names: tuple[str, ...]) -> None:
        """Some evaluations, readable at once."""
        if self.metrics is not None:
            self.metrics.rows(_lines(rows))
        if self.events is not None:
            values = [row.values[:, 0].tolist() for row in rows]
            columns = dict(zip(names, zip(*values, strict=True), strict=True))
            self.events.history([row.step for row in rows], columns, [row.time for row in rows])

    def finish(
        self,
        outcome: Outcome,
        module: nn.Sequential,
        last: nn.Sequential,
        device: str,
        seconds: float,
        exact: bool = True,
        stopped_by: int | None = None,
    ) -> dict[str, Any]:
        """Weights, then the summary, which says that the run has ended. `exact` is False for one
        that was resumed under other conditions.
        """
        write_weights(
            self.folder, module.state_dict(), last.state_dict(), self.preprocessing.to_json()
        )
        # of a run that goes on, the end is written at its end
        if self.events is not None and outcome.status != "interrupted":
            _write_final_scalars(self.events, outcome)
        num_parameters = sum(p.numel() for p in module.parameters())
        summary = summarize(self.settings, outcome, num_parameters, seconds, device, 1)
        summary |= {"resume_exact": False} if not exact else {}
        summary |= {"signal": stopped_by} if stopped_by is not None else {}
        _end(self.folder, summary)
        return summary

    def fail(self, trace: str) -> None:
        """The run raised: the trace is kept, the status is `failed`."""
        # a full disk, or a folder that is gone, is what it failed of
        with contextlib.suppress(OSError):
            write_failure(self.folder, self.settings, trace, time.monotonic() - self.started)

    def close(self) -> None:
        for file in (self.metrics, self.events):
            if file is not None:
                file.close()


def _lines(rows: Sequence[Row]) -> list[tuple[float, ...]]:
    return [(row.epoch, row.step, *row.values[:, 0].tolist()) for row in rows]


def _next_step(journal: HistoryBuffer) -> int:
    return journal.rows[-1].step + 1 if journal.rows else 0


def _metrics_file(path: Path, journal: HistoryBuffer, resumed: bool) -> MetricsFile:
    """A new file; for a run that is resumed, one that holds what the checkpoint knows and nothing
    of what was measured after it.
    """
    if not resumed:
        return MetricsFile(path, journal.names)
    bulk_metrics(path, journal.names, _lines(journal.rows))
    return MetricsFile(path, journal.names, resume=True)


def record_resume(folder: Path, settings: Settings, step: int) -> None:
    """The configuration, whose length may have been changed, and where the run was taken up
    again.
    """
    write_yaml(folder / "config.yaml", settings.config)
    path = folder / "provenance.json"
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    own = provenance(sys.argv, known.get("data_hash", ""))
    known.setdefault("resumed", []).append({"from_step": step, **own})
    write_json(path, known)


def write_member(
    folder: Path,
    settings: Settings,
    data_hash: str,
    preprocessing: str,
    outcome: Outcome,
    best: Mapping[str, Tensor],
    last: Mapping[str, Tensor],
    summary: Mapping[str, Any],
    hparams: HParams,
    log: str,
    draw: Callable[[EventWriter], None] | None = None,
) -> None:
    """The folder of a run that trained as a member of a population: what `Record` would have left
    of it. `preprocessing` is JSON.

    `draw` adds what is drawn of it, where there is an event file.
    """
    history, level = outcome.history, LEVELS.index(settings.tracking.level)
    write_config_and_provenance(folder, settings, data_hash)
    write_log(folder, log, f"{outcome.status}: {outcome.reason}")
    if level >= 1:
        values = history.values.tolist()
        rows = (
            (e, s, *own)
            for e, s, own in zip(history.epoch.tolist(), history.step.tolist(), values, strict=True)
        )
        bulk_metrics(folder / "metrics.csv", history.names, rows)
    if level >= 2:
        with EventWriter(folder) as events:
            write_event_header(events, settings, hparams)
            columns = dict(zip(history.names, history.values.T, strict=True))
            events.history(history.step.tolist(), columns, history.time.tolist())
            if draw is not None:
                draw(events)
            _write_final_scalars(events, outcome)
    write_weights(folder, best, last, preprocessing)
    _end(folder, summary)


def write_config_and_provenance(folder: Path, settings: Settings, data_hash: str) -> None:
    """What is known before a run starts: its configuration, the words typed, and where it came
    from.
    """
    write_yaml(folder / "config.yaml", settings.config)
    write_yaml(folder / "overrides.yaml", list(settings.overrides))
    write_json(folder / "provenance.json", provenance(sys.argv, data_hash))


def write_data_report(folder: Path, member: PreparedMember, quiet: bool) -> None:
    """What was found in a user's file: into data_report.md, and the findings onto the terminal."""
    report = member.prepared.report
    if report is None or not getattr(member.settings.dataset, "report", True):
        return
    write_text_atomic(folder / "data_report.md", report.to_markdown())
    if not quiet:
        for line in report.told:
            note(line)
        for finding in report.findings:
            note(
                f"{finding.column + ': ' if finding.column else ''}{finding.what}. {finding.done}."
            )


def write_weights(
    folder: Path, best: Mapping[str, Tensor], last: Mapping[str, Tensor], preprocessing: str
) -> None:
    """The chosen weights, twice: as the model to take away, and beside the last ones."""
    metadata = {"format": "mlplab-weights-1", "preprocessing": preprocessing}
    save_weights(folder / "weights.safetensors", best, metadata)
    make_folder(folder / "checkpoints")
    save_weights(folder / "checkpoints" / "best.safetensors", best, metadata)
    save_weights(folder / "checkpoints" / "last.safetensors", last, metadata)


def summarize(
    settings: Settings,
    outcome: Outcome,
    num_parameters: int,
    seconds: float,
    device: str,
    population: int,
) -> dict[str, Any]:
    """What summary.json says. `seconds` is the time of the whole population."""
    return {
        "status": outcome.status,
        "reason": outcome.reason,
        "name": settings.name,
        "seed": settings.seed,
        "device": device,
        "epochs": outcome.epochs,
        "steps": outcome.steps,
        "best_epoch": outcome.best_epoch,
        "num_parameters": num_parameters,
        "seconds": round(seconds, 3),
        "population": population,
        "metrics": outcome.metrics,
    }


def _end(folder: Path, summary: Mapping[str, Any]) -> None:
    if summary["status"] == "diverged":
        write_text_atomic(folder / "error.txt", f"diverged: {summary['reason']}\n")
    write_json(folder / "summary.json", summary)


def write_failure(folder: Path, settings: Settings, trace: str, seconds: float) -> None:
    """The trace of a run that raised, and a summary that says so."""
    write_text_atomic(folder / "error.txt", trace)
    write_json(
        folder / "summary.json",
        {
            "status": "failed",
            "name": settings.name,
            "seed": settings.seed,
            "reason": trace.strip().splitlines()[-1],
            "seconds": round(seconds, 3),
            "metrics": {},
        },
    )


def write_log(folder: Path, *lines: str) -> None:
    """log.txt at once, in the form of `log_to`."""
    now = datetime.now()
    stamp = f"{now:%Y-%m-%d %H:%M:%S},{now.microsecond // 1000:03d}"
    write_text_atomic(folder / "log.txt", "".join(f"{stamp} INFO {line}\n" for line in lines))


def write_event_header(events: EventWriter, settings: Settings, hparams: HParams) -> None:
    """What an event file begins with."""
    events.text("configuration", f"```yaml\n{yaml_text(settings.config)}```")
    events.hparams(hparams.values, hparams.metrics, hparams.choices)


def _write_final_scalars(events: EventWriter, outcome: Outcome) -> None:
    for step, values in final_scalars(
        outcome.history.names, outcome.metrics, outcome.best_step, outcome.steps
    ):
        events.scalars(step, values)
    events.hparams_end(outcome.status)
