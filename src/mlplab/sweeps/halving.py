"""A wave of trials of which the losers leave: successive halving inside populations. Sources: Jamieson, Talwalkar 2016; Li et al. 2017 (Hyperband).

At each rung, a number of epochs, all trials of the wave are compared by the metric, whichever population they train in; one in `reduction` goes on, the
others leave the tensor with status `pruned`. Shapes: K members of a population.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlplab import metrics
from mlplab.sweeps.members import Members
from mlplab.training import Loop, Ready, populate, structure
from mlplab.training.stopping import PRUNED, RUNNING

if TYPE_CHECKING:
    from mlplab.sweeps.plan import Job
    from mlplab.sweeps.runner import Runner


@dataclass(frozen=True)
class Rungs:
    """The epochs at which a wave is compared, and how many stay: one in `reduction`."""

    epochs: tuple[int, ...]
    reduction: int
    metric: str

    @classmethod
    def of(cls, last: int, least: int, reduction: int, metric: str) -> Rungs:
        """From `least` epochs on, each rung `reduction` times the one before, below `last`."""
        found, epoch = [], least
        while epoch < last:
            found.append(epoch)
            epoch *= reduction
        return cls(tuple(found), reduction, metric)

    def from_rung(self, bracket: int) -> Rungs:
        """Hyperband's bracket: without the first rungs."""
        return Rungs(self.epochs[bracket:], self.reduction, self.metric)


@dataclass
class Cohort:
    """Trials of one structure."""

    jobs: list[tuple[Job, Ready]]
    loop: Loop


def train(runner: Runner, jobs: Sequence[Job], rungs: Rungs) -> None:
    """Train a wave to its end and leave a folder a job. What one population cannot do, an error or too little memory, its trials do one by one."""
    began = time.monotonic()
    cohorts = _cohorts(runner, jobs)
    for number, epoch in enumerate(rungs.epochs):
        for cohort in list(cohorts):
            _on(runner, cohorts, cohort, epoch)
        _prune(cohorts, rungs, number, epoch)
    for cohort in list(cohorts):
        _on(runner, cohorts, cohort, None)
    for cohort in cohorts:
        _write(runner, cohort, time.monotonic() - began)


def _cohorts(runner: Runner, jobs: Sequence[Job]) -> list[Cohort]:
    groups: dict[object, list[tuple[Job, Ready]]] = {}
    for job in jobs:
        if (member := runner.member(job)) is not None:
            key = (structure(member.settings, member.prepared), job.number if member.settings.optimizer.alone else -1)
            groups.setdefault(key, []).append((job, member))
    return [Cohort(members, Loop(populate([member for _, member in members])[0])) for members in groups.values()]


def _on(runner: Runner, cohorts: list[Cohort], cohort: Cohort, epoch: int | None) -> None:
    """Train to the rung, or the end. A population that raises is trained by the runner's own means, which find the culprit."""
    cohort.loop.pause_epoch = epoch
    cohort.loop.after_step = lambda loop: runner.signals.check()
    try:
        cohort.loop.run()
    except Exception:
        cohorts.remove(cohort)
        runner.together(cohort.jobs)


def _prune(cohorts: Sequence[Cohort], rungs: Rungs, number: int, epoch: int) -> None:
    """The best share of the trials that still train goes on, at least one. Trials that ended by themselves are compared and stay what they are."""
    values, places = [], []
    for cohort in cohorts:
        population = cohort.loop.now
        own_K = _values(cohort.loop, rungs.metric)
        for k, (state, value) in enumerate(zip(population.watch.state_K.tolist(), own_K, strict=True)):
            if state == RUNNING:
                values.append(value)
                places.append((cohort, k))
    keep = max(1, math.ceil(len(values) / rungs.reduction))
    best_first = sorted(range(len(values)), key=lambda i: values[i])
    if not best_first:
        return
    needed = values[best_first[keep - 1]]
    sign = -1 if metrics.better(rungs.metric) == "max" else 1
    for i in best_first[keep:]:
        cohort, k = places[i]
        member = int(cohort.loop.now.members[k])
        told = f"pruned at rung {number + 1} (epoch {epoch}): {rungs.metric} {sign * values[i]:.6g}, and {sign * needed:.6g} was needed to go on"
        cohort.loop.pruned[member] = told
        state_K = cohort.loop.now.watch.state_K.clone()
        state_K[k] = PRUNED
        cohort.loop.now.watch.state_K = state_K


def _values(loop: Loop, metric: str) -> list[float]:
    """The metric at the last evaluation, lower is better; inf where it is no number."""
    loop.read()
    row = loop.journal.rows[-1]
    sign = -1 if metrics.better(metric) == "max" else 1
    own = dict(zip(row.members.tolist(), (sign * row.values[loop.journal.names.index(metric)]).tolist(), strict=True))
    found = [own.get(int(member), math.inf) for member in loop.now.members]
    return [value if math.isfinite(value) else math.inf for value in found]


def _write(runner: Runner, cohort: Cohort, seconds: float) -> None:
    outcomes = cohort.loop.outcomes()
    device = str(cohort.loop.now.theta_KP.device)
    writer = Members(runner.plan, [member for _, member in cohort.jobs], outcomes, device, seconds)
    for k, ((job, _), outcome) in enumerate(zip(cohort.jobs, outcomes, strict=True)):
        runner.commit(writer, job, k, outcome)
