"""`mlplab resume DIR`: finish a run or a sweep."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.cli import exit_code
from mlplab.commands.folder_arguments import (
    JSON_OPTION,
    Options,
    kind,
    load_plugins,
    parse,
    root_folder,
)
from mlplab.commands.table_output import print_document
from mlplab.config.run_dir import DEFAULT_ROOT
from mlplab.errors import ConfigError, MlplabError
from mlplab.terminal.suggested import resume_command
from mlplab.terminal.table import aligned

if TYPE_CHECKING:
    from mlplab.runs.run_index import Entry

OPTIONS: Options = {
    "changes": {
        "metavar": "KEY=VALUE",
        "nargs": "*",
        "help": (
            "for a run: changes of length, patience or tracking; for a sweep: sweep.workers,"
            " sweep.engine and sweep.cluster, which the folder does not decide"
        ),
    },
    "--step": {
        "type": int,
        "help": "for a run: resume from the checkpoint of this step, not from the newest valid one",
    },
    "--allow-config-change": {
        "action": "store_true",
        "help": "for a run: accept edits of config.yaml in the keys that may change",
    },
    "--other-owner": {
        "action": "store_true",
        "help": "accept a folder that belongs to another user",
    },
    **JSON_OPTION,
}


def resume(arguments: Sequence[str]) -> int:
    """Finish the run or sweep in a folder. Finished jobs are not trained again. A finished run
    continues if training.epochs is raised. Without a folder, list what can be finished below
    outputs/, or below DIR with outputs=DIR.
    """
    roots = [text for text in arguments if text != "--json"]
    if not roots or (len(roots) == 1 and roots[0].startswith("outputs=")):
        root = root_folder(roots[0]) if roots else DEFAULT_ROOT
        return _list_resumable(root, as_json="--json" in arguments)
    args = parse("resume", resume.__doc__ or "", arguments, OPTIONS)
    folder_kind = kind(args.folder)
    if not args.other_owner:
        check_owner(args.folder)
    load_plugins(args.folder, args.plugin)
    if folder_kind == "run":
        return resume_run(args.folder, args.changes, args.step, args.allow_config_change, args.json)
    if args.step is not None or args.allow_config_change:
        raise ConfigError(
            f"{args.folder} holds a sweep, whose jobs are frozen: only a run accepts --step and"
            " --allow-config-change."
        )
    from mlplab.commands.multirun import conclude, conclude_search
    from mlplab.sweeps import run_sweep
    from mlplab.sweeps.search import search

    if (args.folder / search.FILE).is_file():
        searched = search.resume(args.folder, typed=args.changes)
        return conclude_search(searched, args.folder, args.json)
    return conclude(run_sweep.resume(args.folder, typed=args.changes), args.folder, args.json)


def check_owner(folder: Path) -> None:
    """Raise ConfigError if the folder belongs to another user, who may have prepared it."""
    if hasattr(os, "getuid") and (owner := folder.stat().st_uid) != os.getuid():
        raise ConfigError(
            f"{folder} belongs to another user (number {owner}), who decides what it trains: add"
            " --other-owner if you trust them, or resume a copy of your own."
        )


def _list_resumable(root: Path, as_json: bool) -> int:
    """Print the runs and sweeps below a folder that have not finished, and how to finish each.

    A run in training, whose folder is locked, is left out.
    """
    from mlplab.commands.runs import changed, sweep_counts
    from mlplab.runs.folder import is_locked
    from mlplab.runs.run_index import entries

    unfinished = [
        entry
        for entry in entries(root)
        if entry.summary["status"] in ("unfinished", "interrupted")
        and not entry.damaged
        and not is_locked(entry.folder)
    ]
    rows = [
        [
            str(entry.summary["status"]),
            changed(entry),
            sweep_counts(entry) if entry.kind == "sweep" else "run",
            _command(entry),
        ]
        for entry in unfinished
    ]
    if as_json:
        names = ("status", "changed", "jobs", "resume_with")
        listed = [
            {"folder": str(entry.folder), "kind": entry.kind, **dict(zip(names, row, strict=True))}
            for entry, row in zip(unfinished, rows, strict=True)
        ]
        print_document("unfinished", {"unfinished": listed})
    elif rows:
        header = ["status", "when", "jobs", "finish it with"]
        print(*aligned([header, *rows], left=range(4)), sep="\n")
    else:
        print(f"There is nothing to resume in {root}.")
    return 0


def _command(entry: Entry) -> str:
    """Return the command line that finishes a run or sweep, with the plugins that it used."""
    from mlplab.runs.provenance import command_to_resume
    from mlplab.sweeps.plan.plan_file import used_plugins

    if entry.kind != "sweep":
        return command_to_resume(entry.folder)
    try:
        return resume_command(entry.folder, used_plugins(entry.folder))
    except MlplabError:  # no readable plan, which the command itself explains
        return resume_command(entry.folder)


def resume_run(
    folder: Path,
    changes: Sequence[str],
    step: int | None,
    allow_config_change: bool,
    as_json: bool = False,
) -> int:
    """Resume a run, print its result and its folder as the last line; return the exit code.

    Raises ConfigError if a change would make it a different training.
    """
    from mlplab import experiment
    from mlplab.commands.single_run import conclude
    from mlplab.config import settings_of_folder
    from mlplab.runs.resume_checks import RESUMABLE_KEYS, changed_keys
    from mlplab.training import DataCache

    settings = settings_of_folder(folder, changes, trains=True)
    changed = changed_keys(folder, changes)
    cache = DataCache()
    allowed = RESUMABLE_KEYS if allow_config_change else changed
    run = experiment.resume(
        folder,
        settings,
        step=step,
        allowed=allowed,
        cache=cache,
        on_result=partial(conclude, cache=cache, as_json=as_json),
    )
    return exit_code(run.summary)
