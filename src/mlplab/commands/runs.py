"""`mlplab runs`: list, compare and remove runs."""

from __future__ import annotations

import argparse
import math
import os
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mlplab.commands.folder_arguments import (
    Options,
    Parser,
    ended_in_set_up,
    kind,
    root_folder,
)
from mlplab.config.run_dir import DEFAULT_ROOT, split_job
from mlplab.errors import ConfigError
from mlplab.runs.folder import RunFolder
from mlplab.runs.listing import Condition, RunTable, as_override, metric, require_folder, select
from mlplab.runs.run_index import Entry, RunIndex
from mlplab.terminal import modes
from mlplab.terminal.output import count, duration, plain, terminal_width
from mlplab.terminal.table import aligned

_HEADLINES = (
    "test/accuracy",
    "test/rmse",
    "val/accuracy",
    "val/rmse",
    "train/accuracy",
    "train/rmse",
)
DEFAULT_LIMIT = 50
_COLUMNS = ("folder", "status", "when", "seed", "epochs", "wall", "cpu", "result")
_DROPPED_FIRST = ("epochs", "seed", "cpu", "wall", "when")
"""Columns that a narrow terminal has no room for, the least important first."""
_USAGE = (
    "`mlplab runs [FOLDER]`, `mlplab runs compare A B`, or `mlplab runs remove FOLDER ... [--yes]`"
)


OPTIONS: Options = {
    "folder": {
        "nargs": "?",
        "type": root_folder,
        "default": DEFAULT_ROOT,
        "help": "folder to search, also as outputs=FOLDER (default: outputs)",
    },
    "--where": {
        "action": "append",
        "default": [],
        "metavar": "CONDITION",
        "help": "status=done, val/accuracy>0.9, optimizer=adam, optimizer.lr<0.1",
    },
    "--sort": {
        "metavar": "METRIC",
        "help": "sort by this metric, such as test/accuracy, best first",
    },
    "--jobs": {"action": "store_true", "help": "include the jobs of sweeps"},
    "--limit": {
        "type": int,
        "help": (
            f"the number of rows; 0 shows all (default: {DEFAULT_LIMIT}, or all as JSON or CSV)"
        ),
    },
    "--json": {
        "action": "store_true",
        "help": "print an array of objects with all columns, one line each",
    },
    "--csv": {"action": "store_true", "help": "print all columns as CSV"},
}
_REMOVE_OPTIONS: Options = {
    "folder": {"nargs": "+", "type": Path},
    "--yes": {"action": "store_true", "help": "do not ask for confirmation"},
}


def runs(arguments: Sequence[str]) -> int:
    """List runs and sweeps, newest first. `compare A B` is the command `mlplab compare`; `remove
    FOLDER ...` deletes folders after confirmation.
    """
    first, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if first == "compare":
        from mlplab.commands.compare import compare

        return compare(rest, "runs compare")
    if first == "remove":
        args = _parse("runs remove", rest, _REMOVE_OPTIONS)
        return _remove(args.folder, args.yes)
    return _list(_parse("runs", arguments, OPTIONS))


def _parse(name: str, arguments: Sequence[str], options: Options) -> argparse.Namespace:
    parser = Parser(name, runs.__doc__ or "", _USAGE, options)
    return parser.parse_intermixed_args(list(arguments))


def _list(args: argparse.Namespace) -> int:
    conditions = [Condition.parse(text) for text in args.where]
    require_folder(args.folder)
    index = RunIndex(args.folder)
    listed = index.entries(args.jobs or bool(args.sort))
    damaged = [entry for entry in listed if entry.damaged]
    matching = select(index, listed, conditions)
    if args.sort:
        matching = _sorted(matching, args.sort)
    if args.json or args.csv:
        _export(RunTable.of(index, matching[: args.limit or None], all_keys=True), args.csv)
    else:
        limit = DEFAULT_LIMIT if args.limit is None else args.limit
        _print(matching, limit or len(matching), args.sort)
        hidden = len(matching) - limit if limit else 0
        more = f", {limit} shown, {hidden} more with --limit 0" if hidden > 0 else ""
        print(f"{len(matching)} of {len(listed)}{more}")
    index.save()
    if damaged:
        print(
            f"skipped {len(damaged)} with a damaged summary.json or pack, the first is"
            f" {damaged[0].folder}",
            file=sys.stderr,
        )
    return 0


def _sorted(listed: Sequence[Entry], name: str) -> list[Entry]:
    """Sort by a metric, best first and NaN last; runs without it are left out."""
    from mlplab.metrics import direction

    sign = -1.0 if direction(name.partition("/")[2]) == "max" else 1.0
    values = [(sign * float(metric(entry, name)), entry) for entry in listed if _has(entry, name)]
    values.sort(key=lambda item: (math.isnan(item[0]), item[0] if item[0] == item[0] else 0.0))
    return [entry for _, entry in values]


def _has(entry: Entry, name: str) -> bool:
    return isinstance(metric(entry, name), (int, float))


