"""What a plan would cost: memory by counting, time by a few updates of each population on this
machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlplab.sweeps.plan.grouping import Representatives
from mlplab.sweeps.plan.memory import bytes_a_member
from mlplab.sweeps.plan.plan import Plan, Population
from mlplab.terminal.output import duration
from mlplab.training import build_population
from mlplab.training.step_timing import time_steps

WRITING = 0.006
"""Seconds to write a job's folder, roughly."""


@dataclass(frozen=True)
class Cost:
    """Of one population: seconds in all, bytes while its largest piece trains."""

    pieces: int
    seconds: float
    num_bytes: int

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
    """One cost a population. Builds the largest piece of each for a moment and times a few updates
    of it; nothing is kept.
    """
    representatives = Representatives()
    return [_cost(plan, population, representatives) for population in plan.populations]


def _cost(plan: Plan, population: Population, representatives: Representatives) -> Cost:
    pieces = [piece for piece in plan.pieces if piece.population == population.number]
    largest = max(pieces, key=lambda piece: len(piece.jobs))
    members = [
        member
        for number in largest.jobs
        if (member := representatives.ready(plan.job(number).settings))
    ]
    if not members:
        return Cost(len(pieces), 0.0, 0)
    built, _ = build_population(members)
    an_update, an_evaluation = time_steps(built)
    evaluations = population.num_steps / (built.batches.per_epoch * built.training.evaluate_every)
    full = sum(len(piece.jobs) for piece in pieces) / len(largest.jobs)
    seconds = (
        full * (population.num_steps * an_update + evaluations * an_evaluation)
        + population.jobs * WRITING
    )
    return Cost(len(pieces), seconds, len(members) * bytes_a_member(members[0], shares_data=False))
