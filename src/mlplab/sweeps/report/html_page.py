"""report.html: the results of a sweep as a standalone page that makes no requests."""

from __future__ import annotations

import html
import json
from collections import Counter
from pathlib import Path
from typing import Any

from mlplab.extras import installed, missing
from mlplab.io.files import write_text_atomic
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
    data = _data(results)
    failures = len(data["failures"]["rows"])
    metric_options = "".join(
        f"<option{' selected' if name == results.headline else ''}>{_text(name)}</option>"
        for name in data["curves"]["metrics"]
    )
    sections = [
        f"<h1>{_text(results.name)}</h1>",
        f'<p class="soft">{_counts(results)}</p>',
        _best(results),
        "<h2>Configurations</h2>",
        f'<p class="soft">{_order(results)}</p><div id="groups"></div>',
        _axes_section(results, data["axes"]),
        "<h2>Curves</h2>",
        f'<p class="soft">{_text(data["curves"]["said"])}</p>',
        (
            '<div class="controls"><label>metric <select id="metric">'
            + metric_options
            + '</select></label><label><input type="checkbox" id="log"> logarithmic</label></div>'
            '<div id="curves" class="chart"></div>'
            if data["curves"]["groups"]
            else ""
        ),
        f'<h2>Failures ({failures})</h2><div id="failures"></div>' if failures else "",
        f"<h2>Jobs ({len(results.jobs)})</h2>",
        (
            '<div class="controls"><label>only rows with <input id="filter" type="search"'
            ' autocomplete="off"></label></div><div id="jobs"></div>'
        ),
    ]
    data_json = (
        json.dumps(data, allow_nan=False, separators=(",", ":"))
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026")
    )
    return "\n".join(
        [
            "<!doctype html>",
            (
                f'<html lang="en"><head><meta charset="utf-8"><title>{_text(results.name)} ·'
                " mlplab</title>"
            ),
            (
                '<meta name="viewport" content="width=device-width, initial-scale=1"><link'
                ' rel="icon" href="data:,">'
            ),
            f"<style>{(_ASSETS / 'report.css').read_text(encoding='utf-8')}</style></head>",
            f"<body><main>{''.join(sections)}</main>",
            f'<script type="application/json" id="data">{data_json}</script>',
            f"<script>{plotly}</script>",
            f"<script>{(_ASSETS / 'report.js').read_text(encoding='utf-8')}</script></body></html>",
            "",
        ]
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def _counts(results: Results) -> str:
    counts = Counter(job.status for job in results.jobs)
    swept = ", ".join(f"<code>{_text(key)}</code>" for key in results.keys) or "nothing"
    return (
        f"{len(results.jobs):,} jobs:"
        f" {', '.join(f'{n:,} {_text(status)}' for status, n in counts.items())}. Swept: {swept}."
    )


def _best(results: Results) -> str:
    command = best_command(results)
    if not command:
        return '<div class="best">No job was trained to its end.</div>'
    statistics = results.groups[0].statistics(results.headline)
    assert statistics.mean is not None
    interval = f" ± {statistics.half_width:.2g}" if statistics.half_width is not None else ""
    return (
        f'<div class="best"><p><strong>Best</strong>: {_text(results.headline)}'
        f" {statistics.mean:.4g}{interval} over {statistics.n}"
        f" {results.replicates[:-1] if statistics.n == 1 else results.replicates}</p><div"
        f' class="row"><code id="command">{_text(command)}</code><button type="button"'
        ' id="copy">copy</button></div></div>'
    )


def _order(results: Results) -> str:
    split = results.headline.partition("/")[0]
    note_on_test = "The test split never affects the order. " if split != "test" else ""
    return (
        f"Best first by the mean of {_text(results.headline)}"
        f" ({'higher' if results.higher_is_better else 'lower'} is better). {note_on_test}± is the"
        f" half width of the 95 % confidence interval of the mean over {results.replicates}. Failed"
        " and diverged jobs are counted, not averaged."
    )


def _axes_section(results: Results, chart: dict[str, Any] | None) -> str:
    if chart is None:
        return ""
    title = {"points": "Along the axis", "heat": "Over both axes", "parallel": "All axes at once"}[
        chart["kind"]
    ]
    return (
        f'<h2>{title}</h2><p class="soft">Mean of {_text(results.headline)} over'
        f' seeds{chart["said"]}.</p><div id="axes" class="chart"></div>'
    )


def _data(results: Results) -> dict[str, Any]:
    return {
        "headline": results.headline,
        "higher": results.higher_is_better,
        "groups": group_table(results),
        "jobs": job_table(results),
        "failures": failure_table(results),
        "curves": curves(results),
        "axes": axes(results),
    }
