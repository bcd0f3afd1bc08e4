"""`mlplab runs`: what there is below outputs/; two of them side by side; those that can go."""

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

from mlplab.commands.folder_arguments import Parser, kind
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
    """List runs and sweeps, newest first; `compare A B` shows two side by side; `remove FOLDER ...`
    deletes after asking.
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
        "folder", nargs="?", type=Path, default=Path("outputs"), help="where to look (outputs)"
    )
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help="status=done, val/accuracy>0.9, optimizer=adam, optimizer.lr<0.1",
    )
    parser.add_argument(
        "--sort", metavar="METRIC", help="best first by this metric, such as test/accuracy"
    )
    parser.add_argument("--jobs", action="store_true", help="the jobs of sweeps too")
    parser.add_argument("--limit", type=int, default=50, help="show so many (50); 0 shows all")


def _list(arguments: Sequence[str]) -> int:
    given = _parse("runs", arguments, _list_options)
    if not given.folder.is_dir():
        raise ConfigError(
            f"{given.folder} is no folder (looked for {given.folder.resolve()}): there are no runs"
            " in it."
        )
    conditions = [_condition(text) for text in given.where]
    index = ConfigIndex(given.folder)
    found = entries(given.folder, given.jobs or bool(given.sort))
    damaged = [entry for entry in found if entry.damaged]
    kept = [
        entry
        for entry in found
        if not entry.damaged and all(condition(entry, index) for condition in conditions)
    ]
    index.keep()
    if given.sort:
        from mlplab.metrics import direction

        named = [entry for entry in kept if isinstance(_metric(entry, given.sort), (int, float))]
        sign = -1 if direction(given.sort.partition("/")[2]) == "max" else 1
        kept = sorted(named, key=lambda entry: sign * (_metric(entry, given.sort) or 0.0))
    shown = kept[: given.limit] if given.limit else kept
    if shown:
        from mlplab.terminal.table import aligned

        print(
            "\n".join(
                aligned(
                    [
                        ["folder", "status", "when", "seed", "epochs", "result"],
                        *(_row(entry, given.sort) for entry in shown),
                    ]
                )
            )
        )
    print(
        f"{len(kept)} of {len(found)}"
        + (f", {len(shown)} shown (--limit)" if len(shown) < len(kept) else "")
    )
    if damaged:
        print(
            f"{len(damaged)} with a damaged summary.json left out, the first is"
            f" {damaged[0].folder}",
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


def _condition(text: str) -> Callable[[Entry, Mapping[Path, dict[str, Any]] | ConfigIndex], bool]:
    """A test of a run: its summary's keys and metrics first, then its configuration's."""
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"--where {text!r} is no condition: write KEY=VALUE, KEY!=VALUE, KEY<NUMBER or"
            " KEY>NUMBER, as in val/accuracy>0.9."
        )
    key, sign, wanted = match.groups()

    def holds(entry: Entry, index: Any) -> bool:
        summary = entry.summary
        if "/" in key:
            value = _metric(entry, key)
        elif key in summary and not isinstance(summary[key], dict):
            value = summary[key]
        else:
            value = index[entry.folder].get(key) if entry.kind != "sweep" else None
        return _compares(value, sign, wanted)

    return holds


def _compares(value: Any, sign: str, wanted: str) -> bool:
    try:
        a, b = float(value), float(wanted)
    except (TypeError, ValueError):
        return (
            (str(value) == wanted) == (sign in ("=", "=="))
            if sign in ("=", "==", "!=") and value is not None
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
    }[sign]


def _compare(arguments: Sequence[str]) -> int:
    given = _parse(
        "runs compare", arguments, lambda parser: parser.add_argument("folder", nargs=2, type=Path)
    )
    for folder in given.folder:
        if kind(folder) != "run":
            raise ConfigError(
                f"{folder} holds a sweep: two runs can be compared, such as {folder}/jobs/0."
            )
    from mlplab.runs.compare import beside

    print("\n".join(beside(*given.folder)))
    return 0


def _remove(arguments: Sequence[str]) -> int:
    def options(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("folder", nargs="+", type=Path)
        parser.add_argument("--yes", action="store_true", help="do not ask")

    given = _parse("runs remove", arguments, options)
    for folder in given.folder:
        if folder.is_symlink():
            raise ConfigError(f"{folder} is a symbolic link: name the folder itself.")
        kind(folder)
    if not given.yes and not _sure(given.folder):
        print("nothing was removed")
        return 1
    for folder in given.folder:
        _delete(folder)
        print(f"removed {folder}")
    return 0


def _sure(folders: Sequence[Path]) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError(
            f"Nobody can be asked whether {', '.join(map(str, folders))} may be deleted: say so"
            " with --yes."
        )
    answer = input(f"Delete {', '.join(map(str, folders))} for good? [y/N] ")
    return answer.strip().lower() in ("y", "yes")


def _delete(folder: Path) -> None:
    """Under its lock, and renamed first: one that is in use is refused, and none is left half there
    under its name.
    """
    with RunFolder(folder) as owner:
        owner.lock()
        staging_dir = folder.with_name(f".removed-{secrets.token_hex(4)}")
        os.rename(folder, staging_dir)
    shutil.rmtree(staging_dir)
