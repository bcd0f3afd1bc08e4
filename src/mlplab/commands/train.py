"""`mlplab train`: trains a single run directly, and passes sweeps and Hydra's flags to Hydra."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from mlplab.cli import version
from mlplab.commands import flags as flags_module
from mlplab.commands.single_run import train_one
from mlplab.config import plugins
from mlplab.config.composition import compose

_HYDRA_ALLOWLIST_VARIABLE = "HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE"


def train(arguments: Sequence[str]) -> int:
    """Train the run, sweep or search of the arguments; return the exit code. Raises ConfigError."""
    flags = flags_module.parse(arguments)
    if flags.version:
        print(version())
        return 0
    if os.environ.pop(_HYDRA_ALLOWLIST_VARIABLE, None) is not None:
        print(
            f"mlplab: {_HYDRA_ALLOWLIST_VARIABLE} is set but has no effect: mlplab never calls"
            " classes that a configuration names.",
            file=sys.stderr,
        )
    plugins.load(flags.plugins)
    if flags.hydra:
        from mlplab.commands import hydra_app

        return hydra_app.run(flags)
    composed = (
        None
        if flags.multirun or _is_search(flags.overrides)
        else compose(flags.overrides, flags.config_dirs)
    )
    if composed is None or composed.is_sweep:
        from mlplab.commands import multirun

        return multirun.run(
            flags, allow_single_run=composed is not None and composed.sweep.has_several_jobs
        )
    return train_one(composed)


def _is_search(overrides: Sequence[str]) -> bool:
    """Return whether the overrides request a search, in which a key may have an interval."""
    return any(
        override.lstrip("+").startswith(("sweep.trials=", "hydra/sweeper=mlplab_search"))
        for override in overrides
    )
