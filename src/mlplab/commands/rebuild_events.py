"""`mlplab rebuild-events DIR`: regenerate the TensorBoard files of a run or a sweep."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from mlplab.commands.folder_arguments import kind, load_plugins, parse, require_run
from mlplab.errors import ConfigError
from mlplab.io.reading import read_json


def rebuild_events(arguments: Sequence[str]) -> int:
    """For a run: regenerate its event file from metrics.csv, config.yaml and summary.json. Old
    event files are renamed so that TensorBoard ignores them. For a sweep: write the folder
    `tensorboard`, with a run for each configuration that shows mean and quantiles over its seeds.
    """
    args = parse("rebuild-events", rebuild_events.__doc__ or "", arguments)
    if kind(args.folder) == "sweep":
        print(_rebuild_sweep(args.folder))
        return 0
    require_run(args.folder, "rebuild-events")
    if not (args.folder / "metrics.csv").is_file():
        raise ConfigError(
            f"{args.folder} has no metrics.csv to rebuild its events from (tracking=off writes"
            " none)."
        )
    load_plugins(args.folder, args.plugin)
    from mlplab import runs

    with runs.RunFolder.locked(args.folder):
        rows = rebuild(args.folder)
    print(f"{rows} rows; to restore pictures, run `mlplab report {args.folder}`")
    print(args.folder)
    return 0


def _rebuild_sweep(folder: Path) -> Path:
    """Write the event files of the configurations of a sweep; return their folder."""
    from mlplab.sweeps.execution.stores import open_store
    from mlplab.sweeps.plan.plan_file import read_plan
    from mlplab.sweeps.report.collect import collect
    from mlplab.sweeps.report.group_events import write_group_events

    plan = read_plan(folder)
    return write_group_events(collect(plan, folder), open_store(plan, folder))


def rebuild(folder: Path) -> int:
    """Rebuild the event file of a run; return the number of its rows.

    metrics.csv has no times, so the rows are spaced evenly over the duration of the run.
    """
    from mlplab.config import settings_of_folder
    from mlplab.io.files import yaml_text
    from mlplab.runs.history_file import recorded_columns
    from mlplab.runs.hparams import HParams, final_scalars
    from mlplab.runs.record import write_event_header
    from mlplab.runs.run_index import summary_of
    from mlplab.tracking import EventWriter

    settings, summary, columns = (
        settings_of_folder(folder),
        summary_of(folder),
        recorded_columns(folder / "metrics.csv"),
    )
    steps = [int(step) for step in columns.pop("step")]
    epochs = columns.pop("epoch")
    old_paths = sorted(path for path in folder.glob("events.out.tfevents.*") if path.is_file())
    start_time = _start_time(folder)
    interval = float(summary.get("seconds") or 0.0) / max(len(steps), 1)
    with EventWriter(folder) as events:
        hparams = HParams.of_run(settings, tuple(columns))
        write_event_header(events, yaml_text(settings.config), hparams)
        events.history(steps, columns, [start_time + i * interval for i in range(len(steps))])
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
    for path in old_paths:
        os.replace(
            path, path.with_name(path.name.replace("events.out.tfevents.", "replaced-events-"))
        )
    return len(steps)


def _start_time(folder: Path) -> float:
    """Return when the run started, in seconds since the epoch."""
    try:
        return datetime.fromisoformat(read_json(folder / "provenance.json")["started"]).timestamp()
    except (OSError, ValueError, KeyError, TypeError):
        return (folder / "metrics.csv").stat().st_mtime
