"""summary.json of a sweep or search: its status, the number of jobs that ended in each way, and the
computing time of all processes that have worked on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlplab.io.files import remove_leftovers, write_json
from mlplab.runs.run_index import summary_of
from mlplab.sweeps.execution.compute_log import total_time
from mlplab.sweeps.plan.plan import Plan
from mlplab.sweeps.report.results import JobResult
from mlplab.terminal.output import duration

RUNNING = "running"
"""The status while jobs are trained; it remains if every process is killed."""

MAX_POPULATIONS = 100
"""Populations whose times summary.json lists."""

COUNTED = ("done", "failed", "diverged", "pruned")
"""Statuses in which a job ends; a job with any other status is missing."""


def write_start(folder: Path, name: str, planned: int, statuses: Iterable[str]) -> None:
    """Write summary.json before jobs are trained, and delete the temporary files that killed
    processes left. `statuses` are those of earlier jobs.
    """
    for below in (folder, folder / ".search"):
        remove_leftovers(below)
    _write(folder, RUNNING, name, planned, Counter(statuses))


def write_end(
    folder: Path,
    name: str,
    planned: int,
    statuses: Iterable[str],
    is_search: bool = False,
    populations: Sequence[Mapping[str, object]] = (),
) -> None:
    """Write summary.json at the end: `interrupted` if jobs are missing, `failed` if one failed or
    diverged (in a search, if none is done), otherwise `done`. `populations` is as returned by
    `time_of_populations`.
    """
    counts = Counter(statuses)
    ended = sum(counts[status] for status in COUNTED)
    fails = not counts["done"] if is_search else counts["failed"] + counts["diverged"]
    status = "interrupted" if ended < planned else "failed" if fails else "done"
    _write(folder, status, name, planned, counts, populations)


def _write(
    folder: Path,
    status: str,
    name: str,
    planned: int,
    counts: Mapping[str, int],
    populations: Sequence[Mapping[str, object]] = (),
) -> None:
    ended = {key: counts.get(key, 0) for key in COUNTED}
    missing = planned - sum(ended.values())
    spent = total_time(folder)
    write_json(
        folder / "summary.json",
        {
            "status": status,
            "name": name,
            "planned": planned,
            **ended,
            "missing": missing,
            **({} if spent is None else spent.rounded()),
            **({"populations": populations} if populations else {}),
        },
    )


def time_of_populations(plan: Plan, jobs: Iterable[JobResult]) -> list[dict[str, object]]:
    """Return the number of jobs and the time of training of each population: the sum over its jobs.

    Empty for more than `MAX_POPULATIONS`.
    """
    if len(plan.populations) > MAX_POPULATIONS:
        return []
    population_of = {number: unit.population for unit in plan.work_units for number in unit.jobs}
    facts: dict[int | None, list[Mapping[str, Any]]] = {}
    for job in jobs:
        facts.setdefault(population_of.get(job.number), []).append(job.facts)
    return [
        {"population": one.number, "jobs": one.jobs}
        | {key: _total(facts.get(one.number, ()), key) for key in ("seconds", "cpu_seconds")}
        for one in plan.populations
    ]


def _total(facts: Iterable[Mapping[str, Any]], key: str) -> float | None:
    """The sum of a time over jobs; None if no job has it."""
    values = [float(one[key]) for one in facts if one.get(key) is not None]
    return round(sum(values), 3) if values else None


def time_spent(folder: Path) -> str:
    """Return the computing time that summary.json states, as text: "193 s of wall time, 341 s of
    processor time". Empty if it states none.
    """
    summary = summary_of(folder)
    times = [summary.get(key) for key in ("seconds", "cpu_seconds")]
    if not all(isinstance(value, (int, float)) for value in times):
        return ""
    wall, cpu = (duration(float(value or 0)) for value in times)
    return f"{wall} of wall time, {cpu} of processor time"
