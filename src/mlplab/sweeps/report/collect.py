"""The results of a sweep, read from its stored jobs, independent of which process trained them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlplab.runs.health import health_names, stored_health
from mlplab.runs.run_index import SUMMARY_NUMBERS
from mlplab.sweeps.execution.job_store import JobStore
from mlplab.sweeps.execution.stores import open_store
from mlplab.sweeps.plan.plan import Job, Plan, value_of
from mlplab.sweeps.plan.tracked import PACKED
from mlplab.sweeps.report.job_health import read_health
from mlplab.sweeps.report.results import HEALTH, JobResult, Results
from mlplab.validation import KFold


def collect(plan: Plan, folder: Path, job_store: JobStore | None = None) -> Results:
    """Return the results of all jobs of a plan; a job that is not stored has status `missing`.

    `job_store` is that of the folder, if it is open.
    """
    job_store = job_store or open_store(plan, folder)
    job_store.refresh()
    health = read_health(folder)  # newer than what the summaries say
    jobs = [_with_health(result(plan, job, job_store), health.get(job.number)) for job in plan.jobs]
    options = plan.options
    return Results(
        *(plan.name, folder, jobs, options.metric, plan.flags, options.diverged, options.threshold),
        packed_history=job_store.history if options.jobs == PACKED else None,
    )


def _with_health(job: JobResult, health: str | None) -> JobResult:
    return job if health is None else replace(job, facts={**job.facts, HEALTH: health})


def result(plan: Plan, job: Job, job_store: JobStore) -> JobResult:
    """Return the result of one job, as of the last `job_store.refresh`."""
    summary = job_store.summary(job.number) or {"status": "missing", "reason": "not trained yet"}
    return job_result(job, summary, job_store.job_folder(job.number), plan.keys)


def job_result(
    job: Job, summary: Mapping[str, Any], folder: Path, keys: Sequence[str] = ()
) -> JobResult:
    """Return the result that the summary.json of a job states, with its values for these keys."""
    facts = {key: summary[key] for key in SUMMARY_NUMBERS if key in summary}
    if findings := stored_health(summary):
        facts[HEALTH] = health_names(findings)
    if isinstance(job.settings.validation, KFold):
        facts["folds"] = job.settings.validation.folds
    return JobResult(
        number=job.number,
        status=str(summary["status"]),
        reason="" if summary["status"] == "done" else str(summary.get("reason", "")),
        values={key: value_of(job, key) for key in keys},
        metrics={
            name: float("nan") if value is None else float(value)
            for name, value in (summary.get("metrics") or {}).items()
        },
        overrides=job.overrides,
        folder=folder,
        facts=facts,
    )
