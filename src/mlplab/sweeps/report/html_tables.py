"""The tables of the report as plain values, which the page renders and sorts.

A table is {label, columns: [{name, kind: number | text | long, real?, best?}], rows: [[cell]],
total}; a cell is a value, or {shown, value, href?}. `total` is the number of rows that there would
be without the limits below, which bound the size of the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from mlplab.runs.listing import as_override
from mlplab.sweeps.report.comparisons import Difference
from mlplab.sweeps.report.conclusions import Conclusions, modes_text
from mlplab.sweeps.report.configuration_table import p_text
from mlplab.sweeps.report.results import HEALTH, Group, Results, is_number, value_text
from mlplab.sweeps.report.statistics import Statistics
from mlplab.terminal.output import rounded

MAX_ROWS = 500
MAX_FAILURES = 200
MAX_TEXT = 1000
Column = dict[str, object]
_JOB_TABLE_METRICS = ("loss", "accuracy", "rmse", "r2")


def group_table(conclusions: Conclusions) -> dict[str, object]:
    """Return the table of the best configurations, best first."""
    results = conclusions.results
    high = "high" if results.higher_is_better else "low"
    pairs = list(zip(results.groups, conclusions.comparisons.to_best, strict=True))
    return {
        "label": "configurations",
        "columns": [
            *_swept(results, results.axes),
            _real(f"{results.headline} [95 %]", high),
            _real("minus best [95 %, Holm]", high),
            _real("p (Holm)", "high"),
            _real("median", high),
            _real("IQM", high),
            _real("std", "low"),
            _number("n", "high"),
            _number("failed", "low"),
            _number("diverged", "low"),
            *([_real("solved", "high")] if results.threshold is not None else []),
            _text("seeds"),
        ],
        "rows": [_group_row(results, *pair) for pair in pairs[:MAX_ROWS]],
        "total": len(pairs),
    }


def _group_row(results: Results, group: Group, difference: Difference | None) -> list[object]:
    statistics = group.statistics(results.headline)
    threshold = results.threshold
    return [
        *(_cell(group.values[key]) for key in results.axes),
        _mean(statistics),
        {"shown": difference.text, "value": difference.mean} if difference else None,
        {"shown": p_text(difference.adjusted), "value": difference.adjusted}
        if difference
        else None,
        _rounded(statistics.median, statistics),
        _rounded(statistics.iqm, statistics),
        {"shown": statistics.spread, "value": statistics.std},
        statistics.n,
        group.failures - group.num_diverged,
        group.num_diverged,
        *([group.share(results.headline, threshold)] if threshold is not None else []),
        modes_text(group, results.headline),
    ]


def _rounded(value: float | None, statistics: Statistics) -> dict[str, object]:
    shown = "-" if value is None else rounded(value, statistics.half_width)
    return {"shown": shown, "value": value}


def _mean(statistics: Statistics) -> dict[str, object]:
    return {"shown": statistics.interval, "value": statistics.mean}


def job_table(results: Results) -> dict[str, object]:
    """Return the table of jobs by number, with the most important metrics; of many jobs, of evenly
    chosen ones. Test metrics are in results.csv only, so that nobody selects by them.
    """
    names = [
        name
        for name in results.metric_names
        if name.partition("/")[2] in _JOB_TABLE_METRICS
        and (not name.startswith("test/") or name == results.headline)
    ]
    stride = -(-len(results.jobs) // MAX_ROWS) or 1
    return {
        "label": "jobs",
        "columns": [
            _number("job"),
            _text("status"),
            *_swept(results, results.keys),
            *map(_real, names),
            _number("best epoch"),
            *([_text(HEALTH)] if results.has_health else []),
        ],
        "rows": [
            [
                _link(results, job.number),
                job.status,
                *(_cell(job.values[key]) for key in results.keys),
                *(_finite(job.metrics.get(name)) for name in names),
                job.facts.get("best_epoch"),
                *([job.facts.get(HEALTH)] if results.has_health else []),
            ]
            for job in results.jobs[::stride]
        ],
        "total": len(results.jobs),
    }


def failure_table(results: Results) -> dict[str, object]:
    """Return the table of the first jobs that failed or diverged, with their reasons."""
    failures = [job for job in results.jobs if job.fails]
    return {
        "label": "failures",
        "columns": [
            _number("job"),
            _text("status"),
            _text("overrides", "long"),
            _text("reason", "long"),
        ],
        "rows": [
            [
                _link(results, job.number),
                job.status,
                " ".join(job.overrides)[:MAX_TEXT],
                job.reason[:MAX_TEXT],
            ]
            for job in failures[:MAX_FAILURES]
        ],
        "total": len(failures),
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
    return {"shown": value_text(value), "value": as_override(value)}


def _link(results: Results, number: int) -> dict[str, object]:
    """Return a link to the job's playback page if it has one, or else to its folder, which a packed
    job has only if it was opened.
    """
    links = (f"jobs/{number}/report.html", f"jobs/{number}/")
    href = next((link for link in links if (results.folder / link).exists()), None)
    return {"shown": str(number), "value": number, **({"href": href} if href else {})}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
