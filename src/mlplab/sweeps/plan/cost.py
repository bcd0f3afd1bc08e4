"""Estimated cost of a plan: memory is computed from tensor sizes, time from a few updates of each
population measured on this machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlplab.sweeps.plan.grouping import Representatives
from mlplab.sweeps.plan.memory import bytes_per_member
from mlplab.sweeps.plan.plan import Plan, Population
from mlplab.terminal.output import duration
from mlplab.training import build_population
from mlplab.training.step_timing import time_steps

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
    built, _ = build_population(members)
    seconds_per_update, seconds_per_evaluation = time_steps(built, members[0].settings.engine)
    evaluations = population.num_steps / (built.batches.per_epoch * built.training.evaluate_every)
    num_full_units = sum(len(unit.jobs) for unit in units) / len(largest.jobs)
    training_seconds = num_full_units * (
        population.num_steps * seconds_per_update + evaluations * seconds_per_evaluation
    )
    return Cost(
        len(units),
        training_seconds + population.jobs * SECONDS_PER_JOB_FOLDER,
        len(members) * bytes_per_member(members[0], shares_data=False),
        members[0].settings.engine,
        members[0].eager_reason or "",
    )
