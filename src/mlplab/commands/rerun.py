"""`mlplab rerun RUN`: the run again from its frozen configuration, changed or to see whether the
numbers come out the same.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.commands.folder_arguments import kind, load_plugins, parse
from mlplab.errors import ConfigError

if TYPE_CHECKING:
    from mlplab.settings import Settings


def rerun(arguments: Sequence[str]) -> int:
    """Train the configuration of a run folder again, with words of your own on top, into a new
    folder. --check compares all numbers: exit code 1 where they differ.
    """
    given = parse("rerun", rerun.__doc__ or "", arguments, _options)
    if kind(given.folder) != "run":
        raise ConfigError(
            f"{given.folder} holds a sweep: rerun takes a run, such as {given.folder}/jobs/0."
        )
    if given.check and given.changes:
        raise ConfigError(
            "--check compares a run with itself, so no key can be changed: leave the words out, or"
            " --check."
        )
    load_plugins(given.folder, given.plugin)
    from mlplab.config.run_dir import check_folder

    if given.out is not None:
        check_folder(given.out, "--out")
    settings = stored_settings(given.folder, given.changes)
    from mlplab import cli, experiment
    from mlplab.terminal.results import print_result

    run = experiment.run(settings, given.out)
    print_result(run.summary)
    code = cli.exit_code(run.summary)
    if given.check:
        from mlplab.runs.compare import compare_histories

        same, lines = compare_histories(given.folder, run.folder)
        print("\n".join(lines))
        code = code or int(not same)
    print(run.folder)
    return code


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "changes",
        metavar="KEY=VALUE",
        nargs="*",
        help="what to change, as in optimizer.lr=0.01 or optimizer=adam",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="compare every metric of every epoch with those of the run",
    )
    parser.add_argument("--out", type=Path, help="the new folder")


def stored_settings(folder: Path, changes: Sequence[str]) -> Settings:
    """The settings of a run folder with words on top; the words that are kept with them begin with
    those that made the old run.
    """
    from mlplab.config.builder import build
    from mlplab.config.edit_stored import apply_overrides
    from mlplab.config.stored import stored_config
    from mlplab.runs.run_index import user_overrides

    settings = build(apply_overrides(stored_config(folder), changes, folder / "config.yaml"))
    return dataclasses.replace(settings, overrides=(*user_overrides(folder), *changes))
