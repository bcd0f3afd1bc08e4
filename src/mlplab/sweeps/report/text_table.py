"""The results of a sweep as text: one row per configuration, best first, then the failures and the
best command line.
"""

from __future__ import annotations

import re
import shutil
import sys
from typing import TextIO

from mlplab.sweeps.report.results import Group, Results, cell_value
from mlplab.terminal.output import count, is_terminal, plain, say
from mlplab.terminal.suggested import train_command
from mlplab.terminal.table import aligned

MAX_ROWS = 20
MAX_REASONS = 5
_NUMBER = re.compile(r"\d[\d.]*(?:e[+-]?\d+)?")


def header(results: Results) -> list[str]:
    """Return the names of the columns of `cells`."""
    return [
        *results.axes,
        f"{results.headline} [95 %]",
        "std",
        "n",
        "failed",
        *(f"{name} [95 %]" for name in results.test_metrics),
    ]


def cells(results: Results, group: Group) -> list[str]:
    """Return the cells of a configuration.

    They are its values, the mean of the headline metric with its interval and its spread over n
    seeds, the number of failures, and the same metric on the test split.
    """
    statistics = group.statistics(results.headline)
    return [
        *(value_text(group.values[key]) for key in results.axes),
        statistics.interval,
        statistics.spread,
        str(statistics.n),
        str(group.failures),
        *(group.statistics(name).interval for name in results.test_metrics),
    ]


def value_text(value: object) -> str:
    """Return a swept value as the text of a cell."""
    cell = cell_value(value)
    return "null" if cell is None else f"{cell:g}" if isinstance(cell, float) else plain(str(cell))


def reasons(results: Results) -> list[tuple[str, int, int]]:
    """Return ("status: reason", number of jobs, number of the first job), most frequent first.

    Reasons that differ only in numbers are merged, with dots for the numbers.
    """
    jobs_by_reason: dict[str, list[tuple[str, int]]] = {}
    for job in results.jobs:
        if job.fails:
            text = f"{job.status}: {plain(job.reason)}"
            jobs_by_reason.setdefault(_NUMBER.sub("…", text), []).append((text, job.number))
    ordered = sorted(jobs_by_reason.items(), key=lambda item: -len(item[1]))
    return [(key if len(jobs) > 1 else jobs[0][0], len(jobs), jobs[0][1]) for key, jobs in ordered]


def best_command(results: Results) -> str:
    """Return the command line that trains the best configuration; empty if no job is done."""
    if not results.groups or results.groups[0].statistics(results.headline).mean is None:
        return ""
    return train_command(
        [
            override
            for override in results.groups[0].overrides
            if not override.startswith("validation.fold=")
        ],
        results.flags,
    )


def print_table(results: Results, stream: TextIO | None = None) -> None:
    """Print the configurations, the failures and the best command line."""
    stream = sys.stdout if stream is None else stream
    for line in lines(results, shutil.get_terminal_size().columns if is_terminal(stream) else None):
        say(line, stream, strict=True)


def lines(results: Results, width: int | None = None) -> list[str]:
    """Return the lines of the table, its rows cut to `width` characters.

    There is no table before a job has ended with metrics, which decide how configurations rank.
    """
    table = [header(results), *(cells(results, group) for group in results.groups[:MAX_ROWS])]
    output = [
        line if width is None or len(line) <= width else line[: width - 1] + "…"
        for line in (aligned(table) if results.metric_names else ())
    ]
    if (more := len(results.groups) - MAX_ROWS) > 0 and results.metric_names:
        output.append(f"... and {more} more in {results.folder / 'summary.md'}")
    failures = reasons(results)
    output += [
        f"{count(number, 'job')} {text} ({'the first is ' if number > 1 else ''}job {first})"
        for text, number, first in failures[:MAX_REASONS]
    ]
    if len(failures) > MAX_REASONS:
        output.append(
            f"... and {len(failures) - MAX_REASONS} more reasons in {results.folder / 'summary.md'}"
        )
    if best := best_command(results):
        output.append(f"best: {best}")
    return output
