"""Estimated cost of a plan: memory is computed from tensor sizes, time from a few updates of each
population measured on this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlplab import training
from mlplab.sweeps.plan.grouping import Representatives
from mlplab.sweeps.plan.memory import bytes_per_member
from mlplab.sweeps.plan.plan import Plan, Population
from mlplab.terminal.output import duration
from mlplab.training import build_population
from mlplab.training.prepare import by_population
from mlplab.training.step_timing import time_native_work, time_steps
from mlplab.training.stretches import step_work

SECONDS_PER_JOB_FOLDER = 0.006
"""Approximate time in seconds to write the folder of one job."""


@dataclass(frozen=True)
class Cost:
    """Cost of one population: total seconds, and bytes while its largest work unit trains.

    `engine` is what trains it, and `eager_reason` says why that is torch; both are empty if no data
    could be prepared.
    """

    work_units: int
    seconds: float
    num_bytes: int
    engine: str = ""
    eager_reason: str = ""

    @property
    def time(self) -> str:
        return duration(self.seconds)

    @property
    def memory(self) -> str:
        return (
            f"{self.num_bytes / 2**30:.1f} GiB"
            if self.num_bytes >= 2**30
            else f"{max(1, round(self.num_bytes / 2**20))} MiB"
        )


def estimate(plan: Plan) -> list[Cost]:
    """Estimate the cost of each population, in the order of `plan.populations`.

    Builds the largest work unit of each population temporarily and times a few updates of it.
    """
    representatives = Representatives()
    return [_cost(plan, population, representatives) for population in plan.populations]


def _cost(plan: Plan, population: Population, representatives: Representatives) -> Cost:
    units = [unit for unit in plan.work_units if unit.population == population.number]
    largest = max(units, key=lambda unit: len(unit.jobs))
    members = [
        member
        for number in largest.jobs
        if (member := representatives.prepare_member(plan.job(number).settings))
    ]
    if not members:
        return Cost(len(units), 0.0, 0)
    numbers = by_population(dict(enumerate(members))).values()
    built = [build_population([members[k] for k in of_one])[0] for of_one in numbers]
    is_native = members[0].settings.engine == "native"
    seconds = _native_seconds(built) if is_native else _eager_seconds(built[0])
    training_seconds = seconds * population.jobs / len(largest.jobs)
    return Cost(
        len(units),
        training_seconds + population.jobs * SECONDS_PER_JOB_FOLDER,
        sum(bytes_per_member(member, shares_data=False) for member in members),
        members[0].settings.engine,
        members[0].eager_reason or "",
    )


def _native_seconds(built: Sequence[training.Population]) -> float:
    return time_native_work(built) * sum(
        step_work(one) * float(one.early_stopping.last_step_K.sum()) for one in built
    )


def _eager_seconds(built: training.Population) -> float:
    num_steps = int(built.early_stopping.last_step_K.max())
    seconds_per_update, seconds_per_evaluation = time_steps(built)
    evaluations = num_steps / (built.batches.per_epoch * built.training.evaluate_every)
    return num_steps * seconds_per_update + evaluations * seconds_per_evaluation
