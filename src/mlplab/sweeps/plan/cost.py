"""Estimated cost of a plan: memory is computed from tensor sizes, time from a few updates of each
population measured on this machine, and from what composing, data and files take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from mlplab import training
from mlplab.io.files import yaml_text
from mlplab.settings import Settings
from mlplab.sweeps.plan.contention import Contention
from mlplab.sweeps.plan.grouping import Representatives
from mlplab.sweeps.plan.memory import bytes_per_member
from mlplab.sweeps.plan.plan import Plan, Population
from mlplab.sweeps.plan.tracked import PACKED
from mlplab.terminal.output import duration
from mlplab.training import DataCache, PreparedMember, build_population, prepare_members
from mlplab.training.prepare import by_population, data_key, structure_key
from mlplab.training.step_timing import time_native_work, time_steps
from mlplab.training.stretches import step_work

SECONDS_PER_JOB_FOLDER = 0.006
"""Approximate time in seconds to write the folder of one job."""

SECONDS_PER_JOB = {"full": 0.05, "scalars": 0.016, "summary": 0.010, "off": 0.008}
"""Processor seconds of a job without its updates, by its level of tracking: its history, metrics,
frames and folder, and its share of the report. Measured with sweeps of 3 to 1,024 jobs of xor_mlp,
where a YAML text took YAML_SECONDS.
"""
SECONDS_PER_DRAWN_JOB = 1.5
"""The same with pictures, for which `tracking=full` has to be typed."""
SECONDS_PER_PACKED_JOB = 0.002
"""The same of a job in a pack."""
START_SECONDS = 0.3
"""Processor seconds of a sweep beside its jobs that planning does not spend too: for the report."""
YAML_SECONDS = 0.0004
"""What the configuration of xor_mlp takes to become YAML text on the machine of these constants
(2026-11-29, AMD EPYC, Python 3.11): their ratio to another machine is that of their times.
"""


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


@dataclass(frozen=True)
class Estimate:
    """The costs of the populations, in the order of `plan.populations`, and the seconds in all.

    `slowdown` says how many times as long everything takes because other programs run; it is
    contained in the seconds.
    """

    costs: tuple[Cost, ...]
    seconds: float
    slowdown: float


def estimate(
    plan: Plan, planning_seconds: float = 0.0, contention: Contention | None = None
) -> Estimate:
    """Estimate the cost of a plan.

    Builds the largest work unit of each population temporarily and times a few updates of it. A
    sweep begins like the planning, which took so many processor seconds; `contention` has measured
    since its start.
    """
    contention = contention or Contention()
    estimator = _Estimator(plan)
    costs = [estimator.cost(population) for population in plan.populations]
    slowdown = contention.slowdown()
    costs = [replace(cost, seconds=cost.seconds * slowdown) for cost in costs]
    start = planning_seconds + estimator.speed * START_SECONDS
    return Estimate(tuple(costs), start * slowdown + sum(cost.seconds for cost in costs), slowdown)


class _Estimator:
    """Estimates populations in processor seconds."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.representatives = Representatives()
        config = plan.jobs[0].settings.config
        self.speed = _least_seconds(lambda: yaml_text(config)) / YAML_SECONDS
        self._data: dict[str, float] = {}  # seconds by `data_key` without the seed
        self._steps: dict[Hashable, tuple[float, float]] = {}  # by what populations agree in

    def cost(self, population: Population) -> Cost:
        units = [unit for unit in self.plan.work_units if unit.population == population.number]
        largest = max(units, key=lambda unit: len(unit.jobs))
        members = [
            member
            for number in largest.jobs
            if (member := self.representatives.prepare_member(self.plan.job(number).settings))
        ]
        if not members:
            return Cost(len(units), 0.0, 0)
        begun = time.process_time()
        numbers = by_population(dict(enumerate(members))).values()
        built = [build_population([members[k] for k in of_one])[0] for of_one in numbers]
        building = (time.process_time() - begun) / len(members)
        is_native = members[0].settings.engine == "native"
        seconds = _native_seconds(built) if is_native else self._eager_seconds(built[0], members[0])
        jobs = [self.plan.job(number).settings for unit in units for number in unit.jobs]
        return Cost(
            len(units),
            seconds / len(largest.jobs) * len(jobs)
            + building * len(jobs)
            + self._data_seconds(jobs)
            + self.speed * sum(map(self._seconds_per_job, jobs)),
            sum(bytes_per_member(member, shares_data=False) for member in members),
            members[0].settings.engine,
            members[0].eager_reason or "",
        )

    def _seconds_per_job(self, settings: Settings) -> float:
        if self.plan.options.jobs == PACKED:
            return SECONDS_PER_PACKED_JOB
        is_drawn = "tracking=full" in settings.overrides
        return SECONDS_PER_DRAWN_JOB if is_drawn else SECONDS_PER_JOB[settings.tracking.level]

    def _data_seconds(self, jobs: Iterable[Settings]) -> float:
        """The time to prepare the data of these jobs, of which those with one seed share it."""
        different = {data_key(job): job for job in jobs}
        first = next(iter(different.values()))
        key = data_key(replace(first, seed=0))
        if key not in self._data:
            begun = time.process_time()
            prepare_members([first], DataCache())
            self._data[key] = time.process_time() - begun
        return self._data[key] * len(different)

    def _eager_seconds(self, built: training.Population, member: PreparedMember) -> float:
        """The time of the updates and evaluations. Populations that differ in nothing that takes
        time are measured once.
        """
        labels = structure_key(member.settings, member.prepared)
        key = built.num_members, *(one for one in labels if one[0] not in ("loss", "schedule"))
        if key not in self._steps:
            self._steps[key] = time_steps(built)
        seconds_per_update, seconds_per_evaluation = self._steps[key]
        num_steps = int(built.early_stopping.last_step_K.max())
        evaluations = num_steps / (built.batches.per_epoch * built.training.evaluate_every)
        return num_steps * seconds_per_update + evaluations * seconds_per_evaluation


def _native_seconds(built: Sequence[training.Population]) -> float:
    return time_native_work(built) * sum(
        step_work(one) * float(one.early_stopping.last_step_K.sum()) for one in built
    )


def _least_seconds(call: Callable[[], object], times: int = 50) -> float:
    """Return the least processor seconds of several calls."""
    seconds = []
    for _ in range(times):
        begun = time.process_time()
        call()
        seconds.append(time.process_time() - begun)
    return min(seconds)