def _export(table: RunTable, as_csv: bool) -> None:
    """Print a table as CSV or as JSON."""
    if as_csv:
        from mlplab.tracking.metrics_file import table_bytes

        rows = [[_csv_cell(value) for value in row] for row in table.rows()]
        print(table_bytes([list(map(plain, table.columns)), *rows]).decode(), end="")
    else:
        modes.write_document("".join(table.json_lines()))


def _csv_cell(value: object) -> object:
    """A cell as in results.csv, its text without control characters."""
    value = as_override(value)
    return plain(value) if isinstance(value, str) else value


def _print(matching: Sequence[Entry], limit: int, sort: str | None) -> None:
    """Print the table of the first runs; on a narrow terminal without less important columns."""
    displayed = matching[:limit]
    rows = [[*_COLUMNS], *(_row(entry, sort) for entry in displayed)]
    if not displayed:
        return
    room = terminal_width(sys.stdout) or math.inf
    for dropped in (None, *_DROPPED_FIRST):
        rows = [
            [cell for name, cell in zip(rows[0], row, strict=True) if name != dropped]
            for row in rows
        ]
        if max(map(len, lines := aligned(rows))) <= room:
            break
    else:
        lines = aligned([*_with_metric_in_header(rows)])
    print(*lines, sep="\n")


def _with_metric_in_header(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The rows with the metric as the title of the last column, if it is the same in all."""
    results = [row[-1].partition(" ") for row in rows[1:]]
    names = {name for name, _, _ in results if name not in ("", "sweep,")}
    if len(names) != 1:
        return [[*row] for row in rows]
    [name] = names
    return [
        [*rows[0][:-1], name],
        *([*row[:-1], row[-1].removeprefix(f"{name} ")] for row in rows[1:]),
    ]


def changed(entry: Entry) -> str:
    """Return when a run or sweep last changed, in local time."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.changed))
    except (ValueError, OverflowError, OSError):  # outside the years of the calendar
        return ""


def _row(entry: Entry, sort: str | None) -> list[str]:
    """The cells of `_COLUMNS`."""
    summary = entry.summary
    times = [summary.get(key) for key in ("seconds", "cpu_seconds")]
    wall, cpu = ("" if value is None else _duration(value) for value in times)
    row = [entry.path, str(summary["status"]), changed(entry)]
    if entry.kind == "sweep":
        return [*row, "", "", wall, cpu, f"sweep, {sweep_counts(entry)}"]
    metrics = summary.get("metrics") or {}
    names = [sort] if sort else [name for name in _HEADLINES if name in metrics][:1]
    result = ", ".join(
        f"{name} {metrics[name]:.4g}"
        for name in names
        if isinstance(metrics.get(name), (int, float))
    )
    seed, epochs = (str(summary.get(key, "")) for key in ("seed", "epochs"))
    return [*row, seed, epochs, wall, cpu, result]


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return ""
    return f"{seconds:.2g} s" if 0 < seconds < 0.1 else duration(seconds)


def sweep_counts(entry: Entry) -> str:
    """Return the number of jobs of a sweep that have ended, and of those that ended badly."""
    summary = entry.summary
    planned, missing = summary.get("planned"), summary.get("missing")
    if not isinstance(planned, int) or not isinstance(missing, int):
        return count(entry.num_jobs, "job")
    ended = entry.num_jobs if summary["status"] == "unfinished" else planned - missing
    bad = [
        f"{number} {status}"
        for status in ("failed", "diverged", "pruned")
        if isinstance(number := summary.get(status), int) and number
    ]
    all_jobs = count(planned, "job")
    return ", ".join([all_jobs if ended >= planned else f"{ended} of {all_jobs}", *bad])


def _remove(folders: Sequence[Path], confirmed: bool) -> int:
    for folder in folders:
        if folder.is_symlink():
            raise ConfigError(f"{folder} is a symbolic link: name the folder itself.")
        if split_job(folder) is not None:
            raise ConfigError(
                f"{folder} is a job of a sweep, which keeps it: name the folder of the sweep, or"
                " that of the job below `jobs`."
            )
        if not ended_in_set_up(folder):
            kind(folder)
    if not confirmed and not _confirm(folders):
        print("nothing was removed")
        return 1
    for folder in folders:
        _delete(folder)
        print(f"removed {folder}")
    return 0


def _confirm(folders: Sequence[Path]) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError(
            f"Cannot ask for confirmation to delete {', '.join(map(str, folders))}, since the"
            " input is not a terminal: confirm with --yes."
        )
    question = f"Delete {', '.join(map(str, folders))} permanently? [y/N] "
    return input(question).strip().lower() in ("y", "yes")


def _delete(folder: Path) -> None:
    """Delete a folder under its lock.

    It is renamed first, so that an interruption leaves no partial folder under its name. Raises
    FolderInUseError.
    """
    with RunFolder.locked(folder):
        staging_dir = folder.with_name(f".removed-{secrets.token_hex(4)}")
        os.rename(folder, staging_dir)
    shutil.rmtree(staging_dir)
