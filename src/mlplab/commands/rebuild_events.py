"""`mlplab rebuild-events RUN`: the TensorBoard file of a run again, from metrics.csv."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from mlplab.commands.folder_arguments import kind, load_plugins, parse
from mlplab.errors import ConfigError


def rebuild_events(arguments: Sequence[str]) -> int:
    """Write the event file of a run again from metrics.csv, config.yaml and summary.json. The old
    files are kept under names that TensorBoard passes over.
    """
    given = parse("rebuild-events", rebuild_events.__doc__ or "", arguments)
    if kind(given.folder) != "run":
        raise ConfigError(
            f"{given.folder} holds a sweep: rebuild-events takes a run, such as"
            f" {given.folder}/jobs/0."
        )
    if not (given.folder / "metrics.csv").is_file():
        raise ConfigError(
            f"{given.folder} has no metrics.csv, from which its events could be rebuilt"
            " (tracking=off keeps none)."
        )
    load_plugins(given.folder, given.plugin)
    from mlplab import runs

    with runs.RunFolder(given.folder) as owner:
        owner.lock()
        rows = rebuild(given.folder)
    print(f"{rows} rows; pictures come back with `mlplab report {given.folder}`")
    print(given.folder)
    return 0


def rebuild(folder: Path) -> int:
    """The number of rows. Times are those of the start and as many seconds as the run took, evenly
    apart: metrics.csv has none.
    """
    from mlplab.config import settings_of_folder
    from mlplab.runs.hparams import HParams, final_scalars
    from mlplab.runs.record import write_event_header
    from mlplab.runs.run_index import summary_of
    from mlplab.tracking import EventWriter, read_metrics

    settings, summary, columns = (
        settings_of_folder(folder),
        summary_of(folder),
        read_metrics(folder / "metrics.csv"),
    )
    steps = [int(step) for step in columns.pop("step")]
    epochs = columns.pop("epoch")
    old = sorted(path for path in folder.glob("events.out.tfevents.*") if path.is_file())
    unfinished_checkpoints = _started(folder)
    apart = float(summary.get("seconds") or 0.0) / max(len(steps), 1)
    with EventWriter(folder) as events:
        write_event_header(events, settings, HParams.of_run(settings, tuple(columns)))
        events.history(
            steps, columns, [unfinished_checkpoints + i * apart for i in range(len(steps))]
        )
        metrics = {
            name: value
            for name, value in (summary.get("metrics") or {}).items()
            if value is not None
        }
        if steps:
            best = next(
                (s for s, e in zip(steps, epochs, strict=True) if e == summary.get("best_epoch")),
                steps[-1],
            )
            for step, values in final_scalars(tuple(columns), metrics, best, steps[-1]):
                events.scalars(step, values)
        events.hparams_end(str(summary.get("status")))
    for path in old:
        os.replace(
            path, path.with_name(path.name.replace("events.out.tfevents.", "replaced-events-"))
        )
    return len(steps)


def _started(folder: Path) -> float:
    try:
        return datetime.fromisoformat(
            json.loads((folder / "provenance.json").read_text(encoding="utf-8"))["started"]
        ).timestamp()
    except (OSError, ValueError, KeyError, TypeError):
        return (folder / "metrics.csv").stat().st_mtime
