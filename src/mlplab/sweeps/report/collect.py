"""The results of a sweep, read from the folders of its jobs: whoever trained them, and whenever."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlplab.sweeps.execution.job_store import JobStore
from mlplab.sweeps.plan.plan import Job, Plan, value_of
from mlplab.sweeps.report.results import JobResult, Results
from mlplab.validation import KFold

_FACTS = ("epochs", "steps", "best_epoch", "seconds", "num_parameters", "seed")


def collect(plan: Plan, folder: Path) -> Results:
    """One result a job of the plan, in its order; a job without a folder is `missing`."""
    ledger = JobStore(folder)
    jobs = [result(plan, job, ledger) for job in plan.jobs]
    return Results(name=plan.name, folder=folder, jobs=jobs, metric=plan.options.metric)


def _folds(job: Job) -> dict[str, int]:
    kfold = job.settings.validation
    return {"folds": kfold.folds} if isinstance(kfold, KFold) else {}


def result(plan: Plan, job: Job, ledger: JobStore) -> JobResult:
    """Of one job, as its folder tells it."""
    found: Mapping[str, Any] = ledger.summary(job.number) or {
        "status": "missing",
        "reason": "not trained yet",
    }
    metrics = {
        name: float("nan") if value is None else float(value)
        for name, value in (found.get("metrics") or {}).items()
    }
    return JobResult(
        number=job.number,
        status=str(found["status"]),
        reason="" if found["status"] == "done" else str(found.get("reason", "")),
        values={key: value_of(job, key) for key in plan.keys},
        metrics=metrics,
        overrides=job.overrides,
        folder=ledger.job_folder(job.number),
        facts={**{key: found[key] for key in _FACTS if key in found}, **_folds(job)},
    )
