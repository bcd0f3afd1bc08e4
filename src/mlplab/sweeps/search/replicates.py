"""The jobs over which a trial is a mean: one for each seed, and for each fold of a
cross-validation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlplab.config.composer import Composer, Job
from mlplab.config.expand import folds
from mlplab.config.override_lines import key_of
from mlplab.config.search_space import Dimension, trial_overrides


@dataclass(frozen=True)
class Replicates:
    """The jobs of each trial of a search.

    `base` are the overrides that all trials share. `seeds` are the consecutive seeds of each trial;
    None leaves the seed to the configuration.
    """

    composer: Composer
    base: Job
    seeds: range | None = None

    def jobs(self, params: Mapping[str, object], seeds: Iterable[int] | None = None) -> list[Job]:
        """Return the overrides of each job of a trial with these parameters, for its own seeds or
        for others.
        """
        seeds = self.seeds if seeds is None else seeds
        line = (*self.base, *trial_overrides(params))
        if seeds is not None:
            line = tuple(override for override in line if key_of(override) != "seed")
        config = self.composer.base(line).config
        lines = [line] if seeds is None else [(*line, f"seed={seed}") for seed in seeds]
        return [job for one in lines for job in folds(one, config)]

    def new_seeds(self, number: int, space: Sequence[Dimension], first: int) -> range:
        """Return consecutive seeds that no trial uses: those after the last seed of the search.

        `first` is the seed of the configuration.
        """
        last = self.seeds[-1] if self.seeds else first
        for dimension in space:
            if dimension.name == "seed":
                last = max(last, *(int(str(value)) for value in dimension.ends))
        return range(last + 1, last + 1 + number)
