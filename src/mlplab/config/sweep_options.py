"""The node `sweep` of the configuration: what a sweep varies beside the command line, and how it
goes about its jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlplab.config import cluster_options as cluster
from mlplab.errors import FieldError
from mlplab.schema import Component, anything, choice, flag, integer, text

MAX_JOBS = 1_000_000


@dataclass(frozen=True)
class Sweep(Component):
    """What a sweep varies and how it goes about its jobs.

    The jobs are all combinations of the command line's values, one of the blocks, the grid, one
    place in the paired lists, and the seeds; the last varies fastest. A key that is typed on the
    command line counts instead of the same key here.
    """

    grid: Any = anything({}, "key: [values], or Hydra's sweep syntax as a text; all combinations")
    zip: Any = anything({}, "key: [values], lists of one length; paired, the first with the first")
    blocks: Any = anything([], "a list of grids; their union")
    seeds: int | None = integer(
        None,
        "so many seeds from the configuration's own on; `seeds=64` typed is short for it",
        at_least=1,
        at_most=MAX_JOBS,
        optional=True,
    )
    fail_fast: bool = flag(False, "stop at the first job that fails")
    retries: int = integer(0, "how often a job that raised is tried again", at_least=0, at_most=100)
    metric: str = text(
        "auto",
        "ranks the configurations; auto is val/accuracy or val/rmse, of train where there is no val"
        " part, of test with validation=kfold",
    )

    workers: int = integer(
        1, "processes that train at once, each whole populations", at_least=1, at_most=100_000
    )
    engine: str = choice("local", ("local", "slurm", "ray"), "where the workers run")
    cluster: Any = anything(
        {},
        "of slurm: partition, account, qos, minutes, cpus, gpus, memory_gb, extra; of ray: address,"
        " cpus, gpus, extra; of local: minutes",
    )
    detach: bool = flag(False, "submit the workers and leave; `mlplab resume` collects")
    trials: int | None = integer(
        None,
        "of a search: how many; a search proposes them instead of taking all combinations",
        at_least=1,
        at_most=MAX_JOBS,
        optional=True,
    )
    space: Any = anything(
        {},
        "of a search: key: [values], Hydra's syntax such as interval(0.1,1), or {values: ..., when:"
        " {KEY: VALUE}}",
    )
    sampler: str = choice(
        "tpe", ("tpe", "random", "grid", "cmaes", "nsga2"), "of a search: who proposes"
    )
    objectives: Any = anything(
        "auto",
        "of a search: a metric, or several for a Pareto front, num_parameters among them; auto is"
        " sweep.metric",
    )
    parallel: int = integer(
        32,
        "of a search: trials proposed and trained at once; more are faster and learn less from each"
        " other",
        at_least=1,
        at_most=4096,
    )
    pruning: str = choice(
        "none", ("none", "halving", "hyperband"), "of a search: whether losing trials leave early"
    )
    reduction: int = integer(
        3, "of a search: at each rung one in so many trials goes on", at_least=2, at_most=100
    )
    least: int | None = integer(
        None,
        "of a search: epochs before the first rung; null is 1 / reduction^2 of the length for"
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
                "detach", True, "is for sweep.engine=slurm, whose jobs stay when the command ends"
            )
        if not isinstance(self.space, Mapping):
            raise FieldError("space", self.space, "is not a mapping of keys to what may be chosen")
        for name in ("grid", "zip"):
            _check_grid(name, getattr(self, name))
        if not isinstance(self.blocks, (list, tuple)):
            raise FieldError("blocks", self.blocks, "is not a list of grids")
        for i, block in enumerate(self.blocks):
            _check_grid(f"blocks[{i}]", block)

    @property
    def several(self) -> bool:
        """Whether it asks for more than what a command line says."""
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
                'is not a list of values, nor a text in Hydra\'s syntax such as "range(1,17)"',
            )
