"""The node `sweep` of the configuration: what a sweep varies in addition to the command line, and
how it runs its jobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlplab.config import cluster_options as cluster
from mlplab.errors import FieldError
from mlplab.schema import Component, anything, choice, flag, integer, number, text

MAX_JOBS = 1_000_000


@dataclass(frozen=True)
class Sweep(Component):
    """What a sweep varies and how it runs its jobs.

    The jobs are all combinations of the command line's values, one of the blocks, the grid, one
    index of the paired lists, and the seeds; the last varies fastest. A key on the command line
    replaces the same key here.
    """

    grid: Mapping[str, object] = anything(
        {}, "key: [values], or a string in Hydra's sweep syntax; all combinations"
    )
    zip: Mapping[str, object] = anything(
        {}, "key: [values], lists of equal length whose elements are paired"
    )
    blocks: Sequence[Mapping[str, object]] = anything([], "a list of grids; their union")
    seeds: int | None = integer(
        None,
        "number of consecutive seeds, starting at the configuration's seed; a trial of a search is"
        " the mean over them; `seeds=64` is short for it",
        at_least=1,
        at_most=MAX_JOBS,
        optional=True,
    )
    fail_fast: bool = flag(False, "stop after the first failed job")
    retries: int = integer(0, "how often a failed job is tried again", at_least=0, at_most=100)
    metric: str = text(
        "auto",
        "ranks the configurations; auto is val/accuracy or val/rmse, of train if there is no val"
        " split, of test with validation=kfold",
    )
    diverged: str = choice(
        "worst",
        ("worst", "drop"),
        "what a diverged job counts as in the statistics of its configuration: the worst value (the"
        " bound of the metric, such as an accuracy of 0, or else the worst that a job measured), or"
        " nothing",
    )
    threshold: float | None = number(
        None,
        "value of the metric from which a job counts as solved; reports then show the share of"
        " solved seeds",
        optional=True,
    )

    workers: int = integer(
        1,
        "processes that train in parallel, each one population at a time",
        at_least=1,
        at_most=100_000,
    )
    engine: str = choice("local", ("local", "slurm", "ray"), "where the workers run")
    cluster: Mapping[str, object] = anything(
        {},
        "slurm: partition, account, qos, minutes, cpus, gpus, memory_gb, extra; ray: address, cpus,"
        " gpus, extra; local: minutes",
    )
    detach: bool = flag(False, "submit the workers and exit; `mlplab resume` collects the results")
    trials: int | None = integer(
        None,
        "search: number of trials, which a sampler proposes instead of all combinations",
        at_least=1,
        at_most=MAX_JOBS,
        optional=True,
    )
    space: Mapping[str, object] = anything(
        {},
        "search: key: [values], Hydra's syntax such as interval(0.1,1), or {values: ..., when:"
        " {KEY: VALUE}}",
    )
    sampler: str = choice(
        "tpe", ("tpe", "random", "grid", "cmaes", "nsga2"), "search: method that proposes trials"
    )
    objectives: str | Sequence[str] | None = anything(
        "auto",
        "search: a metric, or a list of metrics for a Pareto front, which may include"
        " num_parameters; auto is sweep.metric",
    )
    parallel: int | None = integer(
        None,
        "search: trials proposed and trained at a time; more are faster, but each proposal builds"
        " on fewer results; null is 32 for random and grid, otherwise an eighth of the trials, at"
        " least 4 and at most 32",
        at_least=1,
        at_most=4096,
        optional=True,
    )
    pruning: str = choice(
        "none",
        ("none", "halving", "hyperband"),
        "search: whether and how trials with poor results are stopped early",
    )
    reduction: int = integer(
        3, "search: at each rung, one of this many trials continues", at_least=2, at_most=100
    )
    retrain: int | None = integer(
        None,
        "search: number of best configurations that are trained again with seeds that the search"
        " has not used; null is as many as cost a quarter of the search, at most 10",
        at_least=0,
        at_most=10_000,
        optional=True,
    )
    retrain_seeds: int = integer(
        5,
        "search: number of new seeds for each of these configurations",
        at_least=2,
        at_most=10_000,
    )
    least: int | None = integer(
        None,
        "search: epochs before the first rung; null is 1 / reduction^2 of the length for"
        " halving, 1 / reduction^3 for hyperband",
        at_least=1,
        optional=True,
    )

    def check(self) -> None:
        if not isinstance(self.cluster, Mapping):
            raise FieldError(
                "cluster", self.cluster, "is not a mapping such as {partition: main, minutes: 60}"
            )
        cluster.options(self.engine, self.cluster)
        if self.detach and self.engine == "local":
            raise FieldError(
                "detach",
                True,
                "requires sweep.engine=slurm, whose jobs keep running when the command ends",
            )
        if not isinstance(self.space, Mapping):
            raise FieldError(
                "space", self.space, "is not a mapping of keys to their possible values"
            )
        for name in ("grid", "zip"):
            _check_grid(name, getattr(self, name))
        if not isinstance(self.blocks, (list, tuple)):
            raise FieldError("blocks", self.blocks, "is not a list of grids")
        for i, block in enumerate(self.blocks):
            _check_grid(f"blocks[{i}]", block)

    @property
    def has_several_jobs(self) -> bool:
        """Whether the node asks for more jobs than the command line."""
        return bool(
            self.grid
            or self.zip
            or self.blocks
            or self.seeds is not None
            or self.trials is not None
        )


def _check_grid(name: str, grid: object) -> None:
    if not isinstance(grid, Mapping):
        raise FieldError(
            name, grid, "is not a mapping of keys to values, as in {optimizer.lr: [0.01, 0.1]}"
        )
    for key, values in grid.items():
        if (
            not isinstance(key, str)
            or key == "sweep"
            or key.startswith(("sweep.", "hydra.", "hydra/"))
        ):
            raise FieldError(name, key, "cannot be varied")
        if not (isinstance(values, str) and values.strip()) and not (
            isinstance(values, (list, tuple)) and len(values)
        ):
            raise FieldError(
                f"{name}.{key}",
                values,
                'is not a list of values or a string in Hydra\'s syntax such as "range(1,17)"',
            )
