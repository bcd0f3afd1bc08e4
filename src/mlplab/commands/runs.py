"""`mlplab runs`: list, compare and remove runs."""

from __future__ import annotations

import argparse
import operator
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlplab.commands.folder_arguments import (
    Options,
    Parser,
    ended_in_set_up,
    existing_folder,
    kind,
    require_run,
    root_folder,
)
from mlplab.config.run_dir import DEFAULT_ROOT
from mlplab.errors import ConfigError
from mlplab.runs.folder import RunFolder
from mlplab.runs.run_index import ConfigIndex, Entry, entries
from mlplab.terminal.output import count
from mlplab.terminal.table import aligned

_CONDITION = re.compile(r"\s*([\w./]+)\s*(<=|>=|!=|==|=|<|>)\s*(.*?)\s*")
_COMPARISONS = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_HEADLINES = (
    "test/accuracy",
    "test/rmse",
    "val/accuracy",
    "val/rmse",
    "train/accuracy",
    "train/rmse",
)
_USAGE = (
    "`mlplab runs [FOLDER]`, `mlplab runs compare A B`, or `mlplab runs remove FOLDER ... [--yes]`"
)


_LIST_OPTIONS: Options = {
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
        "default": 50,
        "help": "the number of rows (default: 50); 0 shows all",
    },
}
_COMPARE_OPTIONS: Options = {"folder": {"nargs": 2, "type": Path}}
_REMOVE_OPTIONS: Options = {
    "folder": {"nargs": "+", "type": Path},
    "--yes": {"action": "store_true", "help": "do not ask for confirmation"},
}


def runs(arguments: Sequence[str]) -> int:
    """List runs and sweeps, newest first. `compare A B` shows two runs side by side; `remove FOLDER
    ...` deletes folders after confirmation.
    """
    first, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if first == "compare":
        return _compare(_parse("runs compare", rest, _COMPARE_OPTIONS).folder)
    if first == "remove":
        args = _parse("runs remove", rest, _REMOVE_OPTIONS)
        return _remove(args.folder, args.yes)
    return _list(_parse("runs", arguments, _LIST_OPTIONS))


def _parse(name: str, arguments: Sequence[str], options: Options) -> argparse.Namespace:
    parser = Parser(name, runs.__doc__ or "", _USAGE, options)
    return parser.parse_intermixed_args(list(arguments))


def _list(args: argparse.Namespace) -> int:
    if not args.folder.is_dir():
        raise ConfigError(
            f"{args.folder} is not a folder (looked for {args.folder.resolve()}): there are no"
            " runs to list."
        )
    conditions = [_condition(text) for text in args.where]
    index = ConfigIndex(args.folder)
    all_entries = entries(args.folder, args.jobs or bool(args.sort))
    damaged = [entry for entry in all_entries if entry.damaged]
    matching = [
        entry
        for entry in all_entries
        if not entry.damaged
        and all(_compares(_value(entry, key, index), *rest) for key, *rest in conditions)
    ]
    index.save()
    if args.sort:
        from mlplab.metrics import direction

        matching = sorted(
            (entry for entry in matching if isinstance(_metric(entry, args.sort), (int, float))),
            key=lambda entry: float(_metric(entry, args.sort)),
            reverse=direction(args.sort.partition("/")[2]) == "max",
        )
    displayed = matching[: args.limit] if args.limit else matching
    if displayed:
        header = ["folder", "status", "when", "seed", "epochs", "result"]
        print(*aligned([header, *(_row(entry, args.sort) for entry in displayed)]), sep="\n")
    hidden = f", {len(displayed)} shown (--limit)" if len(displayed) < len(matching) else ""
    print(f"{len(matching)} of {len(all_entries)}{hidden}")
    if damaged:
        print(
            f"skipped {len(damaged)} with a damaged summary.json, the first is {damaged[0].folder}",
            file=sys.stderr,
        )
    return 0


def changed(entry: Entry) -> str:
    """Return when a run or sweep last changed, in local time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.changed))


def _row(entry: Entry, metric: str | None) -> list[str]:
    summary = entry.summary
    row = [str(entry.folder), str(summary["status"]), changed(entry)]
    if entry.kind == "sweep":
        return [*row, "", "", f"sweep, {sweep_counts(entry)}"]
    metrics = summary.get("metrics") or {}
    names = [metric] if metric else [name for name in _HEADLINES if name in metrics][:1]
    result = ", ".join(
        f"{name} {metrics[name]:.4g}"
        for name in names
        if isinstance(metrics.get(name), (int, float))
    )
    return [*row, str(summary.get("seed", "")), str(summary.get("epochs", "")), result]


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


def _metric(entry: Entry, name: str) -> Any:
    return (entry.summary.get("metrics") or {}).get(name)


def _condition(text: str) -> tuple[str | Any, ...]:
    """Return the key, the operator and the operand of a condition. Raises ConfigError."""
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"--where {text!r} is not a condition: write KEY=VALUE, KEY!=VALUE, KEY<NUMBER or"
            " KEY>NUMBER, as in val/accuracy>0.9."
        )
    return match.groups()


def _value(entry: Entry, key: str, index: ConfigIndex) -> Any:
    """Return the value of a metric, a key of the summary, or else a configuration key."""
    if "/" in key:
        return _metric(entry, key)
    if key in entry.summary and not isinstance(entry.summary[key], dict):
        return entry.summary[key]
    return index[entry.folder].get(key) if entry.kind != "sweep" else None


def _compares(value: Any, sign: str, operand: str) -> bool:
    try:
        return bool(_COMPARISONS[sign](float(value), float(operand)))
    except (TypeError, ValueError):
        expected = {"=": True, "==": True, "!=": False}.get(sign)
        return value is not None and (str(value) == operand) is expected


def _compare(folders: Sequence[Path]) -> int:
    folders = list(map(existing_folder, folders))
    for folder in folders:
        require_run(folder, "compare")
    from mlplab.runs.compare import side_by_side

    print(*side_by_side(*folders), sep="\n")
    return 0


def _remove(folders: Sequence[Path], confirmed: bool) -> int:
    for folder in folders:
        if folder.is_symlink():
            raise ConfigError(f"{folder} is a symbolic link: name the folder itself.")
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
