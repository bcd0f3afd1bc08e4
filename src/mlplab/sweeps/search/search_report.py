"""search.md and search.html: the results of a search, with the figures of Optuna."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlplab.extras import installed
from mlplab.io.files import write_text_atomic
from mlplab.io.html import render
from mlplab.sweeps.report.results import Results
from mlplab.sweeps.search.space import trial_overrides
from mlplab.sweeps.search.study import Study
from mlplab.terminal.suggested import train_command
from mlplab.terminal.table import aligned

_ASSETS = Path(__file__).parent / "assets"
MAX_ROWS = 20
# A figure is as wide as the page, and scrolls on pages narrower than this fraction of the width
# that Optuna requests.
MIN_WIDTH_FRACTION = 0.6


def write_search(folder: Path, study: Study, results: Results) -> None:
    """Write search.md and, if plotly is installed, search.html into the sweep's folder."""
    summary = "\n".join(lines(study, results))
    write_text_atomic(folder / "search.md", f"```\n{summary}\n```\n")
    if not installed("plotly"):  # search.md has the same text
        return
    import plotly.io

    figures: list[dict[str, object]] = []
    for heading, figure in study.figures().items():
        figure.update_layout(
            template="plotly_white", title=None, margin={"l": 60, "r": 20, "t": 20, "b": 50}
        )
        min_width = round(MIN_WIDTH_FRACTION * (figure.layout.width or 0))
        figure.layout.width = None
        drawing = plotly.io.to_html(
            figure,
            full_html=False,
            include_plotlyjs="inline" if not figures else False,
            config={"responsive": True},
        )
        figures.append({"heading": heading, "min_width": min_width, "drawing": drawing})
    write_text_atomic(
        folder / "search.html",
        render(_ASSETS, "search.html", name=results.name, summary=summary, figures=figures),
    )


def lines(study: Study, results: Results) -> list[str]:
    """Return the counts of trials, the updates in total, and the best trial or the Pareto front."""
    steps = sum(int(job.facts.get("steps", 0)) for job in results.jobs)
    counts = ", ".join(f"{number} {state}" for state, number in study.counts().items())
    output = [f"{len(study.trials())} trials: {counts}; {steps:,} updates"]
    best = study.best()
    if not best:
        return [*output, "No trial was trained to its end."]
    params = _short_overrides(study, best[:MAX_ROWS])
    values = study.values(best)
    rows = [
        [str(number), *(f"{value:.6g}" for value in values[number]), params.get(number, "")]
        for number in sorted(best, key=lambda number: values[number][0])[:MAX_ROWS]
    ]
    table = aligned([["trial", *study.objectives, "parameters"], *rows])
    output += ["Pareto front:" if len(study.objectives) > 1 else "best:", *table]
    if len(best) > MAX_ROWS:
        output.append(f"... and {len(best) - MAX_ROWS} more")
    if len(study.objectives) == 1:
        output += [
            f"again: {train_command(job.overrides, results.flags)}"
            for job in results.jobs
            if job.counts and job.metrics.get(study.objectives[0]) == values[best[0]][0]
        ][:1]
    return output


def _short_overrides(study: Study, numbers: Sequence[int]) -> dict[int, str]:
    """Return the overrides of each trial, with numbers rounded to four digits."""
    trials = study.trials()
    return {
        number: " ".join(
            trial_overrides(
                {
                    name: f"{value:.4g}" if isinstance(value, float) else value
                    for name, value in trials[number].params.items()
                }
            )
        )
        for number in numbers
    }
