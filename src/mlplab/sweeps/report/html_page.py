"""report.html: the results of a sweep as a standalone page that makes no requests."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mlplab.io.files import write_text_atomic
from mlplab.io.html import render
from mlplab.sweeps.report.axis_charts import axes, effect_charts, forest
from mlplab.sweeps.report.charts import curves
from mlplab.sweeps.report.conclusions import Conclusions, family_text
from mlplab.sweeps.report.html_tables import failure_table, group_table, job_table
from mlplab.sweeps.report.text_table import best_command, reasons

_ASSETS = Path(__file__).parent / "assets"
MAX_REASONS = 20


def write_report(conclusions: Conclusions) -> None:
    """Write report.html into the sweep's folder."""
    write_text_atomic(conclusions.results.folder / "report.html", page(conclusions))


def page(conclusions: Conclusions) -> str:
    """Return the HTML of the page, which draws its charts itself.

    Strings from users appear as text, never as markup or script. Tables and charts of many jobs
    show the best configurations and a sample of jobs, so that the page stays small.
    """
    results = conclusions.results
    command = best_command(results)
    return render(
        _ASSETS,
        "report.html",
        results=results,
        counts=Counter(job.status for job in results.jobs),
        command=command,
        best=results.groups[0].statistics(results.headline) if command else None,
        remarks=conclusions.remarks if command else [],
        family=family_text(conclusions.comparisons),
        reasons=reasons(results)[:MAX_REASONS],
        data={
            "headline": results.headline,
            "higher": results.higher_is_better,
            "forest": forest(conclusions),
            "effects": effect_charts(conclusions),
            "groups": group_table(conclusions),
            "jobs": job_table(results),
            "failures": failure_table(results),
            "curves": curves(results),
            "axes": axes(results),
        },
    )
