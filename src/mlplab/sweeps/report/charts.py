"""The charts of the report: curves with bands over seeds, and the headline metric along the swept
keys.

Shapes: N jobs of a configuration, E evaluations.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlplab.errors import DamagedFileError
from mlplab.io.reading import reading
from mlplab.metrics import bounds
from mlplab.sweeps.report.results import Group, Results, is_number
from mlplab.sweeps.report.statistics import student
from mlplab.sweeps.report.text_table import value_text
from mlplab.terminal.output import note

MAX_CURVES = 8
MAX_POINTS = 200
Floats = NDArray[np.float64]


def curves(results: Results) -> dict[str, object]:
    """Return the curves of the best configurations: mean and 95 % band over seeds by epoch.

    The metrics are the headline metric and its counterparts and the loss on train and val.
    """
    best = [group for group in results.groups if group.statistics(results.headline).n][:MAX_CURVES]
    metric = results.headline.partition("/")[2]
    names = list(
        dict.fromkeys(
            [results.headline, *(f"{s}/{m}" for m in ("loss", metric) for s in ("val", "train"))]
        )
    )
    drawn = [(group, curves) for group in best if (curves := _group_curves(group, names))]
    scope = (
        "every configuration"
        if len(drawn) == len(results.groups)
        else f"the {len(drawn)} best of {len(results.groups)} configurations"
    )
    return {
        "metrics": [name for name in names if any(name in curves for _, curves in drawn)],
        "groups": [
            {
                "name": ", ".join(f"{key}={value_text(group.values[key])}" for key in group.values)
                or results.name,
                "curves": curves,
            }
            for group, curves in drawn
        ],
        "said": f"Mean over seeds with its 95 % band, for {scope}. A curve ends when fewer than"
        " half of its jobs continue."
        if drawn
        else "No curves: at this level of tracking the jobs write no metrics.csv, or no job was"
        " trained to its end.",
    }


def _group_curves(group: Group, names: Sequence[str]) -> dict[str, object]:
    tables = [
        table
        for job in group.jobs
        if job.counts and (table := read_columns(job.folder / "metrics.csv", names)) is not None
    ]
    return {
        name: curve
        for name in names
        if (
            curve := band(
                [(table["epoch"], table[name]) for table in tables if name in table], bounds(name)
            )
        )
    }


def read_columns(path: Path, names: Sequence[str]) -> dict[str, Floats] | None:
    """Return columns of a metrics.csv, `epoch` among them, each [E]; None if the file is missing.

    A damaged file counts as missing, with a note: the results of its job are in summary.json.
    These columns contain no quoted cells.
    """
    if not path.is_file():
        return None
    try:
        with reading(path, "report.html has no curve of this job."):
            lines = path.read_text(encoding="utf-8").splitlines()
            head = lines[0].split(",") if lines else []
            indices = {
                name: head.index(name) for name in ("epoch", *names) if name in ("epoch", *head)
            }
            cells = [line.split(",") for line in lines[1:]]
            return {
                name: np.array([float(row[index] or "nan") for row in cells])
                for name, index in indices.items()
            }
    except DamagedFileError as error:
        note(str(error))
        return None


def band(
    series: Sequence[tuple[Floats, Floats]], limits: tuple[float, float] = (-math.inf, math.inf)
) -> dict[str, list[float | None]] | None:
    """Return x, the mean and its 95 % interval over the jobs that continue; None without series.

    `series` holds (epochs [E], values [E]) of each job. The interval ends at `limits`. At most
    MAX_POINTS points are returned.
    """
    if not series:
        return None
    epochs_E = np.unique(np.concatenate([epoch for epoch, _ in series]))
    values_NE = np.full((len(series), len(epochs_E)), np.nan)
    for row, (epoch, value) in zip(values_NE, series, strict=True):
        row[np.searchsorted(epochs_E, epoch)] = value
    values_NE[~np.isfinite(values_NE)] = np.nan
    count_E = np.isfinite(values_NE).sum(0)
    drawable = np.flatnonzero((2 * count_E >= len(series)) & (count_E > 0))
    num_points = min(len(drawable), MAX_POINTS)
    selected = drawable[np.linspace(0, len(drawable) - 1, num_points).round().astype(int)]
    values_NE, count_E = values_NE[:, selected], count_E[selected]
    # a single job has no spread
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        mean_E, std_E = np.nanmean(values_NE, 0), np.nanstd(values_NE, 0, ddof=1)
    curve: dict[str, list[float | None]] = {
        "x": epochs_E[selected].tolist(),
        "mean": _short(mean_E),
    }
    if len(series) > 1:
        quantile_E = np.array([student(int(n) - 1) if n > 1 else np.nan for n in count_E])
        half_E = np.nan_to_num(quantile_E * std_E / np.sqrt(count_E))
        low_E, high_E = np.clip(mean_E - half_E, *limits), np.clip(mean_E + half_E, *limits)
        curve |= {"low": _short(low_E), "high": _short(high_E)}
    return curve


def _short(values_E: Floats) -> list[float | None]:
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in values_E.tolist()]


def axes(results: Results) -> dict[str, object] | None:
    """Return the chart of the headline metric along the swept keys other than seeds.

    It shows points for one key, a heat map for two and parallel coordinates for more; None if
    there is nothing to compare.
    """
    groups = [
        group for group in results.groups if group.statistics(results.headline).mean is not None
    ]
    keys = [
        key
        for key in results.axes
        if len({value_text(group.values[key]) for group in results.groups}) > 1
    ]
    if not keys or len(groups) < 2:
        return None
    chart = {1: _points, 2: _heat}.get(len(keys), _parallel)
    return chart(results, groups, keys)


def _ordered(groups: Sequence[Group], key: str) -> list[Any]:
    """Return the values along an axis: numbers sorted, others in the order of the jobs."""
    first = sorted(groups, key=lambda group: group.jobs[0].number)
    values = list({value_text(group.values[key]): group.values[key] for group in first}.values())
    return sorted(values) if all(is_number(value) for value in values) else values


def _logarithmic(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) > 10


def _hover(results: Results, group: Group) -> str:
    statistics = group.statistics(results.headline)
    failed = f", {group.failures} failed" if group.failures else ""
    return f"{statistics.interval}, n = {statistics.n}{failed}"


def _points(results: Results, groups: Sequence[Group], keys: list[str]) -> dict[str, object]:
    values = _ordered(groups, keys[0])
    by_value = {value_text(group.values[keys[0]]): group for group in groups}
    ordered_groups = [by_value[value_text(value)] for value in values]
    numeric = all(is_number(value) for value in values)
    statistics = [group.statistics(results.headline) for group in ordered_groups]
    return {
        "kind": "points",
        "keys": keys,
        "numeric": numeric,
        "log": numeric and _logarithmic(values),
        "said": ", with its 95 % interval",
        "x": values if numeric else [value_text(value) for value in values],
        "mean": [s.mean for s in statistics],
        "above": [_distance(s.mean, s.interval_high) for s in statistics],
        "below": [_distance(s.mean, s.interval_low) for s in statistics],
        "text": [_hover(results, group) for group in ordered_groups],
    }


def _distance(mean: float | None, end: float | None) -> float:
    return 0.0 if mean is None or end is None else abs(end - mean)


def _heat(results: Results, groups: Sequence[Group], keys: list[str]) -> dict[str, object]:
    rows, columns = (_ordered(groups, key) for key in keys)
    by_values = {tuple(value_text(group.values[key]) for key in keys): group for group in groups}
    cells = [
        [by_values.get((value_text(row), value_text(column))) for column in columns] for row in rows
    ]
    labels = [[value_text(value) for value in values] for values in (rows, columns)]

    def text(y: str, x: str, cell: Group | None) -> str:
        return f"{keys[0]}={y}, {keys[1]}={x}: {_hover(results, cell)}" if cell else ""

    return {
        "kind": "heat",
        "keys": keys,
        "y": labels[0],
        "x": labels[1],
        "said": "; hover over a cell for its interval",
        "z": [
            [cell.statistics(results.headline).mean if cell else None for cell in line]
            for line in cells
        ],
        "text": [
            [text(y, x, cell) for x, cell in zip(labels[1], line, strict=True)]
            for y, line in zip(labels[0], cells, strict=True)
        ],
    }


def _parallel(results: Results, groups: Sequence[Group], keys: list[str]) -> dict[str, object]:
    means = [group.statistics(results.headline).mean for group in groups]
    return {
        "kind": "parallel",
        "keys": keys,
        "dimensions": [
            *(_dimension(groups, key) for key in keys),
            {"label": results.headline, "values": means},
        ],
        "color": means,
        "said": "; drag along an axis to select",
    }


def _dimension(groups: Sequence[Group], key: str) -> dict[str, object]:
    values = _ordered(groups, key)
    numeric = all(is_number(value) for value in values)
    if numeric and not _logarithmic(values):
        return {"label": key, "values": [group.values[key] for group in groups]}
    tick_of = {
        value_text(value): math.log10(value) if numeric else i for i, value in enumerate(values)
    }
    return {
        "label": key,
        "values": [tick_of[value_text(group.values[key])] for group in groups],
        "tickvals": list(tick_of.values()),
        "ticktext": list(tick_of),
    }
