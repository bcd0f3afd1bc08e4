"""The samplers of Optuna that a search may use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from mlplab.config.search_space import Dimension
from mlplab.errors import ConfigError

if TYPE_CHECKING:
    import optuna

MIN_WARM_START = 10
"""Number of trials from which CMA-ES can start: it uses the best tenth of them."""


def make_sampler(
    name: str,
    space: Sequence[Dimension],
    finished: Sequence[optuna.trial.FrozenTrial],
    seed: int,
) -> optuna.samplers.BaseSampler:
    """Return the sampler of this name. CMA-ES starts around the best of the `finished` trials; the
    others find them in the study. Raises ConfigError for a grid over an interval.
    """
    from optuna import samplers

    continuous = [dimension.name for dimension in space if dimension.is_continuous]
    if name == "grid" and continuous:
        raise ConfigError(
            f"sweep.sampler=grid tries every value, and {continuous[0]} is an interval: give it"
            " values, or choose another sampler."
        )
    kinds: dict[str, Callable[..., optuna.samplers.BaseSampler]] = {
        "random": samplers.RandomSampler,
        "grid": samplers.RandomSampler,  # the points of a grid are enqueued in the study
        "cmaes": partial(samplers.CmaEsSampler, source_trials=_numeric(space, finished)),
        "nsga2": samplers.NSGAIISampler,
        "tpe": partial(samplers.TPESampler, multivariate=True, group=True, constant_liar=True),
    }
    return kinds[name](seed=seed)


def _numeric(
    space: Sequence[Dimension], finished: Sequence[optuna.trial.FrozenTrial]
) -> list[optuna.trial.FrozenTrial] | None:
    """The trials from which CMA-ES can start; None if they are too few, or if a dimension is a
    choice, has a condition or a single value, which Optuna's warm start does not support.
    """
    unsupported = any(one.choices or one.when or one.low == one.high for one in space)
    return None if unsupported or len(finished) < MIN_WARM_START else list(finished)
