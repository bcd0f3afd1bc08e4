"""The diagnoses of the jobs of a sweep, made on demand and stored for its report."""

from __future__ import annotations

from pathlib import Path

from mlplab.doctor import Diagnosis
from mlplab.errors import UnfinishedRunError
from mlplab.io.files import write_json
from mlplab.sweeps.execution.loaded_jobs import load_jobs
from mlplab.sweeps.execution.stores import open_store
from mlplab.sweeps.plan.plan_file import read_plan
from mlplab.sweeps.report.job_health import FILE, FORMAT
from mlplab.terminal.progress import Progress
from mlplab.training import DataCache

ENDED = ("done", "diverged", "interrupted")
CHUNK = 200
"""Jobs that are loaded at once."""


def diagnose_jobs(folder: Path) -> dict[int, Diagnosis]:
    """Diagnose the jobs of a sweep that have ended with weights, by number, and write the names of
    their findings to health.json. Raises MlplabError for damaged files.
    """
    plan = read_plan(folder)
    store = open_store(plan, folder)
    store.refresh()
    numbers = [job.number for job in plan.jobs if store.status(job.number) in ENDED]
    if not numbers:
        raise UnfinishedRunError(f"{folder} has no finished job: there is nothing to diagnose.")
    cache, by_job = DataCache(), {}
    with Progress(len(numbers), "diagnoses", unit="jobs") as bar:
        for start in range(0, len(numbers), CHUNK):
            chunk = numbers[start : start + CHUNK]
            for number, run in zip(chunk, load_jobs(plan, store, chunk), strict=True):
                by_job[number] = run.diagnosis(cache)
                bar.update(len(by_job))
    names = {
        str(number): [finding.name for finding in diagnosis.findings]
        for number, diagnosis in by_job.items()
    }
    write_json(folder / FILE, {"format": FORMAT, "findings": names})
    return by_job
