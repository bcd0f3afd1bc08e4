"""search.md and search.html: what a search found. The figures are Optuna's."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from mlplab.extras import installed
from mlplab.io.files import write_text_atomic
from mlplab.sweeps.report.results import Results
from mlplab.sweeps.report.text_table import command
from mlplab.sweeps.search.space import overrides
from mlplab.sweeps.search.study import Study
from mlplab.terminal.table import aligned

MAX_ROWS = 20
# of the width that Optuna asks for a figure: it is as wide as the page, and scrolled where the page
# has less than this
LEAST = 0.6


def write_search(folder: Path, study: Study, results: Results) -> None:
    """Put search.md and search.html into the sweep's folder."""
    write_text_atomic(folder / "search.md", "```\n" + "\n".join(lines(study, results)) + "\n```\n")
    if not installed("plotly"):  # the text says the same
        return
    import plotly.io

    parts: list[str] = []
    for heading, figure in study.figures().items():
        figure.update_layout(
            template="plotly_white", title=None, margin={"l": 60, "r": 20, "t": 20, "b": 50}
        )
        least, figure.layout.width = round(LEAST * (figure.layout.width or 0)), None
        drawn = plotly.io.to_html(
            figure,
            full_html=False,
            include_plotlyjs="inline" if not parts else False,
            config={"responsive": True},
        )
        parts.append(
            f'<h2>{html.escape(heading)}</h2><div class="figure"><div'
            f' style="min-width:{least}px">{drawn}</div></div>'
        )
    style = (
        "body{font:16px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0"
        " 1rem}.figure{overflow-x:auto}"
        "pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f6f6f6;padding:1rem}"
    )
    text = html.escape("\n".join(lines(study, results)))
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(results.name)}</title><style>{style}</style></head><body>"
    )
    write_text_atomic(
        folder / "search.html",
        f"{page}<h1>{html.escape(results.name)}</h1><pre>{text}</pre>{''.join(parts)}"
        "</body></html>\n",
    )


def lines(study: Study, results: Results) -> list[str]:
    """How many trials ended how, the steps that were trained, and the best, or the Pareto front."""
    steps = sum(int(job.facts.get("steps", 0)) for job in results.jobs)
    counts = ", ".join(f"{number} {state}" for state, number in study.counts().items())
    found = [f"{len(study.trials())} trials: {counts}; {steps:,} updates"]
    best = study.best()
    if not best:
        return [*found, "No trial was trained to its end."]
    words = _words(study, best[:MAX_ROWS])
    values = study.values(best)
    rows = [["trial", *study.objectives, "chosen"]]
    ordered = sorted(best, key=lambda number: values[number][0])
    rows += [
        [str(number), *(f"{value:.6g}" for value in values[number]), words.get(number, "")]
        for number in ordered[:MAX_ROWS]
    ]
    found += ["Pareto front:" if len(study.objectives) > 1 else "best:", *aligned(rows)]
    if len(best) > MAX_ROWS:
        found.append(f"... and {len(best) - MAX_ROWS} more")
    if len(study.objectives) == 1:
        typed = next(
            (
                job.overrides
                for job in results.jobs
                if job.counts and job.metrics.get(study.objectives[0]) == values[best[0]][0]
            ),
            None,
        )
        if typed is not None:
            found.append(f"again: {command(typed)}")
    return found


def _words(study: Study, numbers: Sequence[int]) -> dict[int, str]:
    """As they would be typed, numbers short."""
    trials = study.trials()
    return {
        number: " ".join(
            overrides(
                {
                    name: f"{value:.4g}" if isinstance(value, float) else value
                    for name, value in trials[number].params.items()
                }
            )
        )
        for number in numbers
    }
