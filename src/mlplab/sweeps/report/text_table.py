"""The results of a sweep as a person reads them: one row a configuration, best first, then what
failed, then what to type.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from typing import TextIO

from mlplab.sweeps.report.results import Group, Results, shown
from mlplab.terminal.output import digits, is_terminal, plain, say

MAX_ROWS = 20
MAX_REASONS = 5
_NUMBER = re.compile(r"\d[\d.]*(?:e[+-]?\d+)?")


def header(results: Results) -> list[str]:
    """The names of the columns of `cells`."""
    return [
        *results.axes,
        f"{results.headline} (mean ± 95 %)",
        "std",
        "n",
        "failed",
        *_besides(results),
    ]


def cells(results: Results, group: Group) -> list[str]:
    """A configuration: its values, the headline metric with its interval and spread over n seeds,
    failures, and the test part's metric.
    """
    found = group.statistics(results.headline)
    interval = (
        "-"
        if found.mean is None
        else digits(found.mean)
        + (f" ± {_two(found.half_width)}" if found.half_width is not None else "")
    )
    std = "-" if found.std is None else _two(found.std)
    others = [group.statistics(name).mean for name in _besides(results)]
    values = [value_text(group.values[key]) for key in results.axes]
    return [
        *values,
        interval,
        std,
        str(found.n),
        str(group.failures),
        *("-" if mean is None else digits(mean) for mean in others),
    ]


def _besides(results: Results) -> list[str]:
    """The same metric on the test part, which is shown and never chooses."""
    twin = "test/" + results.headline.partition("/")[2]
    return [twin] if twin in results.metric_names and twin != results.headline else []


def value_text(value: object) -> str:
    """A swept value in a cell."""
    cell = shown(value)
    return "null" if cell is None else f"{cell:g}" if isinstance(cell, float) else plain(str(cell))


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def reasons(results: Results) -> list[tuple[str, int, int]]:
    """(status: reason, how many jobs, the first of them), the most frequent first. Reasons that
    differ in numbers only are one, with dots for them.
    """
    found: dict[str, list[tuple[str, int]]] = {}
    for job in results.jobs:
        if job.fails:
            text = f"{job.status}: {plain(job.reason)}"
            found.setdefault(_NUMBER.sub("…", text), []).append((text, job.number))
    ordered = sorted(found.items(), key=lambda item: -len(item[1]))
    return [(key if len(jobs) > 1 else jobs[0][0], len(jobs), jobs[0][1]) for key, jobs in ordered]


def best_command(results: Results) -> str:
    """The command line that trains the best configuration; empty where no job was done."""
    if not results.groups or results.groups[0].statistics(results.headline).mean is None:
        return ""
    return command(
        [word for word in results.groups[0].words if not word.startswith("validation.fold=")]
    )


def command(words: Sequence[str]) -> str:
    """A command line for a POSIX shell."""
    return " ".join(["mlplab", "train", *map(shlex.quote, words)])


def print_table(results: Results, stream: TextIO | None = None) -> None:
    """Print the configurations, the failures and the best command line."""
    stream = sys.stdout if stream is None else stream
    for line in lines(results, shutil.get_terminal_size().columns if is_terminal(stream) else None):
        say(line, stream, strict=True)


def lines(results: Results, width: int | None = None) -> list[str]:
    """The table in lines of at most `width` signs."""
    table = [header(results), *(cells(results, group) for group in results.groups[:MAX_ROWS])]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    texts = {
        i
        for i, _ in enumerate(results.axes)
        if any(isinstance(group.values[results.axes[i]], str) for group in results.groups)
    }
    out = []
    for row in table:
        line = "  ".join(
            f"{cell:<{w}}" if i in texts else f"{cell:>{w}}"
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        out.append(
            line.rstrip() if width is None or len(line) <= width else line[: width - 1] + "…"
        )
    if (more := len(results.groups) - MAX_ROWS) > 0:
        out.append(f"... and {more} more in {results.folder / 'summary.md'}")
    failures = reasons(results)
    for text, number, first in failures[:MAX_REASONS]:
        out.append(
            f"{number} {'job' if number == 1 else 'jobs'} {text}"
            + (f" (the first is job {first})" if number > 1 else f" (job {first})")
        )
    if len(failures) > MAX_REASONS:
        out.append(
            f"... and {len(failures) - MAX_REASONS} more reasons in {results.folder / 'summary.md'}"
        )
    if best := best_command(results):
        out.append(f"best: {best}")
    return out
