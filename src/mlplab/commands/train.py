"""`mlplab train`: trains a run, a sweep or a search, and passes Hydra's flags to Hydra."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from mlplab.commands import flags as flags_module
from mlplab.commands.single_run import train_one
from mlplab.config import plugins
from mlplab.config.composer import Composer

_HYDRA_ALLOWLIST_VARIABLE = "HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE"


def train(arguments: Sequence[str]) -> int:
    """Train one network; with -m and several values for keys, or with an experiment that describes
    a sweep or a search, all of them.

    Raises ConfigError.
    """
    flags = flags_module.parse(arguments)
    if os.environ.pop(_HYDRA_ALLOWLIST_VARIABLE, None) is not None:
        print(
            f"mlplab: {_HYDRA_ALLOWLIST_VARIABLE} is set but has no effect: mlplab never calls"
            " classes that a configuration names.",
            file=sys.stderr,
        )
    if flags.link is not None:
        flags = replace(flags, overrides=_overrides_of_link(flags.link, flags.overrides))
    plugins.load(flags.plugins)
    if flags.hydra:
        from mlplab.commands import hydra_app

        return hydra_app.run(flags)
    composer = Composer(flags.overrides, flags.config_dirs)
    several = flags.multirun or composer.search_override() or composer.is_multirun()
    composed = None if several else composer.compose_run()
    if composed is None or composed.is_sweep:
        from mlplab.commands import multirun

        allow_single_run = composed is not None and composed.sweep.has_several_jobs
        return multirun.run(composer, flags.plugins, allow_single_run, flags.json)
    return train_one(composed, flags.json)


def _overrides_of_link(link: str, changes: Sequence[str]) -> list[str]:
    """Return the overrides of a Playground link and the changes, and print how it was read."""
    from mlplab.config.playground_link import read_link
    from mlplab.terminal.output import note
    from mlplab.terminal.suggested import train_command

    read = read_link(link)
    overrides = read.with_changes(changes)
    note(f"the link is {train_command(overrides, [])}")
    if read.left_out:
        note(f"left out of the link: {', '.join(read.left_out)}")
    note(f"unlike the Playground: {'; '.join(read.differences)}")
    return overrides
