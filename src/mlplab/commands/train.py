"""`mlplab train`: one run by our own hands; Hydra's flags, and sweeps, by Hydra's."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from mlplab.cli import version
from mlplab.commands import flags as flags_module
from mlplab.commands.single_run import train_one
from mlplab.config import plugins
from mlplab.config.composition import compose

_HYDRA_SWITCH = "HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE"


def train(arguments: Sequence[str]) -> int:
    """Train what the arguments say; the exit code."""
    flags = flags_module.parse(arguments)
    if flags.version:
        print(version())
        return 0
    if os.environ.pop(_HYDRA_SWITCH, None) is not None:
        print(
            f"mlplab: {_HYDRA_SWITCH} is set and has no effect here: no class that a configuration"
            " names is ever called.",
            file=sys.stderr,
        )
    plugins.load(flags.plugins)
    if flags.hydra:
        from mlplab.commands import hydra_app

        return hydra_app.run(flags)
    composed = (
        None
        if flags.multirun or _searches(flags.overrides)
        else compose(flags.overrides, flags.config_dirs)
    )
    if composed is None or composed.is_sweep:
        from mlplab.commands import multirun

        return multirun.run(
            flags, one_is_a_run=composed is not None and composed.sweep.has_several_jobs
        )
    return train_one(composed)


def _searches(overrides: Sequence[str]) -> bool:
    """Whether the words ask for a search, in which a key may have an interval."""
    return any(
        word.lstrip("+").startswith(("sweep.trials=", "hydra/sweeper=mlplab_search"))
        for word in overrides
    )
