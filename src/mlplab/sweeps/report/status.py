"""summary.json of a sweep or search: its status, the number of jobs that ended in each way, and the
computing time of all processes that have worked on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from mlplab.io.files import remove_leftovers, write_json
from mlplab.runs.run_index import summary_of
from mlplab.sweeps.execution.compute_log import total_time
from mlplab.terminal.output import duration

RUNNING = "running"
"""The status while jobs are trained; it remains if every process is killed."""

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
    folder: Path, name: str, planned: int, statuses: Iterable[str], is_search: bool = False
) -> None:
    """Write summary.json at the end: `interrupted` if jobs are missing, `failed` if one failed or
    diverged (in a search, if none is done), otherwise `done`.
    """
    counts = Counter(statuses)
    ended = sum(counts[status] for status in COUNTED)
    fails = not counts["done"] if is_search else counts["failed"] + counts["diverged"]
    status = "interrupted" if ended < planned else "failed" if fails else "done"
    _write(folder, status, name, planned, counts)


def _write(folder: Path, status: str, name: str, planned: int, counts: Mapping[str, int]) -> None:
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
        },
    )


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
