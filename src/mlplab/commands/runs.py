"""`mlplab runs`: list, compare and remove runs."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlplab.commands.folder_arguments import Parser, kind, require_run
from mlplab.errors import ConfigError
from mlplab.runs.folder import RunFolder
from mlplab.runs.run_index import ConfigIndex, Entry, entries

_CONDITION = re.compile(r"\s*([\w./]+)\s*(<=|>=|!=|==|=|<|>)\s*(.*?)\s*")
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


def runs(arguments: Sequence[str]) -> int:
    """List runs and sweeps, newest first. `compare A B` shows two runs side by side; `remove FOLDER
    ...` deletes folders after confirmation.
    """
    first, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if first == "compare":
        return _compare(rest)
    if first == "remove":
        return _remove(rest)
    return _list(arguments)


def _parse(
    name: str, arguments: Sequence[str], options: Callable[[argparse.ArgumentParser], object]
) -> argparse.Namespace:
    parser = Parser(name, runs.__doc__ or "", _USAGE)
    options(parser)
    return parser.parse_intermixed_args(list(arguments))


def _list_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path("outputs"),
        help="folder to search (default: outputs)",
    )
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help="status=done, val/accuracy>0.9, optimizer=adam, optimizer.lr<0.1",
    )
    parser.add_argument(
        "--sort", metavar="METRIC", help="sort by this metric, such as test/accuracy, best first"
    )
    parser.add_argument("--jobs", action="store_true", help="include the jobs of sweeps")
    parser.add_argument(
        "--limit", type=int, default=50, help="the number of rows (default: 50); 0 shows all"
    )


def _list(arguments: Sequence[str]) -> int:
    args = _parse("runs", arguments, _list_options)
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
        if not entry.damaged and all(condition(entry, index) for condition in conditions)
    ]
    index.save()
    if args.sort:
        from mlplab.metrics import direction

        measured = [
            entry for entry in matching if isinstance(_metric(entry, args.sort), (int, float))
        ]
        sign = -1 if direction(args.sort.partition("/")[2]) == "max" else 1
        matching = sorted(measured, key=lambda entry: sign * (_metric(entry, args.sort) or 0.0))
    displayed = matching[: args.limit] if args.limit else matching
    if displayed:
        from mlplab.terminal.table import aligned

        print(
            "\n".join(
                aligned(
                    [
                        ["folder", "status", "when", "seed", "epochs", "result"],
                        *(_row(entry, args.sort) for entry in displayed),
                    ]
                )
            )
        )
    print(
        f"{len(matching)} of {len(all_entries)}"
        + (f", {len(displayed)} shown (--limit)" if len(displayed) < len(matching) else "")
    )
    if damaged:
        print(
            f"skipped {len(damaged)} with a damaged summary.json, the first is {damaged[0].folder}",
            file=sys.stderr,
        )
    return 0


def _row(entry: Entry, metric: str | None) -> list[str]:
    summary = entry.summary
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.changed))
    if entry.kind == "sweep":
        return [
            str(entry.folder),
            str(summary["status"]),
            when,
            "",
            "",
            f"sweep, {summary['jobs']} jobs",
        ]
    metrics = summary.get("metrics") or {}
    names = [metric] if metric else [name for name in _HEADLINES if name in metrics][:1]
    result = ", ".join(
        f"{name} {metrics[name]:.4g}"
        for name in names
        if isinstance(metrics.get(name), (int, float))
    )
    return [
        str(entry.folder),
        str(summary["status"]),
        when,
        str(summary.get("seed", "")),
        str(summary.get("epochs", "")),
        result,
    ]


def _metric(entry: Entry, name: str) -> Any:
    return (entry.summary.get("metrics") or {}).get(name)


def _condition(
    text: str,
) -> Callable[[Entry, Mapping[Path, dict[str, object]] | ConfigIndex], bool]:
    """Return the predicate of a condition on a run.

    Its key is a metric, a key of the summary, or else a configuration key. Raises ConfigError.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"--where {text!r} is not a condition: write KEY=VALUE, KEY!=VALUE, KEY<NUMBER or"
            " KEY>NUMBER, as in val/accuracy>0.9."
        )
    key, operator, operand = match.groups()

    def holds(entry: Entry, index: Mapping[Path, dict[str, object]] | ConfigIndex) -> bool:
        summary = entry.summary
        if "/" in key:
            value = _metric(entry, key)
        elif key in summary and not isinstance(summary[key], dict):
            value = summary[key]
        else:
            value = index[entry.folder].get(key) if entry.kind != "sweep" else None
        return _compares(value, operator, operand)

    return holds


def _compares(value: Any, operator: str, operand: str) -> bool:
    try:
        a, b = float(value), float(operand)
    except (TypeError, ValueError):
        return (
            (str(value) == operand) == (operator in ("=", "=="))
            if operator in ("=", "==", "!=") and value is not None
            else False
        )
    return {
        "=": a == b,
        "==": a == b,
        "!=": a != b,
        "<": a < b,
        ">": a > b,
        "<=": a <= b,
        ">=": a >= b,
    }[operator]


def _compare(arguments: Sequence[str]) -> int:
    args = _parse(
        "runs compare", arguments, lambda parser: parser.add_argument("folder", nargs=2, type=Path)
    )
    for folder in args.folder:
        require_run(folder, "compare")
    from mlplab.runs.compare import side_by_side

    print("\n".join(side_by_side(*args.folder)))
    return 0


def _remove(arguments: Sequence[str]) -> int:
    def options(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("folder", nargs="+", type=Path)
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")

    args = _parse("runs remove", arguments, options)
    for folder in args.folder:
        if folder.is_symlink():
            raise ConfigError(f"{folder} is a symbolic link: name the folder itself.")
        kind(folder)
    if not args.yes and not _confirm(args.folder):
        print("nothing was removed")
        return 1
    for folder in args.folder:
        _delete(folder)
        print(f"removed {folder}")
    return 0


def _confirm(folders: Sequence[Path]) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError(
            f"Cannot ask for confirmation to delete {', '.join(map(str, folders))}, since the"
            " input is not a terminal: confirm with --yes."
        )
    answer = input(f"Delete {', '.join(map(str, folders))} permanently? [y/N] ")
    return answer.strip().lower() in ("y", "yes")


def _delete(folder: Path) -> None:
    """Delete a folder under its lock.

    It is renamed first, so that an interruption leaves no partial folder under its name. Raises
    FolderInUseError.
    """
    with RunFolder.locked(folder):
        staging_dir = folder.with_name(f".removed-{secrets.token_hex(4)}")
        os.rename(folder, staging_dir)
    shutil.rmtree(staging_dir)
