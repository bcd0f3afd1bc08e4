"""`mlplab rerun RUN`: repeat a run from its stored configuration, optionally changed or checked for
reproducibility.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.cli import exit_code
from mlplab.commands.folder_arguments import (
    JSON_OPTION,
    Options,
    load_plugins,
    parse,
    require_run,
    root_folder,
)
from mlplab.errors import ConfigError

if TYPE_CHECKING:
    from mlplab.runs.run import Run
    from mlplab.settings import Settings
    from mlplab.training import Callback

OPTIONS: Options = {
    "changes": {
        "metavar": "KEY=VALUE",
        "nargs": "*",
        "help": "overrides, such as optimizer.lr=0.01 or optimizer=adam",
    },
    "--check": {
        "action": "store_true",
        "help": "compare every metric of every epoch with the original run",
    },
    "-o --out": {
        "metavar": "FOLDER",
        "type": Path,
        "help": "the new folder (default: a unique one below outputs/, or below DIR: outputs=DIR)",
    },
    **JSON_OPTION,
}


def rerun(arguments: Sequence[str]) -> int:
    """Train the configuration of a run again in a new folder, with optional overrides. --check
    compares all numbers with those of the run: the exit code is 1 if they differ.
    """
    args = parse("rerun", rerun.__doc__ or "", arguments, OPTIONS)
    roots = [root_folder(text) for text in args.changes if text.startswith("outputs=")]
    args.changes = [text for text in args.changes if not text.startswith("outputs=")]
    require_run(args.folder, "rerun")
    if args.check and args.changes:
        raise ConfigError(
            "--check compares a run with itself, so no key can be changed: omit the overrides or"
            " --check."
        )
    load_plugins(args.folder, args.plugin)
    from mlplab.config.run_dir import check_folder

    if args.out is not None:
        check_folder(args.out, "--out")
    from mlplab import experiment
    from mlplab.config import settings_of_folder
    from mlplab.runs.flat_config import user_overrides
    from mlplab.runs.provenance import command_flags
    from mlplab.runs.run import read_summary, require_weights
    from mlplab.runs.run_training import new_folder

    if args.check:
        require_weights(args.folder)
        read_summary(args.folder)  # a damaged one is refused before the training
    from mlplab.commands.single_run import conclude
    from mlplab.runs.compare import compare_histories
    from mlplab.sweeps.source_job import open_source
    from mlplab.terminal.suggested import train_arguments
    from mlplab.training import DataCache

    settings = settings_of_folder(args.folder, args.changes, trains=True)
    if any(text.startswith("init_from=") for text in args.changes):
        open_source(settings)
    overrides = (*user_overrides(args.folder), *args.changes)
    cache = DataCache()
    out = args.out or (new_folder(settings, roots[-1]) if roots else None)
    flags = [token for flag in command_flags(args.folder) for token in flag]
    settings = dataclasses.replace(
        settings, overrides=overrides, command=train_arguments(overrides, flags)
    )
    settings, callbacks = _ended_as(args.folder, settings) if args.check else (settings, [])
    same = True

    def on_result(run: Run) -> None:
        nonlocal same
        check: dict[str, object] = {}
        if args.check:
            same, lines = compare_histories(args.folder, run.folder)
            print("\n".join(lines))
            check = {"check": {"same": same, "lines": lines}}
        conclude(run, cache, args.json, check)

    run = experiment.run(settings, out, cache=cache, callbacks=callbacks, on_result=on_result)
    return exit_code(run.summary) or int(not same)


def _ended_as(folder: Path, settings: Settings) -> tuple[Settings, list[Callback]]:
    """Return settings without a time limit, and what ends their training at the step at which the
    run in `folder` met its own; if it has met none, the settings alone.
    """
    from mlplab.runs.run import read_summary
    from mlplab.terminal.output import count, note
    from mlplab.training.time_limit import EndAtStep

    summary = read_summary(folder)
    if not summary.get("time_limited"):
        return settings, []
    training = dataclasses.replace(settings.training, time_limit=None)
    steps = int(summary["steps"])
    note(f"the run ended by its time limit; the same {count(steps, 'step')} are compared")
    end = EndAtStep(steps, f"stopped: at step {steps}, as the run that it repeats")
    return dataclasses.replace(settings, training=training), [end]
