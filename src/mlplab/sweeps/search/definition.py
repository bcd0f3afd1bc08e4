"""The definition of a search: its space, objectives, trials and pruning."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlplab.config.builder import Builder
from mlplab.config.composer import Composer
from mlplab.config.debugging import several_jobs
from mlplab.config.search_space import combinations, dimensions
from mlplab.config.sweep_options import Sweep as SweepOptions
from mlplab.errors import ConfigError
from mlplab.metrics import CHEAP
from mlplab.settings import Settings
from mlplab.sweeps.execution import engines
from mlplab.sweeps.plan.grouping import Representatives
from mlplab.sweeps.plan.metric_check import check_metric
from mlplab.sweeps.plan.plan import Options
from mlplab.sweeps.run_sweep import Sweep
from mlplab.sweeps.search.replicates import Replicates
from mlplab.sweeps.search.study import require_optuna
from mlplab.sweeps.search.successive_halving import Rungs
from mlplab.training import prepare_members
from mlplab.training_options import Training
from mlplab.validation import KFold

TRIALS = 64

MAX_PARALLEL, MIN_PARALLEL, ROUNDS = 32, 4, 8
"""Limits of the default `sweep.parallel`, and the rounds of proposals that it leaves a sampler."""

TPE_RANDOM_TRIALS = 10
"""TPE proposes at random until this many trials have ended."""

EPOCH_METRICS = ("loss", *CHEAP["classification"], *CHEAP["regression"])
"""Metrics that are measured after each epoch."""

MAX_RETRAINED, RETRAINED_SHARE = 10, 4
"""The default of `sweep.retrain`: at most this many configurations, and at most one in this many of
the networks that the search trains to their ends.
"""

FACTS = ("num_parameters", "steps", "epochs", "seconds")
"""Facts of a run that an objective may name instead of a metric."""


class Search:
    """The search that a command line requests, or the one that is stored in `folder`.

    Raises ConfigError for an invalid search, MissingExtraError without Optuna.
    """

    def __init__(
        self,
        composer: Composer,
        plugin_files: Sequence[str] = (),
        quiet: bool = False,
        folder: Path | None = None,
    ) -> None:
        require_optuna()
        self.folder = folder
        self.composer, self.plugin_files, self.quiet = composer, tuple(plugin_files), quiet
        self.overrides = composer.overrides
        self.base = tuple(
            override.input_line or ""
            for override in composer.job_overrides
            if not override.is_sweep_override()
        )
        self.first = composer.compose_with_folders(self.base, (*self.base, *composer.fixed))
        self.sweep = self.first.sweep
        require_optuna(self.sweep.sampler)
        engines.need(self.sweep.engine)
        self.space = dimensions(composer.job_overrides, self.sweep.space)
        self.first_seed = int(self.first.config.get("seed") or 0)
        seeds = self.sweep.seeds
        self.replicates = Replicates(
            composer,
            self.base,
            None if seeds is None else range(self.first_seed, self.first_seed + seeds),
        )
        self.trials = self.sweep.trials or TRIALS
        if self.sweep.sampler == "grid" and not any(one.is_continuous for one in self.space):
            self.trials = sum(1 for _ in itertools.islice(combinations(self.space), self.trials))
        self.parallel = self.sweep.parallel or default_parallel(self.sweep.sampler, self.trials)
        self.options = dataclasses.replace(Options.of(self.sweep), detach=False)
        self.ended: Sweep | None = None
        self._representatives = Representatives()
        base, *others = self.settings([{}])[0]
        self.jobs_per_trial = 1 + len(others)
        self.length, self.trackers = base.training.epochs, base.tracking.mirror
        self.objectives = _objectives(self.sweep, base)
        self._check()

    def _check(self) -> None:
        sweep, prunes = self.sweep, self.sweep.pruning != "none"
        checks = [
            (
                sweep.grid or sweep.zip or sweep.blocks,
                "A search proposes its own jobs: sweep.grid, zip and blocks are for sweeps; set"
                " sweep.space and sweep.trials instead.",
            ),
            (
                sweep.seeds is not None and any(one.name == "seed" for one in self.space),
                "A trial of this search is the mean over `seeds`, and `seed` is a dimension of its"
                " space: omit one of them.",
            ),
            (
                prunes and len(self.objectives) > 1,
                "sweep.pruning compares trials by one metric, and this search has several"
                " objectives.",
            ),
            (
                prunes and not self.options.single_process,
                "sweep.pruning compares trials during training, which needs a single process: omit"
                " sweep.workers, sweep.engine and sweep.cluster, or set sweep.pruning=none.",
            ),
            (
                prunes and self.objectives[0].partition("/")[2] not in EPOCH_METRICS,
                "sweep.pruning needs a metric that is measured after each epoch, such as val/loss"
                f" or val/accuracy, not {self.objectives[0]}.",
            ),
        ]
        if (mode := self.first.config.get("debug")) is not None:
            raise several_jobs(mode, "a search")
        for is_violated, text in checks:
            if is_violated:
                raise ConfigError(text)

    @property
    def random_trials(self) -> int:
        """The number of trials that TPE proposes before it has results to build on."""
        rounds = -(-TPE_RANDOM_TRIALS // self.parallel)
        return min(self.trials, rounds * self.parallel)

    @property
    def num_retrained(self) -> int:
        """The number of best configurations that are trained again with new seeds."""
        if self.sweep.retrain is not None:
            return self.sweep.retrain
        finished = self.trials // (1 if self.sweep.pruning == "none" else self.sweep.reduction)
        networks = finished * len(self.replicates.seeds or (0,))
        return min(MAX_RETRAINED, networks // (RETRAINED_SHARE * self.sweep.retrain_seeds))

    @property
    def new_seeds(self) -> range:
        """The seeds with which the best configurations are trained again."""
        return self.replicates.new_seeds(self.sweep.retrain_seeds, self.space, self.first_seed)

    def settings(
        self, params: Sequence[Mapping[str, object]], seeds: Sequence[int] | None = None
    ) -> list[list[Settings]]:
        """Return the settings of the jobs of each trial, given its parameters: one for each seed
        and fold. `seeds` replaces those of the search.

        Empty parameters give the settings of the base configuration.
        """
        builder = Builder()
        built = [
            self._representatives.with_auto_values(
                [
                    builder.build(self.composer.compose(job))
                    for job in self.replicates.jobs(values, seeds)
                ]
            )
            for values in params
        ]
        if self.folder is None:
            return built
        return [[one.stored_in(self.folder) for one in jobs] for jobs in built]

    def rungs(self, number: int, training: Training) -> Rungs:
        """Return the rungs at which trial `number` with this training is compared with others.

        Trials alternate between the brackets of Hyperband. Raises ConfigError if the training is
        measured in steps.
        """
        if training.steps is not None:
            raise ConfigError(
                "sweep.pruning counts epochs: set training.epochs instead of training.steps."
            )
        reduction, has_brackets = self.sweep.reduction, self.sweep.pruning == "hyperband"
        # halving has a single bracket, which must not prune too early
        min_epochs = self.sweep.least or max(
            1, round(self.length / reduction ** (3 if has_brackets else 2))
        )
        base_rungs, rungs = (
            Rungs.of(epochs, min_epochs, reduction, self.objectives[0], training.evaluate_every)
            for epochs in (self.length, training.epochs)
        )
        bracket = number // self.parallel % (len(base_rungs.epochs) + 1)
        return rungs.from_rung(bracket) if has_brackets else rungs


def default_parallel(sampler: str, trials: int) -> int:
    """Return the default of `sweep.parallel`: as many trials at a time as leave a sampler that
    learns from results `ROUNDS` rounds.
    """
    if sampler in ("random", "grid"):
        return MAX_PARALLEL
    return min(MAX_PARALLEL, max(MIN_PARALLEL, trials // ROUNDS))


def _objectives(sweep: SweepOptions, first: Settings) -> tuple[str, ...]:
    """Return the objectives of `sweep.objectives`, or else the metric that ranks a sweep.

    Raises ConfigError for one that no trial measures.
    """
    prepared = prepare_members([first])[0].prepared
    key, names = "sweep.objectives", sweep.objectives
    if not names or names == "auto":
        key, names = "sweep.metric", sweep.metric
    if names == "auto":
        split = "val" if prepared.val is not None else "train"
        if isinstance(first.validation, KFold):
            split = "test"  # the rows that a fold leaves out
        names = f"{split}/{'accuracy' if prepared.task.classifies else 'rmse'}"
    objectives = (names,) if isinstance(names, str) else tuple(map(str, names or ()))
    for name in objectives:
        check_metric(key, name, [prepared], FACTS if key == "sweep.objectives" else ())
    return objectives
