"""The settings of overrides, for commands that look at one configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlplab.errors import ConfigError

if TYPE_CHECKING:
    from mlplab.settings import Settings


def settings_of_overrides(
    command: str, overrides: Sequence[str], config_dirs: Sequence[str] = ()
) -> Settings:
    """Return the settings of the run that overrides describe, in a cross-validation of its first
    fold.

    Raises ConfigError if they describe several configurations or seeds, which `command` does not
    take.
    """
    from mlplab.config.builder import build
    from mlplab.config.composer import Composer
    from mlplab.config.composition import all_folds
    from mlplab.sweeps.source_job import open_source
    from mlplab.training.prepare import with_auto_values

    composer = Composer(overrides, config_dirs)
    several = composer.search_override() or any(o.is_sweep_override() for o in composer.parsed)
    composed = None if several else composer.compose_run()
    if composed is None or composed.is_multirun or composed.sweep.has_several_jobs:
        raise ConfigError(
            f"`mlplab {command}` takes one configuration, that of one run: give each key one value,"
            " without seeds= and sweep keys."
        )
    if all_folds(composed.config):
        composed.config["validation"]["fold"] = 0
    [settings] = with_auto_values([build(composed)])
    open_source(settings)
    return settings
