"""`mlplab resume DIR` and `mlplab report DIR`: what is left of a sweep, and what came of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mlplab.config import plugins
from mlplab.config.errors import ConfigError


def resume(arguments: Sequence[str]) -> int:
    """Finish the sweep in a folder; the exit code. What is done is not touched."""
    folder, files = _parse("resume", arguments)
    _see_that_sweep(folder)
    from mlplab.commands.multirun import conclude
    from mlplab.sweeps import drive

    _load(folder, files)
    return conclude(drive.resume(folder), folder)


def report(arguments: Sequence[str]) -> int:
    """Write results.csv, summary.md and report.html of a sweep's folder again, and print the table."""
    folder, files = _parse("report", arguments)
    _see_that_sweep(folder)
    from mlplab.commands.multirun import conclude
    from mlplab.sweeps import drive
    from mlplab.sweeps.planfile import read_plan

    _load(folder, files)
    conclude(drive.report(read_plan(folder), folder), folder)
    return 0


def _parse(name: str, arguments: Sequence[str]) -> tuple[Path, list[str]]:
    parser = argparse.ArgumentParser(prog=f"mlplab {name}", description=globals()[name].__doc__, exit_on_error=False)
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("--plugin", action="append", default=[], help="file with parts of your own that the sweep used")
    try:
        found = parser.parse_args(list(arguments))
    except (argparse.ArgumentError, SystemExit) as error:
        if isinstance(error, SystemExit) and not error.code:
            raise  # --help
        raise ConfigError(
            f"`mlplab {name} {' '.join(arguments)}` cannot be read. It is `mlplab {name} DIR`, with the folder of a sweep."
        ) from error
    return found.folder, found.plugin


def _see_that_sweep(folder: Path) -> None:
    if (folder / "plan.yaml").is_file():
        return
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder (looked for {folder.resolve()}).")
    if (folder / "config.yaml").is_file():
        raise ConfigError(
            f"{folder} holds a single run, and only sweeps can be resumed or reported so far: start the run again with `mlplab train`."
        )
    raise ConfigError(
        f"{folder} holds no sweep: there is no plan.yaml in it. `mlplab train -m` prints the folder of each sweep as its last line."
    )


def _load(folder: Path, files: Sequence[str]) -> None:
    """Load the plugins that are named on this command line. Those which the folder names are not: a folder must not choose what code runs."""
    from mlplab.sweeps.planfile import used_plugins

    plugins.load(list(files))
    missing = [path for path in used_plugins(folder) if path not in files]
    if missing:
        flags = " ".join(f"--plugin {path}" for path in missing)
        raise ConfigError(f"The sweep in {folder} was started with parts of your own. Name their files again: {flags}.")
