"""A finished sweep ranked by another metric or grouped by some of its keys, and the effect of each
key on average over the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlplab.config.suggestions import did_you_mean, listing
from mlplab.errors import ConfigError
from mlplab.sweeps.report.comparisons import Comparisons
from mlplab.sweeps.report.results import FROM, SEEDS, JobResult, Replicate, Results

MAX_VALUES = 30
"""Values of a key up to which its effect is shown; a search draws as many values as trials."""

Cell = tuple[str, Replicate]
"""The values of the other keys, and the seeds."""


@dataclass(frozen=True)
class Effect:
    """The effect of a key: `results` has one configuration per value of it, best first, each the
    mean over the other keys within a seed, and `comparisons` the differences of all pairs.
    """

    key: str
    others: tuple[str, ...]
    results: Results
    comparisons: Comparisons


def with_metric(results: Results, metric: str) -> Results:
    """Return the results ranked by another metric. Raises ConfigError if no job measured it."""
    names = results.metric_names
    if metric != "auto" and metric not in names:
        similar = did_you_mean(metric, names, "`--metric {}`")
        raise ConfigError(
            f"`--metric {metric}`: no job measured `{metric}`. {similar}The metrics are"
            f" {listing(names)}."
        )
    return replace(results, metric=metric)


def with_groups(results: Results, keys: Sequence[str]) -> tuple[Results, str]:
    """Return the results grouped by some swept keys, and a text that says over what its numbers are
    averaged. Raises ConfigError if a key is not swept.
    """
    for key in keys:
        if key not in results.axes:
            similar = did_you_mean(key, results.axes, "`--group-by {}`")
            raise ConfigError(
                f"`--group-by {key}`: the jobs do not differ in `{key}`. {similar}They differ in"
                f" {listing(results.axes)}."
            )
    names = (*dict.fromkeys([results.headline, *_losses(results), *results.test_metrics]),)
    cells = _cells(results, tuple(keys))
    shared = set.intersection(*map(set, cells.values()))
    grouped = _averaged(results, tuple(keys), cells, names, shared or None)
    others = [key for key in results.axes if key not in keys]
    if not others:
        return grouped, ""
    text = f"Each number is a mean over {listing(others, last=' and ')} within a seed"
    if not shared:
        return grouped, f"{text}, which differ between the rows: they were not combined fully."
    used = sum(len(cells[value][cell]) for value in cells for cell in shared)
    total = sum(len(jobs) for of_value in cells.values() for jobs in of_value.values())
    rest = f"; {total - used} jobs without a counterpart in each row are left out"
    return grouped, f"{text}{rest if used < total else ''}."


def effects(results: Results) -> list[Effect]:
    """Return the effect of each swept key with two to `MAX_VALUES` values that were combined with
    the same values of the others and the same seeds. The folder of a job is no such key.
    """
    names = (*dict.fromkeys([results.headline, *_losses(results)]),)
    output = []
    for key in results.axes:
        if key == FROM:
            continue
        cells = _cells(results, (key,))
        if not 2 <= len(cells) <= MAX_VALUES:
            continue
        shared = set.intersection(*map(set, cells.values()))
        if shared:
            grouped = _averaged(results, (key,), cells, names, shared)
            others = tuple(other for other in results.axes if other != key)
            comparisons = Comparisons(grouped.groups, results.headline)
            output.append(Effect(key, others, grouped, comparisons))
    return output


def _losses(results: Results) -> list[str]:
    """The loss that breaks ties."""
    loss = f"{results.headline.partition('/')[0]}/loss"
    return [loss] if loss in results.metric_names else []


def _cells(
    results: Results, keys: tuple[str, ...]
) -> dict[str, dict[Cell, list[tuple[JobResult, float]]]]:
    """The jobs with a score, by the values of `keys`, and then by those of the others."""
    cells: dict[str, dict[Cell, list[tuple[JobResult, float]]]] = {}
    for group in results.groups:
        by_cell = cells.setdefault(repr([group.values[key] for key in keys]), {})
        other = repr([value for key, value in group.values.items() if key not in keys])
        for job, score in zip(group.jobs, group.job_scores(results.headline), strict=True):
            if score is not None:
                by_cell.setdefault((other, job.replicate), []).append((job, score))
    return {value: by_cell for value, by_cell in cells.items() if by_cell} or {"": {}}


def _averaged(
    results: Results,
    keys: tuple[str, ...],
    cells: dict[str, dict[Cell, list[tuple[JobResult, float]]]],
    names: Sequence[str],
    shared: set[Cell] | None,
) -> Results:
    """Results with a job for each combination of `keys` and seeds: the mean of its jobs, with the
    number of the first one.
    """
    seeds = [key for key in results.keys if key in SEEDS]
    by_job: dict[tuple[str, Replicate], list[JobResult]] = {}
    for value, of_value in cells.items():
        for cell, scored in of_value.items():
            if shared is None or cell in shared:
                by_job.setdefault((value, cell[1]), []).extend(job for job, _ in scored)
    jobs: list[JobResult] = []
    for members in by_job.values():
        first = members[0]
        scores = {
            name: [score for job in members if (score := _score(results, job, name)) is not None]
            for name in names
        }
        facts = {
            "failures": sum(job.fails for job in members),
            "diverged": sum(job.status == "diverged" for job in members),
            "jobs": len(members),
            "num_parameters": min(int(job.facts.get("num_parameters") or 0) for job in members),
            **({"folds": first.facts["folds"]} if "folds" in first.facts else {}),
        }
        means = {name: sum(values) / len(values) for name, values in scores.items() if values}
        values = {key: first.values[key] for key in (*keys, *seeds)}
        number = min(job.number for job in members)
        jobs.append(JobResult(number, "done", "", values, means, (), Path(), facts))
    jobs.sort(key=lambda job: job.number)
    return replace(results, jobs=jobs, metric=results.headline)


def _score(results: Results, job: JobResult, name: str) -> float | None:
    return job.metrics.get(name) if job.counts else results.worst.get(name)
