"""The configurations of a sweep with everything that is computed for them: as text for tables, and
as numbers for CSV and JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mlplab.runs.listing import as_override
from mlplab.sweeps.report.comparisons import Difference
from mlplab.sweeps.report.conclusions import Conclusions, modes_text
from mlplab.sweeps.report.formats import latex_table, markdown_table
from mlplab.sweeps.report.results import Group, Results, value_text
from mlplab.sweeps.report.statistics import Statistics
from mlplab.terminal.output import rounded

SEED_COUNTS = ("n", "failed", "diverged")


def text_table(
    conclusions: Conclusions, limit: int | None = None
) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of all configurations, or of the `limit` best, best first.

    The columns are the values, the mean with its interval, median and range, interquartile mean,
    standard deviation, the difference to the best with its corrected interval and p-value, counts
    of seeds, and the share of solved seeds and two groups of seeds where there are any.
    """
    results = conclusions.results
    groups = results.groups[:limit]
    modes = [modes_text(group, results.headline) for group in groups]
    header = [
        *results.axes,
        f"{results.headline} [95 %]",
        "median [range]",
        "IQM",
        "std",
        "minus best [95 %, Holm]",
        "p (Holm)",
        *SEED_COUNTS,
        *([f"solved ({_threshold(results)})"] if results.threshold is not None else []),
        *(["seeds"] if any(modes) else []),
    ]
    rows = [
        [
            *(value_text(group.values[key]) for key in results.axes),
            *_statistics(group.statistics(results.headline)),
            *_difference(difference),
            *map(str, _counts(results, group)),
            *([share_text(results, group)] if results.threshold is not None else []),
            *([text] if any(modes) else []),
        ]
        for group, difference, text in zip(
            groups, conclusions.comparisons.to_best[:limit], modes, strict=True
        )
    ]
    return header, rows


def markdown(conclusions: Conclusions) -> str:
    """Return the table of configurations and the conclusions in Markdown."""
    remarks = "\n".join(f"- {remark}" for remark in conclusions.remarks)
    return f"{markdown_table(*text_table(conclusions))}\n\n{remarks}".rstrip() + "\n"


def latex(conclusions: Conclusions) -> str:
    """Return the values, means and differences to the best as a tabular of LaTeX."""
    header, rows = text_table(conclusions)
    num_axes = len(conclusions.results.axes)
    columns = [*range(num_axes), num_axes, num_axes + 4, num_axes + 6]
    chosen = [[row[i] for i in columns] for row in (header, *rows)]
    remarks = "".join(f"% {remark}\n" for remark in conclusions.remarks)
    return f"{latex_table(chosen[0], chosen[1:])}\n{remarks}"


def records(conclusions: Conclusions) -> list[dict[str, object]]:
    """Return the numbers of each configuration, best first; None where there is none.

    `difference` is the configuration minus the best one, with the ends of its corrected interval,
    its p-value alone and corrected, and the number of shared seeds (`paired`, or not if Welch's
    test was used).
    """
    results = conclusions.results
    return [
        {
            **{key: as_override(group.values[key]) for key in results.axes},
            "metric": results.headline,
            **_numbers(group.statistics(results.headline)),
            **dict(zip(SEED_COUNTS[1:], _counts(results, group)[1:], strict=True)),
            **({"solved": _share(results, group)} if results.threshold is not None else {}),
            "two_groups": modes_text(group, results.headline) or None,
            **difference_numbers(difference),
        }
        for group, difference in zip(results.groups, conclusions.comparisons.to_best, strict=True)
    ]


def difference_numbers(difference: Difference | None) -> dict[str, object]:
    """Return the numbers of a difference; None for each if there is none."""
    d = difference
    return {
        "difference": d and d.mean,
        "difference_low": d and d.low,
        "difference_high": d and d.high,
        "p": d and d.p,
        "p_holm": d and d.adjusted,
        "distinguishable": d and d.is_distinguishable,
        "shared": d and d.n,
        "paired": d and d.paired,
    }


def document(conclusions: Conclusions) -> dict[str, object]:
    """Return everything as plain values for JSON."""
    results = conclusions.results
    tests = {name: results.groups[0].statistics(name) for name in results.test_metrics}
    return {
        "format": "mlplab-conclusions-1",
        "name": results.name,
        "metric": results.headline,
        "higher_is_better": results.higher_is_better,
        "diverged": results.diverged,
        "threshold": results.threshold,
        "remarks": conclusions.remarks,
        "test": {name: _numbers(statistics) for name, statistics in tests.items()},
        "configurations": records(conclusions),
        "effects": [
            {
                "key": effect.key,
                "averaged_over": list(effect.others),
                "values": records(Conclusions(effect.results)),
                "pairs": [
                    {
                        "first": as_override(effect.results.groups[j].values[effect.key]),
                        "second": as_override(effect.results.groups[i].values[effect.key]),
                        **difference_numbers(difference),
                    }
                    for (i, j), difference in effect.comparisons.all_pairs.items()
                ],
            }
            for effect in conclusions.effects
        ],
    }


def csv_rows(rows: Sequence[Mapping[str, object]]) -> list[list[object]]:
    """Return a header and the rows of records, which have the same keys."""
    return [list(rows[0]), *(list(row.values()) for row in rows)] if rows else []


def _statistics(statistics: Statistics) -> list[str]:
    if statistics.median is None or statistics.iqm is None:
        return ["-"] * 4
    ends = [
        rounded(x, statistics.half_width)
        for x in (statistics.low, statistics.high)
        if x is not None
    ]
    return [
        statistics.interval,
        f"{rounded(statistics.median, statistics.half_width)} [{', '.join(ends)}]",
        rounded(statistics.iqm, statistics.half_width),
        statistics.spread,
    ]


def _numbers(statistics: Statistics) -> dict[str, object]:
    return {
        "n": statistics.n,
        "mean": statistics.mean,
        "mean_low": statistics.interval_low,
        "mean_high": statistics.interval_high,
        "std": statistics.std,
        "median": statistics.median,
        "lowest": statistics.low,
        "highest": statistics.high,
        "iqm": statistics.iqm,
    }


def _difference(difference: Difference | None) -> list[str]:
    if difference is None:
        return ["", ""]
    return [difference.text, p_text(difference.adjusted)]


def p_text(p: float) -> str:
    """Return a p-value with two digits, or "< 0.0001"."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def _counts(results: Results, group: Group) -> tuple[int, int, int]:
    diverged = group.num_diverged
    return group.statistics(results.headline).n, group.failures - diverged, diverged


def _share(results: Results, group: Group) -> float | None:
    return group.share(results.headline, results.threshold or 0.0)


def share_text(results: Results, group: Group) -> str:
    """Return the share of solved seeds, such as "67 %"."""
    share = _share(results, group)
    return "-" if share is None else f"{100 * share:.0f} %"


def _threshold(results: Results) -> str:
    sign = "≥" if results.higher_is_better else "≤"
    return f"{sign} {results.threshold if results.threshold is not None else math.nan:g}"
