"""What Hydra's own command line answers: --help, --hydra-help, --cfg, --info, tab completion.

Hydra sees a command line only after ours has checked it, so that its errors are ours and nothing
that it would load is the user's.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mlplab.commands.flags import Flags
from mlplab.config.composition import compose, hydra_search_path, prepare, split_search_path
from mlplab.config.overrides import parse_overrides, to_hydra
from mlplab.config.search_path import config_folders, shipped_folder
from mlplab.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(flags: Flags) -> int:
    """Hand the command line to Hydra, once it is checked; the exit code."""
    if "--shell-completion" in flags.hydra:
        return _complete(flags)
    if flags.multirun:
        raise ConfigError(f"-m trains, and {flags.hydra[0]} only prints: leave one of them out.")
    composed = compose(flags.overrides, flags.config_dirs)
    typed, dirs = split_search_path(flags.overrides, flags.config_dirs)
    parsed = parse_overrides(typed)
    named = "--cfg" not in flags.hydra or any(word.key_or_group == "name" for word in parsed)
    # that of the run, where Hydra knows null
    shown_name = [] if named else [f"name='{composed.config['name']}'"]
    _hydra(
        [
            *shown_name,
            *to_hydra(parsed),
            *hydra_search_path(config_folders(dirs)),
            *flags.hydra,
        ]
    )
    return 0


def _complete(flags: Flags) -> int:
    """Hydra completes `mlplab KEY=VALUE`; the shell has `mlplab train KEY=VALUE`."""
    if "COMP_LINE" in os.environ:
        os.environ["COMP_LINE"] = re.sub(r"^(\S+)\s+train(?=\s)", r"\1", os.environ["COMP_LINE"])
    _hydra([*flags.overrides, *flags.hydra])
    return 0


def _nothing(config: DictConfig) -> None:
    """Stands for the job, which Hydra does not come to where it only prints."""


def _hydra(arguments: Sequence[str]) -> None:
    """Hydra's main on these arguments. Its errors come out as exceptions."""
    import hydra

    prepare()
    with _argv(arguments):
        try:
            hydra.main(config_path=str(shipped_folder()), config_name="config", version_base="1.3")(
                _nothing
            )()
        except SystemExit as end:  # Hydra ends --help by leaving the program
            if end.code not in (0, None):
                raise ConfigError(
                    f"Hydra refused `{' '.join(arguments)}`; its reason stands above."
                ) from end


@contextlib.contextmanager
def _argv(arguments: Sequence[str]) -> Iterator[None]:
    """Hydra reads sys.argv, and says what went wrong itself unless told to raise."""
    argv, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [argv[0], *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = argv
        del os.environ["HYDRA_FULL_ERROR"]
        if full is not None:
            os.environ["HYDRA_FULL_ERROR"] = full
