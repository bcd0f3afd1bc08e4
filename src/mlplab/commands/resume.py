"""`mlplab resume DIR`: what is left of a sweep."""

from __future__ import annotations

from collections.abc import Sequence

from mlplab.commands.folder_arguments import kind, load_plugins, parse
from mlplab.config.errors import ConfigError


def resume(arguments: Sequence[str]) -> int:
    """Finish the sweep in a folder; the exit code. What is done is not touched."""
    given = parse("resume", resume.__doc__ or "", arguments)
    if kind(given.folder) != "sweep":
        raise ConfigError(
            f"{given.folder} holds a single run, and only sweeps can be resumed so far: start the run again with `mlplab train`."
        )
    from mlplab.commands.multirun import conclude
    from mlplab.sweeps import drive

    load_plugins(given.folder, given.plugin)
    return conclude(drive.resume(given.folder), given.folder)
