"""`mlplab resume DIR`: what is left of a run or a sweep."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mlplab.commands.folder_arguments import kind, load_plugins, parse
from mlplab.errors import ConfigError


def resume(arguments: Sequence[str]) -> int:
    """Finish the run or the sweep in a folder; the exit code. What is done is not touched. A run
    that is done goes on where training.epochs is raised.
    """
    given = parse("resume", resume.__doc__ or "", arguments, _options)
    what = kind(given.folder)
    load_plugins(given.folder, given.plugin)
    if what == "run":
        return resume_run(given.folder, given.changes, given.step, given.allow_config_change)
    if given.changes or given.step is not None or given.allow_config_change:
        raise ConfigError(
            f"{given.folder} holds a sweep, whose jobs are frozen: only a run takes words, --step"
            " and --allow-config-change."
        )
    from mlplab.commands.multirun import conclude, conclude_search
    from mlplab.sweeps import run_sweep
    from mlplab.sweeps.search import search

    if (given.folder / search.FILE).is_file():
        return conclude_search(search.resume(given.folder), given.folder)
    return conclude(run_sweep.resume(given.folder), given.folder)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "changes",
        metavar="KEY=VALUE",
        nargs="*",
        help="of a run: another length, patience or tracking",
    )
    parser.add_argument(
        "--step",
        type=int,
        help="of a run: the checkpoint of this step instead of the newest good one",
    )
    parser.add_argument(
        "--allow-config-change",
        action="store_true",
        help="of a run: its config.yaml may have been edited, in the keys that may change",
    )


def resume_run(folder: Path, changes: Sequence[str], step: int | None, edited: bool) -> int:
    """The last line printed is the folder."""
    from mlplab import cli
    from mlplab.config.builder import build
    from mlplab.config.edit_stored import apply_overrides
    from mlplab.config.stored import stored_config
    from mlplab.runs.resume_checks import RESULT_NEUTRAL_KEYS, RESUMABLE_KEYS

    settings = build(apply_overrides(stored_config(folder), changes, folder / "config.yaml"))
    typed = [word.lstrip("+").partition("=")[0] for word in changes]
    for key in typed:
        if key not in RESUMABLE_KEYS and key.partition(".")[0] not in RESULT_NEUTRAL_KEYS:
            raise ConfigError(
                f"`{key}` cannot change when a run is resumed: the rest would be of another"
                f" training. Only {', '.join(RESUMABLE_KEYS)} can. For a run of its own: mlplab"
                f" rerun {folder} {' '.join(changes)}."
            )
    from mlplab import experiment
    from mlplab.terminal.results import print_result

    run = experiment.resume(
        folder, settings, step=step, allowed=RESUMABLE_KEYS if edited else typed
    )
    print_result(run.summary)
    if run.status == "interrupted":
        print(f"go on with: mlplab resume {run.folder}")
    print(run.folder)
    return cli.exit_code(run.summary)
