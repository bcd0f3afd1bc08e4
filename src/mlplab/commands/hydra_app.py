"""Flags that Hydra handles: --help, --hydra-help, --cfg, --info, tab completion.

Hydra sees a command line only after mlplab has checked it, so that errors are those of mlplab, and
Hydra loads nothing that the user names.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence

from omegaconf import DictConfig

from mlplab.commands import completion
from mlplab.commands.flags import Flags
from mlplab.config.composer import Composer
from mlplab.config.composition import hydra_search_path, prepare
from mlplab.config.overrides import to_hydra
from mlplab.config.search_path import shipped_folder
from mlplab.config.shipped_experiments import expanded
from mlplab.errors import ConfigError
from mlplab.python_command import environment


def run(flags: Flags) -> int:
    """Check the command line and pass it to Hydra; return the exit code. Raises ConfigError."""
    if "--shell-completion" in flags.hydra:
        return _complete(flags)
    if flags.multirun:
        raise ConfigError(f"-m trains, and {flags.hydra[0]} only prints: omit one of them.")
    composer = Composer(flags.overrides, flags.config_dirs)
    composed = composer.compose_run()
    has_name = "--cfg" not in flags.hydra or any(
        override.key_or_group == "name" for override in composer.parsed
    )
    # the name of the run, which would be null for Hydra
    name_override = [] if has_name else [f"name='{composed.config['name']}'"]
    _hydra(
        [
            *name_override,
            *to_hydra(expanded(composer.parsed)),
            *hydra_search_path(composer.folders),
            *flags.hydra,
        ]
    )
    return 0


def _complete(flags: Flags) -> int:
    """Print the completions of the line in COMP_LINE, or the script for a shell."""
    arguments = [*flags.overrides, *flags.hydra]
    if not completion.completes(flags.overrides):
        print(completion.script(flags.overrides), end="")
        return 0

    def ask_hydra(line: str) -> None:
        with environment({"COMP_LINE": line, "COMP_POINT": str(len(line))}):
            _hydra(arguments)

    line = os.environ["COMP_LINE"]
    point = os.environ.get("COMP_POINT", "")
    completions = completion.complete(line[: int(point)] if point.isdecimal() else line, ask_hydra)
    print("\n".join(completions))
    return 0


def _no_job(config: DictConfig) -> None:
    """Do nothing: Hydra never runs the job when it only prints."""


def _hydra(arguments: Sequence[str]) -> None:
    """Call Hydra's main with these arguments; its errors are raised as exceptions."""
    import hydra

    prepare()
    with _argv(arguments):
        try:
            hydra.main(config_path=str(shipped_folder()), config_name="config", version_base="1.3")(
                _no_job
            )()
        except SystemExit as end:  # Hydra exits the process after --help
            if end.code not in (0, None):
                raise ConfigError(
                    f"Hydra refused `{' '.join(arguments)}`; its reason is printed above."
                ) from end


@contextlib.contextmanager
def _argv(arguments: Sequence[str]) -> Iterator[None]:
    """Set sys.argv, which Hydra reads, and make Hydra raise its errors instead of printing them."""
    argv, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        with environment({"HYDRA_FULL_ERROR": "1"}):
            yield
    finally:
        sys.argv = argv
