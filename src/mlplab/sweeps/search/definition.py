"""What a search is asked for: its space, objectives, trials and pruning."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlplab.config.batch_compose import Composer, build_many
from mlplab.config.composition import compose
from mlplab.config.overrides import check_overrides, parse_overrides
from mlplab.config.search_path import config_folders
from mlplab.errors import ConfigError
from mlplab.settings import Settings
from mlplab.sweeps.execution import engines
from mlplab.sweeps.plan.plan import Options
from mlplab.sweeps.run_sweep import Sweep
from mlplab.sweeps.search.space import dimensions, overrides
from mlplab.sweeps.search.study import need
from mlplab.sweeps.search.successive_halving import Rungs
from mlplab.training import prepare_members

TRIALS = 64


FACTS = ("num_parameters", "steps", "epochs", "seconds")
"""What an objective may be beside a metric."""


class Search:
    """What a command line asks for. It is the task that Hydra's multirun carries to its sweeper.
    Raises ConfigError.
    """

    def __init__(
        self,
        typed: Sequence[str],
        dirs: Sequence[str | Path],
        plugin_files: Sequence[str],
        quiet: bool = False,
    ) -> None:
        need()
        self.overrides, self.dirs, self.plugin_files, self.quiet = (
            tuple(typed),
            tuple(dirs),
            tuple(plugin_files),
            quiet,
        )
        self.where = tuple(config_folders(dirs))
        parsed = parse_overrides(self.overrides)
        check_overrides(parsed, self.where, multirun=True)
        own = [word for word in parsed if not word.is_hydra_override()]
        self.base = tuple(
            word.input_line or ""
            for word in own
            if not _of_sweep(word) and not word.is_sweep_override()
        )
        beside = [
            word.input_line or "" for word in parsed if _of_sweep(word) or word.is_hydra_override()
        ]
        self.first = compose(
            [*self.base, *(line for line in beside if not line.startswith("hydra/sweeper="))],
            self.dirs,
        )
        self.sweep = self.first.sweep
        need(self.sweep.sampler)
        engines.need(self.sweep.engine)
        self.space = dimensions([word for word in own if not _of_sweep(word)], self.sweep.space)
        self.trials = self.sweep.trials or TRIALS
        self.options = dataclasses.replace(Options.of(self.sweep), detach=False)
        self.jobs: list[tuple[str, ...]] = []
        self.ended: Sweep | None = None
        self.composer = Composer(list(dirs))
        base = self.settings([{}])[0]
        self.length = base.training.epochs
        self.objectives = _objectives(self.sweep, base)
        self._check()

    def _check(self) -> None:
        if self.sweep.seeds is not None or self.sweep.grid or self.sweep.zip or self.sweep.blocks:
            raise ConfigError(
                "A search chooses its jobs by itself: sweep.grid, zip, blocks and seeds are for"
                " sweeps; give sweep.space and sweep.trials."
            )
        if self.sweep.pruning != "none" and len(self.objectives) > 1:
            raise ConfigError(
                "sweep.pruning compares trials by one metric, and this search has several"
                " objectives."
            )
        if self.sweep.pruning != "none" and not self.options.single_process:
            raise ConfigError(
                "sweep.pruning compares trials while they train, which one process does: leave"
                " sweep.workers, sweep.engine and sweep.cluster out, or take sweep.pruning=none."
            )
        if self.sweep.pruning != "none" and self.objectives[0].partition("/")[2] not in (
            "loss",
            "accuracy",
            "mae",
            "rmse",
            "r2",
        ):
            raise ConfigError(
                "sweep.pruning needs a metric that is measured after each epoch, such as val/loss"
                f" or val/accuracy, and not {self.objectives[0]}."
            )

    def settings(self, chosen: Sequence[Mapping[str, Any]]) -> list[Settings]:
        """Of the jobs of trials that chose this; of a trial that chose nothing, those of the
        configuration itself.
        """
        return build_many([self.composer.compose((*self.base, *overrides(own))) for own in chosen])

    def rungs(self, number: int, training: Any) -> Rungs:
        """Where trial `number`, of that training, is compared with others. Hyperband's brackets
        take turns.
        """
        if training.steps is not None:
            raise ConfigError(
                "sweep.pruning counts epochs: give training.epochs instead of training.steps."
            )
        length, reduction = self.length, self.sweep.reduction
        # halving has one bracket, which must not judge too early
        depth = 3 if self.sweep.pruning == "hyperband" else 2
        least = self.sweep.least or max(1, round(length / reduction**depth))
        whole = Rungs.of(length, least, reduction, self.objectives[0], training.evaluate_every)
        own = Rungs.of(
            training.epochs, least, reduction, self.objectives[0], training.evaluate_every
        )
        return (
            own.from_rung(number // self.sweep.parallel % (len(whole.epochs) + 1))
            if self.sweep.pruning == "hyperband"
            else own
        )

    def values(self, facts: Mapping[str, Any], measured: Mapping[str, float]) -> list[float]:
        """The objectives of a trial, NaN where it has none."""
        found = {**facts, **measured}
        return [float(found.get(objective, float("nan"))) for objective in self.objectives]


def _of_sweep(word: Any) -> bool:
    key = str(word.key_or_group)
    return key == "seeds" or key.partition(".")[0] == "sweep"


def _objectives(sweep: Any, first: Settings) -> tuple[str, ...]:
    """What was named; else the metric that ranks a sweep."""
    named = sweep.objectives
    if named in (None, "auto", []):
        named = [sweep.metric] if sweep.metric != "auto" else None
    if named is None:
        prepared = prepare_members([first])[0].prepared
        split = "val" if prepared.val is not None else "train"
        named = [f"{split}/{'accuracy' if prepared.task.classifies else 'rmse'}"]
    named = [named] if isinstance(named, str) else list(named)
    for one in named:
        if "/" not in one and one not in FACTS:
            raise ConfigError(
                f"`sweep.objectives`: {one!r} is no metric such as val/accuracy, and none of"
                f" {', '.join(FACTS)}."
            )
    return tuple(named)
