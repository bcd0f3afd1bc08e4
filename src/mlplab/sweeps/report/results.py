"""The results of a sweep: one row per job, and groups of jobs that differ only in seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mlplab import metrics as measures
from mlplab.runs.listing import as_override
from mlplab.sweeps.execution.job_store import Columns
from mlplab.sweeps.report.modes import Split, two_groups
from mlplab.sweeps.report.statistics import Statistics
from mlplab.task import accuracy_flatters
from mlplab.terminal.output import plain

SEEDS = ("seed", "dataset.seed", "validation.fold")
"""Keys that only repeat an experiment."""

FROM = "from"
"""The key that tells apart jobs of different folders with the same configuration and seeds."""

FACTS = ("epochs", "best_epoch", "seconds", "cpu_seconds")

HEALTH = "health"
"""The fact with the findings of a job's diagnosis, if it was made."""


@dataclass(frozen=True)
class JobResult:
    """The result of one job.

    `values` has the same keys in the same order for every job of a sweep; `metrics` is empty if
    the job failed.
    """

    number: int
    status: str  # done, diverged, failed, interrupted, missing
    reason: str
    values: Mapping[str, Any]
    metrics: Mapping[str, float]  # of the selected weights, "<split>/<metric>"
    overrides: tuple[str, ...]
    folder: Path
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def counts(self) -> bool:
        """Whether its metrics enter means; those of a diverged or failed job do not."""
        return self.status == "done"

    @property
    def fails(self) -> bool:
        return self.status in ("failed", "diverged")

    @cached_property
    def replicate(self) -> Replicate:
        """The values of the seeds that the sweep varies."""
        return tuple(repr(self.values[key]) for key in SEEDS if key in self.values)


Replicate = tuple[Any, ...]
"""The values of the keys in SEEDS. Jobs of two configurations with the same values share their
data, split and initial random numbers, so that they are compared with each other.
"""


