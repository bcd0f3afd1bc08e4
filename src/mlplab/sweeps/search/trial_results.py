"""What a trial is told to the study: the mean of its jobs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlplab import metrics
from mlplab.sweeps.report.results import JobResult


@dataclass(frozen=True)
class TrialResult:
    """How a trial ended, and the mean of each objective over its jobs; NaN for one that a job
    lacks. `attributes` are stored with the trial.
    """

    status: str  # done, diverged, failed, pruned
    values: Sequence[float]
    reason: str = ""
    epoch: int = 0
    attributes: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, jobs: Sequence[JobResult], objectives: Sequence[str]) -> TrialResult:
        """Combine the jobs of a trial, all of which have ended.

        A job that diverged counts with the worst value of the metric: its bound, such as an
        accuracy of 0, or else infinity. A trial diverged if all of its jobs did, or if a mean is
        infinite. It failed if a job raised an error, since a mean over the others would not be
        comparable, and it was pruned if a job was.
        """
        columns = [[job_value(job, objective) for job in jobs] for objective in objectives]
        means = [statistics.fmean(column) for column in columns]
        counts = {
            status: [job for job in jobs if job.status == status]
            for status in ("failed", "pruned", "diverged")
        }
        status = next((name for name in ("failed", "pruned") if counts[name]), "done")
        diverged = counts["diverged"]
        if status == "done" and diverged:
            is_worst = len(diverged) == len(jobs) or any(map(math.isinf, means))
            status = "diverged" if is_worst else "done"
        ended_so = counts.get(status) or diverged
        attributes: dict[str, object] = {"jobs": [job.number for job in jobs]}
        if len(jobs) > 1:
            attributes |= {
                f"std of {objective}": statistics.stdev(column)
                for objective, column in zip(objectives, columns, strict=True)
                if all(map(math.isfinite, column))
            }
            if diverged:
                attributes["diverged jobs"] = len(diverged)
        return cls(
            status,
            means,
            ended_so[0].reason if ended_so else "",
            max(int(job.facts.get("epochs", 0)) for job in jobs),
            attributes,
        )


def job_value(job: JobResult, objective: str) -> float:
    """Return the value of an objective for a job that has ended: a metric or a fact; NaN if it has
    none, and the worst value of a metric if it diverged.
    """
    if job.status == "diverged" and "/" in objective:
        return worst(objective)
    return float({**job.facts, **job.metrics}.get(objective, math.nan))


def worst(objective: str) -> float:
    """Return the worst value of a metric: its bound, or infinity."""
    low, high = metrics.bounds(objective)
    return low if metrics.direction(objective) == "max" else high
