"""`mlplab resume DIR`: finish a run or a sweep."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mlplab.commands.folder_arguments import Options, kind, load_plugins, parse
from mlplab.errors import ConfigError

_OPTIONS: Options = {
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
}


def resume(arguments: Sequence[str]) -> int:
    """Finish the run or sweep in a folder. Finished jobs are not trained again. A finished run
    continues if training.epochs is raised.
    """
    args = parse("resume", resume.__doc__ or "", arguments, _OPTIONS)
    folder_kind = kind(args.folder)
    if not args.other_owner:
        check_owner(args.folder)
    load_plugins(args.folder, args.plugin)
    if folder_kind == "run":
        return resume_run(args.folder, args.changes, args.step, args.allow_config_change)
    if args.step is not None or args.allow_config_change:
        raise ConfigError(
            f"{args.folder} holds a sweep, whose jobs are frozen: only a run accepts --step and"
            " --allow-config-change."
        )
    from mlplab.commands.multirun import conclude, conclude_search
    from mlplab.sweeps import run_sweep
    from mlplab.sweeps.search import search

    if (args.folder / search.FILE).is_file():
        return conclude_search(search.resume(args.folder, typed=args.changes), args.folder)
    return conclude(run_sweep.resume(args.folder, typed=args.changes), args.folder)


def check_owner(folder: Path) -> None:
    """Raise ConfigError if the folder belongs to another user, who may have prepared it."""
    if hasattr(os, "getuid") and (owner := folder.stat().st_uid) != os.getuid():
        raise ConfigError(
            f"{folder} belongs to another user (number {owner}), who decides what it trains: add"
            " --other-owner if you trust them, or resume a copy of your own."
        )


def resume_run(
    folder: Path, changes: Sequence[str], step: int | None, allow_config_change: bool
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
    run = experiment.resume(folder, settings, step=step, allowed=allowed, cache=cache)
    return conclude(run, cache)