@dataclass(frozen=True)
class Group:
    """The jobs of one configuration, which differ only in seeds.

    `worst` has what a diverged job counts as, by metric; without the metric it is not counted.
    """

    values: Mapping[str, Any]
    jobs: tuple[JobResult, ...]
    worst: Mapping[str, float] = field(default_factory=dict)
    _statistics: dict[str, Statistics] = field(default_factory=dict, compare=False, repr=False)
    _scores: dict[str, list[float | None]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def failures(self) -> int:
        """The number of jobs that failed or diverged."""
        return sum(job.facts.get("failures", job.fails) for job in self.jobs)

    @property
    def num_diverged(self) -> int:
        return sum(job.facts.get("diverged", job.status == "diverged") for job in self.jobs)

    def job_scores(self, metric: str) -> list[float | None]:
        """Return what each job contributes to the statistics of a metric; None if nothing."""
        if metric not in self._scores:
            self._scores[metric] = [self._score(job, metric) for job in self.jobs]
        return self._scores[metric]

    def _score(self, job: JobResult, metric: str) -> float | None:
        if job.counts:
            value = job.metrics.get(metric, math.nan)
            return value if math.isfinite(value) else None
        return self.worst.get(metric) if job.status == "diverged" else None

    def scores(self, metric: str) -> list[float]:
        """Return the values that enter the statistics of a metric, one per job."""
        return [value for value in self.job_scores(metric) if value is not None]

    def by_replicate(self, metric: str) -> dict[Replicate, float]:
        """Return the values of `scores` by replicate; repeated jobs are averaged."""
        values: dict[Replicate, list[float]] = {}
        for job, value in zip(self.jobs, self.job_scores(metric), strict=True):
            if value is not None:
                values.setdefault(job.replicate, []).append(value)
        return {replicate: sum(x) / len(x) for replicate, x in values.items()}

    def statistics(self, metric: str) -> Statistics:
        """Return the statistics of a metric over the seeds that were trained to their end and, with
        `worst`, over those that diverged.
        """
        if metric not in self._statistics:
            scores = self.scores(metric)
            self._statistics[metric] = Statistics.of(scores, metric, self.overlap(metric))
        return self._statistics[metric]

    def overlap(self, metric: str) -> float:
        """Return test rows / train rows of a fold, for a metric over folds, or else 0."""
        folds = self.jobs[0].facts.get("folds")
        return 1 / (folds - 1) if folds and metric.startswith("test/") else 0.0

    def modes(self, metric: str) -> Split | None:
        """Return the two groups that the seeds form, if they do."""
        return two_groups(self.scores(metric))

    def share(self, metric: str, threshold: float) -> float | None:
        """Return the fraction of the seeds that reach a threshold; None without seeds."""
        scores = self.scores(metric)
        higher = measures.direction(metric) == "max"
        good = sum(x >= threshold if higher else x <= threshold for x in scores)
        return good / len(scores) if scores else None

    @property
    def overrides(self) -> tuple[str, ...]:
        """The overrides of the first job that was trained to its end, including its seed."""
        return next((job.overrides for job in self.jobs if job.counts), self.jobs[0].overrides)


@dataclass(frozen=True)
class Results:
    """All jobs of a sweep, in the order of their numbers.

    `flags` are those that a command line needs besides the overrides of a job. `diverged` says
    whether a diverged job counts as the worst value ("worst") or not at all ("drop"), and
    `threshold` which value of the metric counts as solved. `conclusion` is the text that a search
    shows in place of the best configuration. `packed_history` returns the history of the job with a
    number, if jobs have no folders.
    """

    name: str
    folder: Path
    jobs: Sequence[JobResult]
    metric: str = "auto"
    flags: tuple[str, ...] = ()
    diverged: str = "worst"
    threshold: float | None = None
    conclusion: str = ""
    packed_history: Callable[[int], Columns] | None = field(default=None, compare=False, repr=False)

    @property
    def keys(self) -> tuple[str, ...]:
        """The swept keys."""
        return tuple(self.jobs[0].values) if self.jobs else ()

    @property
    def axes(self) -> tuple[str, ...]:
        """The swept keys without seeds."""
        return tuple(key for key in self.keys if key not in SEEDS)

    @cached_property
    def metric_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for job in self.jobs for name in job.metrics))

    @cached_property
    def headline(self) -> str:
        """The metric that ranks configurations.

        It is measured on the validation split, or on train if there is none; on test only for a
        cross-validation or if `metric` says so.
        """
        if self.metric != "auto":
            return self.metric
        split = (
            "test"
            if self.cross_validates
            else "val"
            if any(name.startswith("val/") for name in self.metric_names)
            else "train"
        )
        return f"{split}/{'rmse' if f'{split}/rmse' in self.metric_names else 'accuracy'}"

    @property
    def test_metrics(self) -> tuple[str, ...]:
        """The headline metric on the test split, which is shown for the selected configuration only
        and never affects the order.
        """
        test_metric = "test/" + self.headline.partition("/")[2]
        is_shown = test_metric in self.metric_names and test_metric != self.headline
        balanced = "test/balanced_accuracy"
        flatters = test_metric == "test/accuracy" and any(
            accuracy_flatters(job.metrics.get(test_metric), job.metrics.get(balanced))
            for job in self.groups[0].jobs
            if job.counts
        )
        return ((test_metric,) if is_shown else ()) + ((balanced,) if flatters else ())

    @property
    def cross_validates(self) -> bool:
        """Whether the jobs are folds, so that configurations are compared by their test splits."""
        return any(job.facts.get("folds") for job in self.jobs)

    @cached_property
    def has_health(self) -> bool:
        """Whether a job was diagnosed, with a finding or by `mlplab doctor`."""
        return any(HEALTH in job.facts for job in self.jobs)

    @property
    def replicates(self) -> str:
        """The name of the repetitions, "folds" or "seeds"."""
        return "folds" if self.cross_validates else "seeds"

    @cached_property
    def worst(self) -> dict[str, float]:
        """What a diverged job counts as, by metric: the bound on the bad side of the metric (an
        accuracy of 0), or else the worst value that a job of the sweep measured. Empty with
        `diverged="drop"`.
        """
        if self.diverged == "drop" or not any(job.status == "diverged" for job in self.jobs):
            return {}
        worst = {}
        for name in self.metric_names:
            low, high = measures.bounds(name)
            maximized = measures.direction(name) == "max"
            bound = low if maximized else high
            if not math.isfinite(bound):
                measured = [job.metrics.get(name, math.nan) for job in self.jobs if job.counts]
                finite = [value for value in measured if math.isfinite(value)]
                if not finite:
                    continue
                bound = min(finite) if maximized else max(finite)
            worst[name] = bound
        return worst

    @property
    def higher_is_better(self) -> bool:
        return measures.direction(self.headline.partition("/")[2]) == "max"

    @cached_property
    def groups(self) -> list[Group]:
        """The configurations, best mean of the headline metric first, in which diverged jobs count
        as `diverged` says.

        Ties go to the lower loss on the same split, then to fewer parameters. Those with more than
        half of their jobs failed follow, and those without the metric are last.
        """
        jobs_by_values: dict[str, list[JobResult]] = {}
        for job in self.jobs:
            jobs_by_values.setdefault(repr([job.values[key] for key in self.axes]), []).append(job)
        return sorted(
            (
                Group({key: jobs[0].values[key] for key in self.axes}, tuple(jobs), self.worst)
                for jobs in jobs_by_values.values()
            ),
            key=self._rank,
        )

    def _rank(self, group: Group) -> tuple[bool, bool, float, float, int]:
        mean = group.statistics(self.headline).mean
        loss = group.statistics(f"{self.headline.partition('/')[0]}/loss").mean
        return (
            mean is None,
            2 * group.failures > len(group.jobs),
            0.0 if mean is None else -mean if self.higher_is_better else mean,
            math.inf if loss is None else loss,
            min(int(job.facts.get("num_parameters") or 0) for job in group.jobs),
        )


def is_number(value: object) -> bool:
    """Whether a swept value is a number; a boolean is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def value_text(value: object) -> str:
    """Return a swept value as the text of a cell."""
    cell = as_override(value)
    return "null" if cell is None else f"{cell:g}" if isinstance(cell, float) else plain(str(cell))


def columns(results: Results) -> list[str]:
    """Return the names of the columns of results.csv."""
    health = [HEALTH] if results.has_health else []
    return ["job", "status", *results.keys, *results.metric_names, *FACTS, *health, "reason"]


def rows(results: Results) -> list[list[object]]:
    """Return the cells of results.csv; None if a job lacks a value."""
    return [
        [
            job.number,
            job.status,
            *(as_override(job.values[key]) for key in results.keys),
            *(job.metrics.get(name) for name in results.metric_names),
            *(job.facts.get(key) for key in FACTS),
            *([job.facts.get(HEALTH)] if results.has_health else []),
            job.reason,
        ]
        for job in results.jobs
    ]
