"""The table of a sweep in Python: a DataFrame that shows what the sweep found.

Import it only after `require`, since it needs pandas.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from mlplab.display.fragments import details_html, table_html
from mlplab.sweeps.report.conclusions import Conclusions
from mlplab.sweeps.report.results import Results, columns, rows
from mlplab.sweeps.report.text_table import best_command, cells, header
from mlplab.terminal.output import count, plain

MAX_CONFIGURATIONS = 10
MAX_OPEN_ROWS = 6


class SweepFrame(pd.DataFrame):  # type: ignore[misc]  # pandas is untyped
    """The jobs of a sweep, one row each: job, status, swept keys, metrics, epochs, seconds.

    It is a DataFrame, and what is derived from it, as by `table[...]`, is a plain one. In a
    notebook it shows the configurations, best first. `table.attrs["folder"]` is the sweep's folder.
    """

    # Texts only, so that a table can be pickled.
    _metadata = ["summary", "summary_html", "original"]  # noqa: RUF012
    summary: str = ""
    summary_html: str = ""
    original: tuple[int, int] = (0, 0)

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    @classmethod
    def of(cls, results: Results, conclusions: Conclusions | None = None) -> SweepFrame:
        """Return the table of results.csv; `conclusions` are those of the results, if known."""
        frame = cls(rows(results), columns=columns(results))
        conclusions = Conclusions(results) if conclusions is None else conclusions
        frame.summary = "\n".join(_lines(results))
        frame.summary_html = _html(conclusions)
        frame.original = frame.shape
        frame.attrs["folder"] = str(results.folder)
        return frame

    def __repr__(self) -> str:
        return "\n".join(filter(None, [super().__repr__(), self.summary]))

    def _repr_html_(self) -> str | None:
        """Return the ranked configurations and the jobs as HTML, which notebooks show."""
        jobs: str | None = super()._repr_html_()
        if not self.summary_html or jobs is None:
            return jobs
        return self.summary_html + details_html(
            f"the table, {count(len(self), 'row')}",
            jobs,
            self.shape != self.original or len(self) <= MAX_OPEN_ROWS,
        )


def _counts(results: Results) -> str:
    """For example: 64 jobs: 63 done, 1 diverged."""
    statuses = Counter(job.status for job in results.jobs)
    numbers = ", ".join(f"{number:,} {plain(status)}" for status, number in statuses.items())
    return f"{count(len(results.jobs), 'job')}: {numbers}"


def _lines(results: Results) -> list[str]:
    best = best_command(results)
    return [f"{_counts(results)}, in {results.folder}", *([f"best: {best}"] if best else [])]


def _html(conclusions: Conclusions) -> str:
    results = conclusions.results
    pairs = []
    if results.metric_names:
        pairs = list(zip(results.groups, conclusions.comparisons.to_best, strict=True))
    shown = pairs[:MAX_CONFIGURATIONS]
    stars = any(difference and difference.is_distinguishable for _, difference in shown)
    best = best_command(results)
    return table_html(
        plain(results.name),
        _counts(results),
        str(results.folder),
        header(results) if shown else [],
        [cells(results, *pair) for pair in shown],
        [
            *([f"and {left:,} more in summary.md"] if (left := len(pairs) - len(shown)) else []),
            *(["* distinguishable from the best"] if stars else []),
            *map(plain, conclusions.remarks[:3]),
            *([f"best: {best}"] if best else []),
        ],
    )
