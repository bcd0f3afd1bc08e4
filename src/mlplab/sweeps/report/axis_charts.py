"""The charts of configurations: differences to the best, the effect of each key, and the headline
metric over one or two keys. All are plain values, which the page draws.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from mlplab.sweeps.report.comparisons import Difference
from mlplab.sweeps.report.conclusions import Conclusions, label
from mlplab.sweeps.report.configuration_table import p_text
from mlplab.sweeps.report.regroup import Effect, with_groups
from mlplab.sweeps.report.results import Group, Results, is_number, value_text
from mlplab.terminal.output import rounded

MAX_FOREST_ROWS = 100
MAX_MAPS = 6
MAX_MAP_VALUES = 50
MAX_POINTS = 500
"""Configurations that a chart of one key shows; of more, evenly chosen ones."""

Chart = dict[str, object]


def forest(conclusions: Conclusions) -> Chart | None:
    """Return the differences of the best configurations to the best one; None without any."""
    results, comparisons = conclusions.results, conclusions.comparisons
    if not comparisons.has_tests:
        return None
    pairs = list(zip(results.groups, comparisons.to_best, strict=True))
    best = comparisons.best
    tested = [pairs[best], *(pair for pair in pairs[best + 1 :] if pair[1] is not None)]
    rows = [
        _row(", ".join(map(value_text, group.values.values())), group, results.headline, difference)
        for group, difference in tested[:MAX_FOREST_ROWS]
    ]
    return _forest(rows, len(tested), ", ".join(results.axes), results)


def effect_charts(conclusions: Conclusions) -> list[Chart]:
    """Return the chart of each key: the differences of its values to the best one. Numbers are
    sorted, others are in the order of their means.
    """
    return [
        _effect_chart(effect)
        for effect in conclusions.effects
        if effect.others and effect.comparisons.has_tests
    ]


def _effect_chart(effect: Effect) -> Chart:
    results = effect.results
    pairs = list(zip(results.groups, effect.comparisons.to_best, strict=True))
    if all(is_number(group.values[effect.key]) for group in results.groups):
        pairs.sort(key=lambda pair: pair[0].values[effect.key])
    rows = [
        _row(value_text(group.values[effect.key]), group, results.headline, difference)
        for group, difference in pairs
        if difference is not None or group is results.groups[0]
    ]
    over = {"key": effect.key, "others": list(effect.others)}
    return over | _forest(rows, len(rows), effect.key, results)


def _forest(rows: list[Chart], total: int, keys: str, results: Results) -> Chart:
    return {
        "rows": rows,
        "total": total,
        "keys": keys,
        "measure": f"{results.headline} minus that of the best",
    }


def _row(name: str, group: Group, metric: str, difference: Difference | None) -> Chart:
    """A row of a forest plot; without a difference, of the best configuration."""
    d, statistics = difference, group.statistics(metric)
    mean = "-" if statistics.mean is None else rounded(statistics.mean, statistics.half_width)
    p = "" if d is None else f"; {d.text} minus the best, p = {p_text(d.adjusted)} (Holm)"
    return {
        "label": name,
        "mean": mean,
        "difference": 0.0 if d is None else d.mean,
        "low": None if d is None else d.low,
        "high": None if d is None else d.high,
        "differs": d is not None and d.is_distinguishable,
        "text": "the best" if d is None else d.text,
        "title": f"{metric} {statistics.interval}{p}",
    }


def axes(results: Results) -> Chart | None:
    """Return the chart of the headline metric over the swept keys other than seeds.

    It shows points for one key, and heat maps for each two of more keys, with points for keys that
    have too many values for a map; None if there is nothing to compare.
    """
    groups = [
        group for group in results.groups if group.statistics(results.headline).mean is not None
    ]
    values = {
        key: {value_text(group.values[key]) for group in results.groups} for key in results.axes
    }
    keys = [key for key in results.axes if len(values[key]) > 1]
    if not keys or len(groups) < 2:
        return None
    if len(keys) == 1:
        charts = [_points(results, groups, keys[0])]
        return {"kind": "points", "charts": charts, "averaged": False}
    few = [key for key in keys if len(values[key]) <= MAX_MAP_VALUES]
    pairs = list(itertools.combinations(few, 2))[:MAX_MAPS]
    maps = [_heat(with_groups(results, pair)[0], list(pair)) for pair in pairs]
    many = [key for key in keys if key not in few]
    return {
        "kind": "heat" if maps else "points",
        "charts": maps or [_points(results, groups, key) for key in keys],
        "points": [_points(results, groups, key) for key in many] if maps else [],
        "averaged": len(keys) > 2,
    }


def _ordered(groups: Sequence[Group], key: str) -> list[Any]:
    """Return the values along an axis: numbers sorted, others in the order of the jobs."""
    first = sorted(groups, key=lambda group: group.jobs[0].number)
    values = list({value_text(group.values[key]): group.values[key] for group in first}.values())
    return sorted(values) if all(is_number(value) for value in values) else values


def _by_value(groups: Sequence[Group], key: str) -> dict[str, Group]:
    return {value_text(group.values[key]): group for group in groups}


def _logarithmic(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) > 10


def _hover(results: Results, group: Group) -> str:
    statistics = group.statistics(results.headline)
    failed = f", {group.failures} failed" if group.failures else ""
    return f"{statistics.interval}, n = {statistics.n}{failed}"


def _points(results: Results, groups: Sequence[Group], key: str) -> Chart:
    """A point for each configuration, or for evenly chosen ones in the order of their ranks."""
    stride = -(-len(groups) // MAX_POINTS)
    chosen = groups[::stride]
    values = _ordered(chosen, key)
    numeric = all(is_number(value) for value in values)
    position = {value_text(value): i for i, value in enumerate(values)}
    ordered = sorted(chosen, key=lambda group: position[value_text(group.values[key])])
    statistics = [group.statistics(results.headline) for group in ordered]
    return {
        "key": key,
        "numeric": numeric,
        "log": numeric and _logarithmic(values),
        "x": [group.values[key] if numeric else value_text(group.values[key]) for group in ordered],
        "mean": [s.mean for s in statistics],
        "low": [s.interval_low for s in statistics],
        "high": [s.interval_high for s in statistics],
        "text": [f"{label(group, results)}: {_hover(results, group)}" for group in ordered],
        "one_each": len(values) == len(chosen),
        "shown": len(chosen),
        "total": len(groups),
    }


def _heat(results: Results, keys: list[str]) -> Chart:
    """A cell for each combination of two keys; `results` has one configuration for each."""
    rows, columns = (_ordered(results.groups, key) for key in keys)
    by_values = {
        tuple(value_text(group.values[key]) for key in keys): group for group in results.groups
    }
    cells = [
        [by_values.get((value_text(row), value_text(column))) for column in columns] for row in rows
    ]
    labels = [[value_text(value) for value in values] for values in (rows, columns)]

    def text(y: str, x: str, cell: Group | None) -> str:
        return f"{keys[0]}={y}, {keys[1]}={x}: {_hover(results, cell)}" if cell else ""

    return {
        "keys": keys,
        "y": labels[0],
        "x": labels[1],
        "z": [
            [cell.statistics(results.headline).mean if cell else None for cell in line]
            for line in cells
        ],
        "text": [
            [text(y, x, cell) for x, cell in zip(labels[1], line, strict=True)]
            for y, line in zip(labels[0], cells, strict=True)
        ],
    }
