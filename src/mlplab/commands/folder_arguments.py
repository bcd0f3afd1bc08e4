"""Commands that take the folder of a run or a sweep."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from mlplab.config import plugins
from mlplab.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """argparse whose complaints are one paragraph like all others."""

    def __init__(self, name: str, meaning: str, usage: str) -> None:
        super().__init__(prog=f"mlplab {name}", description=meaning)
        self._usage = usage

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise ConfigError(f"`{self.prog}`: {message}. It is {self._usage}; --help lists the rest.")


def parse(
    name: str,
    meaning: str,
    arguments: Sequence[str],
    more: Callable[[argparse.ArgumentParser], object] = lambda parser: None,
) -> argparse.Namespace:
    """`folder`, `plugin`, and what `more` adds. Raises ConfigError."""
    parser = Parser(name, meaning, f"`mlplab {name} DIR`, with the folder of a run or a sweep")
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument(
        "--plugin", action="append", default=[], help="file with parts of your own that were used"
    )
    more(parser)
    return parser.parse_intermixed_args(list(arguments))


def kind(folder: Path) -> str:
    """ "sweep" or "run". Raises ConfigError for any other folder."""
    if (folder / "plan.yaml").is_file() or (folder / "search.yaml").is_file():
        return "sweep"
    if (folder / "config.yaml").is_file():
        return "run"
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder (looked for {folder.resolve()}).")
    raise ConfigError(
        f"{folder} holds no sweep and no run: there is no plan.yaml and no config.yaml in it."
        " `mlplab train` prints the folder as its last line."
    )


def load_plugins(folder: Path, files: Sequence[str]) -> None:
    """Load the plugins that are named on this command line. Those which a sweep's folder names are
    not: a folder must not choose what code runs.
    """
    plugins.load(list(files))
    if kind(folder) != "sweep" or not (folder / "plan.yaml").is_file():
        return
    from mlplab.sweeps.plan.plan_file import used_plugins

    named = {Path(path).resolve() for path in files}  # a worker has them as absolute paths
    missing = [path for path in used_plugins(folder) if Path(path).resolve() not in named]
    if missing:
        flags = " ".join(f"--plugin {path}" for path in missing)
        raise ConfigError(
            f"The sweep in {folder} was started with parts of your own. Name their files again:"
            f" {flags}."
        )
