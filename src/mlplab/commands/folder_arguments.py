"""The arguments of commands that take the folder of a run or a sweep."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mlplab.cli import COMMANDS
from mlplab.config import plugins
from mlplab.config.run_dir import split_job
from mlplab.errors import ConfigError
from mlplab.io.files import remove_leftovers
from mlplab.run_names import LOCK, is_set_up_only
from mlplab.terminal.suggested import plugin_flags

if TYPE_CHECKING:
    from mlplab.data.tabular.sniffing import Format
    from mlplab.runs.run import Run

Options = Mapping[str, Mapping[str, Any]]
"""The names of an argument, separated by blanks -> the arguments of `add_argument` for it."""


COMMON_OPTIONS: Options = {
    "--quiet -q": {
        "action": "store_true",
        "help": "no notes, no progress, and of a training only the folder",
    },
    "--verbose -v": {
        "action": "store_true",
        "help": "show the log of a run, and the traceback of a failure",
    },
    "--version -V": {"action": "store_true", "help": "print the version"},
}
"""Of every command; `mlplab.cli` handles them before the command sees its arguments."""

JSON_OPTION: Options = {
    "--json": {
        "action": "store_true",
        "help": "print one JSON document and nothing else to the output stream",
    },
}


CONFIG_DIR_OPTION: Options = {
    "--config-dir -cd": {
        "metavar": "DIR",
        "action": "append",
        "default": [],
        "help": "folder with files of your own; may be repeated",
    },
}


def plugin_option(meaning: str) -> Options:
    """Return the option that names plugin files, each a "Python file" with this meaning."""
    return {
        "--plugin": {
            "metavar": "FILE",
            "action": "append",
            "default": [],
            "help": f"Python file {meaning}; may be repeated",
        },
    }


FOLDER_OPTIONS: Options = {
    "folder": {"metavar": "DIR", "type": Path, "help": "a folder, or SWEEP:NUMBER for a job"},
    **plugin_option("with plugins that the run or sweep used"),
}

OUTPUT_OPTIONS: Options = {
    "--best": {
        "metavar": "N",
        "type": int,
        "help": "for a sweep: only the N best jobs by validation loss",
    },
    "--force": {"action": "store_true", "help": "replace OUT"},
}
"""Of commands that write a file OUT from a run or a sweep; see `check_output`."""


FORMAT_OPTIONS: Options = {
    "--delimiter": {"metavar": "CHARACTER", "help": "between the cells of a text file"},
    "--encoding": {"metavar": "NAME", "help": "of a text file, such as utf-8 or cp949"},
    "--decimal": {"choices": (".", ","), "help": "the decimal sign of a text file"},
    "--header": {
        "choices": ("yes", "no"),
        "help": (
            "whether the first line of a text file names the columns (default of these four: as the"
            " options of the training say, or detected)"
        ),
    },
    "--sheet": {
        "metavar": "NAME",
        "help": "sheet of a spreadsheet, by name or number from 0 (default: that of the training)",
    },
}
"""How a text file is written."""


def add_options(parser: argparse.ArgumentParser, options: Options) -> None:
    """Add the arguments of a table to a parser."""
    for names, settings in options.items():
        parser.add_argument(*names.split(), **settings)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ConfigErrors of one paragraph."""

    def __init__(self, name: str, meaning: str, usage: str, options: Options) -> None:
        super().__init__(prog=f"mlplab {name}", description=meaning)
        self._usage = usage
        add_options(self, {**options, **COMMON_OPTIONS})

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError with the message and the usage."""
        raise ConfigError(
            f"`{self.prog}`: {message}. Usage: {self._usage}; --help lists all options."
        )


def parse(
    name: str,
    meaning: str,
    arguments: Sequence[str],
    options: Options | None = None,
) -> argparse.Namespace:
    """Return `folder`, `plugin` and the arguments of `options`; `folder` may be typed as
    SWEEP:NUMBER. Raises ConfigError.
    """
    typed = COMMANDS[name].usage if name in COMMANDS else f"{name} DIR"
    usage = f"`mlplab {typed}`, with the folder of a run or a sweep, or SWEEP:NUMBER for a job"
    all_options = {**FOLDER_OPTIONS, **(options or {})}
    args = Parser(name, meaning, usage, all_options).parse_intermixed_args(list(arguments))
    args.folder = existing_folder(args.folder, args.plugin)
    return args


def existing_folder(path: Path, plugin_files: Sequence[str] = ()) -> Path:
    """Return the folder that an argument names. SWEEP:NUMBER is that of a job, which is made if the
    job is stored in a pack.

    Raises ConfigError if the sweep has no such job.
    """
    reference = split_job(path)
    if reference is None:
        return path
    sweep, number = reference
    require_plan(sweep)
    load_plugins(sweep, plugin_files)
    from mlplab.sweeps.open_job import open_job

    return open_job(sweep, number)


def root_folder(text: str) -> Path:
    """Return the folder that an argument names, alone or as the value of outputs=."""
    return Path(text.removeprefix("outputs="))


def kind(folder: Path) -> str:
    """Return "sweep" or "run", the kind of a folder. Raises ConfigError for any other folder."""
    if (folder / "plan.yaml").is_file() or (folder / "search.yaml").is_file():
        return "sweep"
    if (folder / "config.yaml").is_file():
        return "run"
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder (looked for {folder.resolve()}).")
    if ended_in_set_up(folder):
        raise ConfigError(
            f"{folder} holds a run that ended during its set-up, before anything was trained: start"
            " it again with `mlplab train` in the same folder, or delete it with `mlplab runs"
            f" remove {folder}`."
        )
    raise ConfigError(
        f"{folder} holds neither a sweep nor a run: it has no plan.yaml and no config.yaml."
        " `mlplab runs` lists the runs and sweeps, and `mlplab resume` those that are unfinished."
    )


def ended_in_set_up(folder: Path) -> bool:
    """Whether the folder holds what is left of a run that ended before anything was trained."""
    names = os.listdir(folder) if folder.is_dir() else []
    return LOCK in names and is_set_up_only(names)


def require_run(folder: Path, what: str) -> None:
    """Raise ConfigError unless the folder holds a run, which `what` needs."""
    if kind(folder) != "run":
        raise ConfigError(f"{folder} holds a sweep: {what} needs a run, such as {folder}:0.")


def require_plan(folder: Path) -> None:
    """Raise ConfigError unless the folder holds a sweep with a plan, which lists its jobs."""
    if kind(folder) != "sweep" or not (folder / "plan.yaml").is_file():
        raise ConfigError(f"{folder} holds no sweep with a plan, so that it has no jobs.")


def check_output(out: Path, force: bool, best: int | None) -> None:
    """Raise ConfigError if the file OUT cannot be written, or --best names no job.

    Deletes what killed commands left in the folder of OUT.
    """
    if out != Path("-") and out.exists() and not force:
        raise ConfigError(
            f"{out} already exists: choose another name with -o, or replace it with --force."
        )
    if not out.parent.is_dir():
        raise ConfigError(f"{out} cannot be written: there is no folder {out.parent}.")
    if best is not None and best < 1:
        raise ConfigError(f"--best {best}: at least one job is needed.")
    remove_leftovers(out.parent)


def load_plugins(folder: Path, files: Sequence[str]) -> None:
    """Load the plugins that the command line names.

    Plugins that only the sweep's folder names are not loaded, since a folder must not decide which
    code runs. Raises ConfigError if the sweep used plugins that the command line does not name.
    """
    plugins.load(list(files))
    if kind(folder) != "sweep":
        return
    given_paths = {Path(path).resolve() for path in files}  # workers receive absolute paths
    missing = [path for path in _used_plugins(folder) if Path(path).resolve() not in given_paths]
    if missing:
        raise ConfigError(
            f"The sweep in {folder} was started with plugins. Name their files again:"
            f" {plugin_flags(missing)}."
        )


def _used_plugins(folder: Path) -> list[str]:
    """The plugin files that the plan of a sweep and its search name, each once: workers load them.

    Raises ConfigError if one of the two files cannot be read.
    """
    used = []
    if (folder / "plan.yaml").is_file():
        from mlplab.sweeps.plan import plan_file

        used += plan_file.used_plugins(folder)
    if (folder / "search.yaml").is_file():
        from mlplab.sweeps.search import search

        used += search.used_plugins(folder)
    return list(dict.fromkeys(used))


def later_format(args: argparse.Namespace, run: Run) -> Format:
    """Return how a file of the command line is written, by FORMAT_OPTIONS and the run."""
    from mlplab.data.tabular import dataset
    from mlplab.data.tabular.sniffing import Format

    header = None if args.header is None else args.header == "yes"
    given = Format(args.delimiter, args.encoding, args.decimal, header, sheet=args.sheet)
    encoder = run.preprocessing.encoder
    # a data frame has no markers; a file written from one has those that pandas writes
    markers = (encoder.markers if encoder else ()) or Format().missing
    column_markers = encoder.column_markers if encoder else {}
    return dataset.later_format(run.settings.dataset, given, markers, column_markers)
