"""The results of a sweep as text: one row per configuration, best first, then what they allow to
conclude, the failures and the best command line.
"""

from __future__ import annotations

import re
import sys
import textwrap
from typing import TextIO

from mlplab.sweeps.report.comparisons import Difference
from mlplab.sweeps.report.conclusions import Conclusions
from mlplab.sweeps.report.configuration_table import share_text
from mlplab.sweeps.report.results import Group, Results, value_text
from mlplab.terminal.output import count, plain, rounded, say, terminal_width
from mlplab.terminal.suggested import train_command
from mlplab.terminal.table import aligned

MAX_ROWS = 20
MAX_REASONS = 5
MAX_WIDTH = 100
_NUMBER = re.compile(r"\d[\d.]*(?:e[+-]?\d+)?")


def header(results: Results) -> list[str]:
    """Return the names of the columns of `cells`."""
    return [
        *results.axes,
        f"{results.headline} [95 %]",
        "median",
        "to best",
        "n",
        "failed",
        *(["solved"] if results.threshold is not None else []),
    ]


def cells(results: Results, group: Group, difference: Difference | None) -> list[str]:
    """Return the cells of a configuration.

    They are its values, the mean of the headline metric with its interval, the median, the
    difference to the best configuration, with a star if it is distinguishable, the number of seeds
    that the statistics contain, the number of failures, and the share of solved seeds.
    """
    statistics = group.statistics(results.headline)
    half = statistics.half_width
    return [
        *(value_text(group.values[key]) for key in results.axes),
        statistics.interval,
        "-" if statistics.median is None else rounded(statistics.median, half),
        "" if difference is None else _signed(difference),
        str(statistics.n),
        str(group.failures),
        *([share_text(results, group)] if results.threshold is not None else []),
    ]


def _signed(difference: Difference) -> str:
    text = rounded(difference.mean, (difference.high - difference.low) / 2)
    star = " *" if difference.is_distinguishable else ""
    return f"{'+' if difference.mean > 0 else ''}{text}{star}"


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


def print_table(
    results: Results, stream: TextIO | None = None, conclusions: Conclusions | None = None
) -> None:
    """Print the configurations, what they allow to conclude, the failures and the best command.

    `conclusions` are those of the results, if they are known.
    """
    stream = sys.stdout if stream is None else stream
    for line in lines(results, terminal_width(stream), conclusions):
        say(line, stream, strict=True)


def lines(
    results: Results, width: int | None = None, conclusions: Conclusions | None = None
) -> list[str]:
    """Return the lines of the table, its rows cut to `width` characters.

    There is no table before a job has ended with metrics, which decide how configurations rank.
    """
    output = [
        *configuration_lines(
            conclusions or Conclusions(results), width, f" in {results.folder / 'summary.md'}"
        ),
        *_failures(results),
    ]
    if best := best_command(results):
        output.append(f"best: {best}")
    return output


def configuration_lines(conclusions: Conclusions, width: int | None, rest: str) -> list[str]:
    """Return the best configurations and the remarks on all of them, wrapped to `width`; `rest`
    says where the other configurations are.
    """
    results = conclusions.results
    if not results.metric_names:
        return []
    differences = conclusions.comparisons.to_best
    shown = list(zip(results.groups, differences, strict=True))[:MAX_ROWS]
    table = [header(results), *(cells(results, *pair) for pair in shown)]
    output = [
        line if width is None or len(line) <= width else line[: width - 1] + "…"
        for line in aligned(table)
    ]
    if (more := len(results.groups) - MAX_ROWS) > 0:
        output.append(f"... and {more} more{rest}")
    stars = any(difference and difference.is_distinguishable for _, difference in shown)
    remarks = [*(["* distinguishable from the best"] if stars else []), *conclusions.remarks]
    return output + [
        line
        for remark in remarks
        for line in textwrap.wrap(plain(remark), min(width or MAX_WIDTH, MAX_WIDTH))
    ]


def _failures(results: Results) -> list[str]:
    """The most frequent reasons of failures."""
    failures = reasons(results)
    output = [
        f"{count(number, 'job')} {text} ({'the first is ' if number > 1 else ''}job {first})"
        for text, number, first in failures[:MAX_REASONS]
    ]
    if len(failures) > MAX_REASONS:
        output.append(
            f"... and {len(failures) - MAX_REASONS} more reasons in {results.folder / 'summary.md'}"
        )
    return output
