"""The results of a sweep: a row a job, and its files results.csv, summary.md and report.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab import metrics as measures
from mlplab.extras import require
from mlplab.sweeps.report.statistics import Statistics

if TYPE_CHECKING:
    from pandas import DataFrame

SEEDS = ("seed", "dataset.seed", "validation.fold")
"""What only repeats an experiment."""

FACTS = ("epochs", "best_epoch", "seconds")


@dataclass(frozen=True)
class JobResult:
    """One job. `values` has the same keys for every job of a sweep, in the same order; `metrics` is
    empty where it failed.
    """

    number: int
    status: str  # done, diverged, failed, interrupted, missing
    reason: str
    values: Mapping[str, Any]
    metrics: Mapping[str, float]  # of the chosen weights, "<split>/<metric>"
    overrides: tuple[str, ...]
    folder: Path
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def counts(self) -> bool:
        """Whether its metrics enter means: a diverged or failed job's do not."""
        return self.status == "done"

    @property
    def fails(self) -> bool:
        return self.status in ("failed", "diverged")


@dataclass(frozen=True)
class Group:
    """The jobs that differ in nothing but seeds."""

    values: Mapping[str, Any]
    jobs: tuple[JobResult, ...]

    @property
    def failures(self) -> int:
        return sum(job.fails for job in self.jobs)

    def statistics(self, metric: str) -> Statistics:
        """Of the jobs that were trained to their end."""
        folds = self.jobs[0].facts.get("folds")
        overlap = 1 / (folds - 1) if folds and metric.startswith("test/") else 0.0
        return Statistics.of(
            [job.metrics[metric] for job in self.jobs if job.counts and metric in job.metrics],
            overlap,
        )

    @property
    def words(self) -> tuple[str, ...]:
        """The overrides of its first job that was trained to its end, seed included: they repeat
        that job.
        """
        return next((job.overrides for job in self.jobs if job.counts), self.jobs[0].overrides)


@dataclass(frozen=True)
class Results:
    """All jobs of a sweep, in the order of their numbers."""

    name: str
    folder: Path
    jobs: Sequence[JobResult]
    metric: str = "auto"

    @property
    def keys(self) -> tuple[str, ...]:
        """What was swept."""
        return tuple(self.jobs[0].values) if self.jobs else ()

    @property
    def axes(self) -> tuple[str, ...]:
        """What was swept but for seeds."""
        return tuple(key for key in self.keys if key not in SEEDS)

    @cached_property
    def metric_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for job in self.jobs for name in job.metrics))

    @cached_property
    def headline(self) -> str:
        """The metric that ranks: on the validation part, or train where there is none. The test
        part never chooses, unless it was asked to.
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
    def cross_validates(self) -> bool:
        """Whether each row is tested on in one of the folds, so that the test parts are what
        configurations are compared by.
        """
        return any(job.facts.get("folds") for job in self.jobs)

    @property
    def replicates(self) -> str:
        """What only repeats an experiment, in a word."""
        return "folds" if self.cross_validates else "seeds"

    @property
    def higher_is_better(self) -> bool:
        return measures.direction(self.headline.partition("/")[2]) == "max"

    @cached_property
    def groups(self) -> list[Group]:
        """Best first: by the mean of the headline metric; those of which more than half failed come
        after the others, the unmeasured last.
        """
        found: dict[str, list[JobResult]] = {}
        for job in self.jobs:
            found.setdefault(repr([job.values[key] for key in self.axes]), []).append(job)
        groups = [
            Group({key: jobs[0].values[key] for key in self.axes}, tuple(jobs))
            for jobs in found.values()
        ]
        return sorted(groups, key=self._rank)

    def _rank(self, group: Group) -> tuple[bool, bool, float]:
        mean = group.statistics(self.headline).mean
        return (
            mean is None,
            2 * group.failures > len(group.jobs),
            0.0 if mean is None else -mean if self.higher_is_better else mean,
        )


def shown(value: Any) -> Any:
    """A value in a cell: numbers and texts as they are, flags and lists as they are typed."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return (
        value
        if value is None or isinstance(value, (int, float, str))
        else str(value).replace(" ", "").replace("'", "")
    )


def columns(results: Results) -> list[str]:
    """The columns of results.csv."""
    return ["job", "status", *results.keys, *results.metric_names, *FACTS, "reason"]


def rows(results: Results) -> list[list[Any]]:
    """The cells of results.csv; None where a job has no such number."""
    return [
        [
            job.number,
            job.status,
            *(shown(job.values[key]) for key in results.keys),
            *(job.metrics.get(name) for name in results.metric_names),
            *(job.facts.get(key) for key in FACTS),
            job.reason,
        ]
        for job in results.jobs
    ]


def to_frame(results: Results) -> DataFrame:
    """A row a job, the columns of results.csv. Raises MissingExtraError without pandas."""
    require("A sweep as a DataFrame", "sweep", "pandas")
    import pandas as pd

    return pd.DataFrame(rows(results), columns=columns(results))
