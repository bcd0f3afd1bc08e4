"""The tables of the report as plain values, which the page renders and sorts.

A table is {label, columns: [{name, kind: number | text | long, real?, best?}], rows: [[cell]]}; a
cell is a value, or {shown, value, href?}.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from mlplab.sweeps.report.results import Group, Results, cell_value, is_number
from mlplab.sweeps.report.statistics import Statistics
from mlplab.sweeps.report.text_table import value_text

Column = dict[str, object]
_JOB_TABLE_METRICS = ("loss", "accuracy", "rmse", "r2")


def group_table(results: Results) -> dict[str, object]:
    """Return the table of configurations, best first."""
    high = "high" if results.higher_is_better else "low"
    return {
        "label": "configurations",
        "columns": [
            *_swept(results, results.axes),
            _real(f"{results.headline} [95 %]", high),
            _real("std", "low"),
            _real("median", high),
            _number("n", "high"),
            _number("failed", "low"),
            *(_real(f"{name} [95 %]", high) for name in results.test_metrics),
        ],
        "rows": [_group_row(results, group) for group in results.groups],
    }


def _group_row(results: Results, group: Group) -> list[object]:
    statistics = group.statistics(results.headline)
    return [
        *(_cell(group.values[key]) for key in results.axes),
        _mean(statistics),
        {"shown": statistics.spread, "value": statistics.std},
        statistics.median,
        statistics.n,
        group.failures,
        *(_mean(group.statistics(name)) for name in results.test_metrics),
    ]


def _mean(statistics: Statistics) -> dict[str, object]:
    return {"shown": statistics.interval, "value": statistics.mean}


def job_table(results: Results) -> dict[str, object]:
    """Return the table of jobs by number, with the most important metrics."""
    names = [name for name in results.metric_names if name.partition("/")[2] in _JOB_TABLE_METRICS]
    return {
        "label": "jobs",
        "columns": [
            _number("job"),
            _text("status"),
            *_swept(results, results.keys),
            *map(_real, names),
            _number("best epoch"),
        ],
        "rows": [
            [
                _link(results, job.number),
                job.status,
                *(_cell(job.values[key]) for key in results.keys),
                *(_finite(job.metrics.get(name)) for name in names),
                job.facts.get("best_epoch"),
            ]
            for job in results.jobs
        ],
    }


def failure_table(results: Results) -> dict[str, object]:
    """Return the table of jobs that failed or diverged, with their reasons."""
    return {
        "label": "failures",
        "columns": [
            _number("job"),
            _text("status"),
            _text("overrides", "long"),
            _text("reason", "long"),
        ],
        "rows": [
            [_link(results, job.number), job.status, " ".join(job.overrides), job.reason]
            for job in results.jobs
            if job.fails
        ],
    }


def _text(name: str, kind: str = "text") -> Column:
    return {"name": name, "kind": kind}


def _number(name: str, best: str = "low") -> Column:
    return {"name": name, "kind": "number", "best": best}


def _real(name: str, best: str = "low") -> Column:
    return {**_number(name, best), "real": True}


def _swept(results: Results, keys: Iterable[str]) -> list[Column]:
    return [
        _number(key) if all(is_number(job.values[key]) for job in results.jobs) else _text(key)
        for key in keys
    ]


def _cell(value: object) -> dict[str, object]:
    """Return the cell of a swept value; numbers sort as numbers."""
    return {"shown": value_text(value), "value": cell_value(value)}


def _link(results: Results, number: int) -> dict[str, object]:
    """Return a link to the job's playback page if it has one, or else to its folder, which a packed
    job has only if it was opened.
    """
    links = (f"jobs/{number}/report.html", f"jobs/{number}/")
    href = next((link for link in links if (results.folder / link).exists()), None)
    return {"shown": str(number), "value": number, **({"href": href} if href else {})}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
