"""search.md and search.html: the results of a search, with the figures of Optuna."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path

from mlplab.config.override_lines import key_of
from mlplab.config.search_space import trial_overrides
from mlplab.extras import installed
from mlplab.io.files import write_text_atomic
from mlplab.io.html import render
from mlplab.sweeps.report.results import JobResult, Results
from mlplab.sweeps.report.write import write_results
from mlplab.sweeps.search.figures import MAX_TRIALS, figures
from mlplab.sweeps.search.retrain import Retrained, Retraining
from mlplab.sweeps.search.study import Study
from mlplab.sweeps.search.trial_results import job_value
from mlplab.terminal.suggested import train_command
from mlplab.terminal.table import aligned

_ASSETS = Path(__file__).parent / "assets"
PLOTLY = "plotly.min.js"
MAX_ROWS = 20
# A figure is as wide as the page, and scrolls on pages narrower than this fraction of the width
# that Optuna requests.
MIN_WIDTH_FRACTION = 0.6
# These have several axes next to one another, for which Optuna requests no width.
WIDE_FIGURES, WIDE = ("Contours", "Parallel"), 1100


def write_search(
    folder: Path, study: Study, results: Results, retraining: Retraining | None = None
) -> None:
    """Write search.md into the sweep's folder, and search.html if plotly is installed; summary.md
    and report.html show the text of search.md as well.
    """
    text = "\n".join(lines(study, results, retraining))
    write_text_atomic(folder / "search.md", f"```\n{text}\n```\n")
    write_results(dataclasses.replace(results, conclusion=text))
    if installed("plotly"):
        write_page(folder, study, results.name, text)


def write_page(folder: Path, study: Study, name: str, text: str) -> None:
    """Write search.html: the text of search.md and the figures. plotly's program is in a file of
    its own next to it.
    """
    import plotly.io
    from plotly.offline import get_plotlyjs

    drawn = figures(study.optuna_study, study.objectives, study.best_first(MAX_TRIALS))
    if drawn:
        write_text_atomic(folder / PLOTLY, get_plotlyjs())
    entries: list[dict[str, object]] = []
    for heading, figure in drawn.items():
        figure.update_layout(
            template="plotly_white", title=None, margin={"l": 60, "r": 20, "t": 20, "b": 50}
        )
        width = figure.layout.width or (WIDE if heading.startswith(WIDE_FIGURES) else 0)
        min_width = round(MIN_WIDTH_FRACTION * width)
        figure.layout.width = None
        drawing = plotly.io.to_html(
            figure, full_html=False, include_plotlyjs=False, config={"responsive": True}
        )
        entries.append({"heading": heading, "min_width": min_width, "drawing": drawing})
    page = render(_ASSETS, "search.html", name=name, summary=text, figures=entries, plotly=PLOTLY)
    write_text_atomic(folder / "search.html", page)


def lines(study: Study, results: Results, retraining: Retraining | None = None) -> list[str]:
    """Return the counts of trials, the updates in total, and the best trial or the Pareto front; of
    configurations that were trained again, what they reached with new seeds.
    """
    steps = sum(int(job.facts.get("steps", 0)) for job in results.jobs)
    counts = ", ".join(f"{number} {state}" for state, number in study.counts().items())
    output = [f"{len(study.trials())} trials: {counts}; {steps:,} updates"]
    if not study.best():
        return [*output, "No trial was trained to its end."]
    if retraining is not None and any(one.is_done for one in retraining.configurations):
        return [*output, *_retrained_lines(study, retraining)]
    return [*output, *_best_lines(study, results)]


def _best_lines(study: Study, results: Results) -> list[str]:
    """The best trial or the Pareto front by the values of the search."""
    best = study.best()
    params = _short_overrides(study, best[:MAX_ROWS])
    values = study.values(best)
    rows = [
        [str(number), *(f"{value:.6g}" for value in values[number]), params.get(number, "")]
        for number in sorted(best, key=lambda number: (values[number][0], number))[:MAX_ROWS]
    ]
    table = aligned([["trial", *study.objectives, "parameters"], *rows])
    output = ["Pareto front:" if len(study.objectives) > 1 else "best:", *table]
    if len(best) > MAX_ROWS:
        output.append(f"... and {len(best) - MAX_ROWS} more")
    if len(study.objectives) == 1 and (jobs := study.jobs_of(best[0])):
        output.append(_again(next(job for job in results.jobs if job.number in jobs), results))
    return output


def _retrained_lines(study: Study, retraining: Retraining) -> list[str]:
    """The configurations that were trained again, and the best of them by the new seeds."""
    one_objective = len(study.objectives) == 1
    best = retraining.best(study.signs)
    shown = retraining.configurations[:MAX_ROWS]
    params = _short_overrides(study, [one.trial for one in shown])
    values = study.values(one.trial for one in retraining.configurations)
    rows = [
        [
            f"{one.trial}{'*' if one in best else ''}",
            *(
                cell
                for name, value in zip(study.objectives, values[one.trial], strict=True)
                for cell in (f"{value:.4g}", *([_new_value(one, name)] if "/" in name else []))
            ),
            params[one.trial],
        ]
        for one in shown
    ]
    first, last = retraining.seeds[0], retraining.seeds[-1]
    names = [
        cell
        for name in study.objectives
        for cell in (name, *([f"new {name} [95 %]"] if "/" in name else []))
    ]
    output = [
        f"trained again with seeds {first} to {last}, which the search has not used, best trial"
        " first:",
        *aligned([["trial", *names, "parameters"], *rows]),
    ]
    if len(retraining.configurations) > MAX_ROWS:
        output.append(f"... and {len(retraining.configurations) - MAX_ROWS} more")
    if not one_objective:
        return [*output, "* on the Pareto front of the new seeds"]
    name, chosen = study.objectives[0], best[0]
    output.append(
        f"best by the new seeds (*): trial {chosen.trial}, {name} {_new_value(chosen, name)};"
        f" in the search, which compared {len(study.trials()):,} trials, it had"
        f" {values[chosen.trial][0]:.4g}"
    )
    test = f"test/{name.partition('/')[2]}"
    if test != name and chosen.jobs.statistics(test).mean is not None:
        output.append(f"its {test} with the new seeds: {_new_value(chosen, test)}")
    return [*output, _again(next(j for j in chosen.jobs.jobs if j.counts), retraining.results)]


def _new_value(one: Retrained, name: str) -> str:
    """The mean of a metric over the new seeds with its interval, and how many jobs failed."""
    if "/" not in name and one.result is not None:
        return f"{statistics.fmean(job_value(job, name) for job in one.jobs.jobs):.6g}"
    failures = one.jobs.failures
    note = f" ({failures} of {len(one.jobs.jobs)} failed)" if failures else ""
    return f"{one.jobs.statistics(name).interval}{note}"


def _again(job: JobResult, results: Results) -> str:
    overrides = [one for one in job.overrides if key_of(one) != "validation.fold"]
    return f"again: {train_command(overrides, results.flags)}"


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
