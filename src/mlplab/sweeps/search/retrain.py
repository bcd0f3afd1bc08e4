"""The best configurations of a search, trained again with seeds that the search has not used.

The best of many trials owes its value partly to luck: it was chosen for it. Its mean over new seeds
is an unbiased estimate. They train as a sweep of their own in the folder `retrain` of the search.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlplab.runs.plan_text import NAME
from mlplab.settings import Settings
from mlplab.sweeps import run_sweep
from mlplab.sweeps.execution.stores import open_store
from mlplab.sweeps.plan.hashing import job_hash
from mlplab.sweeps.plan.plan import Plan
from mlplab.sweeps.plan.plan_file import read_plan
from mlplab.sweeps.report.results import Group, Results
from mlplab.sweeps.run_sweep import Sweep
from mlplab.sweeps.search.definition import Search
from mlplab.sweeps.search.study import Study, pareto_front
from mlplab.sweeps.search.trial_results import TrialResult
from mlplab.terminal.output import note

FOLDER = "retrain"


@dataclass(frozen=True)
class Retrained:
    """A trial whose configuration was trained again: its jobs, and their mean if all have ended."""

    trial: int
    jobs: Group
    result: TrialResult | None

    @property
    def is_done(self) -> bool:
        """Whether it has a finite mean."""
        return (
            self.result is not None
            and self.result.status == "done"
            and all(map(math.isfinite, self.result.values))
        )


@dataclass(frozen=True)
class Retraining:
    """The configurations that were trained again, in the order of the search, best first."""

    seeds: range
    results: Results
    configurations: Sequence[Retrained]

    def best(self, signs: Sequence[int]) -> list[Retrained]:
        """Return the best configuration by the new seeds, or those on the Pareto front.

        `signs` are -1 for an objective to maximize and 1 for one to minimize. Ties go to the lower
        loss of that split, then to the better trial. Empty if none is done.
        """
        done = [one for one in self.configurations if one.is_done]
        losses = {
            i: [sign * value for sign, value in zip(signs, one.result.values, strict=True)]
            for i, one in enumerate(done)
            if one.result is not None
        }
        front = sorted(pareto_front(losses))
        if len(signs) > 1 or not front:
            return [done[i] for i in front]
        return [done[min(front, key=lambda i: (self._loss(done[i]), i))]]

    def _loss(self, one: Retrained) -> float:
        mean = one.jobs.statistics(f"{self.results.headline.partition('/')[0]}/loss").mean
        return math.inf if mean is None else mean


def plan_retraining(search: Search, folder: Path, study: Study) -> Plan | None:
    """Write the plan of the best configurations with new seeds; None if there are none."""
    settings = {job_hash(one): one for jobs in _settings(search, study) for one in jobs}
    if not settings:
        return None
    options = search.options
    if "/" in search.objectives[0]:
        options = dataclasses.replace(options, metric=search.objectives[0])
    return run_sweep.write_sweep_plan(
        folder / FOLDER,
        list(settings.values()),
        options,
        search.overrides,
        search.plugin_files,
        extend=True,
        quiet=True,
        config_dirs=search.composer.dirs,
    )


def train_again(search: Search, folder: Path, plan: Plan) -> Sweep:
    """Train the jobs of the plan that are not trained yet, and write their reports."""
    job_store = open_store(plan, folder / FOLDER, repair=True)
    if not job_store.missing(job.number for job in plan.jobs):
        return run_sweep.conclude(plan, folder / FOLDER, job_store=job_store)
    if not search.quiet:
        note(f"the best configurations train again with {len(search.new_seeds)} new seeds")
    return run_sweep.train_missing(plan, folder / FOLDER, search.quiet, job_store=job_store)


def _trials(search: Search, study: Study) -> list[int]:
    return study.best_first(search.num_retrained)


def _settings(search: Search, study: Study) -> list[list[Settings]]:
    """The settings of the jobs of each configuration that is trained again."""
    params = [study.params(number) for number in _trials(search, study)]
    for one in params:
        one.pop("seed", None)
    return search.settings(params, search.new_seeds)


def read_retraining(search: Search, folder: Path, study: Study) -> Retraining | None:
    """Return what the folder of a search has of the configurations that are trained again; None if
    there is nothing.
    """
    if not (folder / FOLDER / NAME).is_file():
        return None
    plan = read_plan(folder / FOLDER)
    results = run_sweep.read_sweep(plan, folder / FOLDER).results
    by_number = {job.number: job for job in results.jobs}
    planned = {job.hash: job for job in plan.jobs}
    configurations = []
    for trial, settings in zip(_trials(search, study), _settings(search, study), strict=True):
        jobs = [planned.get(job_hash(one)) for one in settings]
        trained = [by_number[job.number] for job in jobs if job is not None]
        if not trained:
            continue
        has_ended = len(trained) == len(jobs) and not any(
            job.status in ("missing", "interrupted") for job in trained
        )
        configurations.append(
            Retrained(
                trial,
                Group({}, tuple(trained)),
                TrialResult.of(trained, search.objectives) if has_ended else None,
            )
        )
    return Retraining(search.new_seeds, results, configurations)
