"""report.html: the results of a sweep as a standalone page that makes no requests."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mlplab.extras import installed, missing
from mlplab.io.files import write_text_atomic
from mlplab.io.html import render
from mlplab.sweeps.report.charts import axes, curves
from mlplab.sweeps.report.html_tables import failure_table, group_table, job_table
from mlplab.sweeps.report.results import Results
from mlplab.sweeps.report.text_table import best_command
from mlplab.terminal.output import note

_ASSETS = Path(__file__).parent / "assets"


def write_report(results: Results) -> None:
    """Write report.html into the sweep's folder; without plotly, print a note instead."""
    if not installed("plotly"):
        note(
            f"no report.html: {missing('the page', 'sweep', 'plotly')}; results.csv and summary.md"
            " are written"
        )
        return
    from plotly.offline import get_plotlyjs

    write_text_atomic(results.folder / "report.html", page(results, get_plotlyjs()))


def page(results: Results, plotly: str) -> str:
    """Return the HTML of the page, with the source of the plotly library inlined.

    Strings from users appear as text, never as markup or script.
    """
    command = best_command(results)
    return render(
        _ASSETS,
        "report.html",
        results=results,
        counts=Counter(job.status for job in results.jobs),
        command=command,
        best=results.groups[0].statistics(results.headline) if command else None,
        data={
            "headline": results.headline,
            "higher": results.higher_is_better,
            "groups": group_table(results),
            "jobs": job_table(results),
            "failures": failure_table(results),
            "curves": curves(results),
            "axes": axes(results),
        },
        plotly=plotly,
    )
