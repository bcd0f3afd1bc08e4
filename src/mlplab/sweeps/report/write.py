"""The files of a finished or interrupted sweep."""

from __future__ import annotations

from mlplab.io.files import write_bytes_atomic, write_text_atomic
from mlplab.sweeps.report.conclusions import Conclusions
from mlplab.sweeps.report.html_page import write_report
from mlplab.sweeps.report.results import Results, columns, rows
from mlplab.sweeps.report.summary_md import summary
from mlplab.tracking.metrics_file import table_bytes


def write_results(results: Results) -> Conclusions:
    """Write results.csv, summary.md and report.html into the sweep's folder, each atomically, and
    return what they conclude.
    """
    write_bytes_atomic(
        results.folder / "results.csv", table_bytes([columns(results), *rows(results)])
    )
    conclusions = Conclusions(results)
    write_text_atomic(results.folder / "summary.md", summary(conclusions))
    write_report(conclusions)
    return conclusions
