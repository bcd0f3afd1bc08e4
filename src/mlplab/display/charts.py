"""Curves over the epochs as small inline SVG charts.

Shapes: E evaluations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlplab.terminal.output import digits

WIDTH, HEIGHT = 200, 130
MAX_POINTS = 120
LOGARITHMIC_FROM = 50
"""Ratio of the largest to the smallest value above which a chart is logarithmic."""
SPLITS = {"train": "", "val": "5 3"}
"""The splits that are drawn, and the dashes of their lines."""
METRICS = ("loss", "accuracy", "rmse")
"""The metrics that are drawn if they were measured, at most two."""

Floats = NDArray[np.float64]
Columns: TypeAlias = Mapping[str, NDArray[Any]]
"""The columns of a history by name, each [E], `epoch` among them."""


@dataclass(frozen=True)
class Line:
    """A curve: its paths as SVG data, one for each stretch of finite values."""

    split: str
    dashes: str
    path: str
    last: str


@dataclass(frozen=True)
class Chart:
    """A metric over the epochs, in pixels from the upper left corner of the plot."""

    metric: str
    lines: tuple[Line, ...]
    top: str
    bottom: str
    first: str
    last: str
    best: float | None  # across, of the best epoch
    width: int = WIDTH
    height: int = HEIGHT


def history_charts(columns: Columns, best_epoch: int | None = None) -> list[Chart]:
    """Return up to two charts of a history, given by its columns."""
    epochs = np.asarray(columns["epoch"], float)
    if len(epochs) < 2 or epochs[-1] <= epochs[0]:
        return []
    charts = [_chart(metric, epochs, columns, best_epoch) for metric in METRICS]
    return [chart for chart in charts if chart is not None][:2]


def _chart(metric: str, epochs: Floats, columns: Columns, best_epoch: int | None) -> Chart | None:
    curves = {
        split: np.asarray(columns[f"{split}/{metric}"], float)
        for split in SPLITS
        if f"{split}/{metric}" in columns
    }
    values = np.concatenate([*curves.values(), []])
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    logarithmic = low > 0 and high / low > LOGARITHMIC_FROM
    bounds = (math.log(low), math.log(high)) if logarithmic else (low, high)
    lines = []
    for split, curve in curves.items():
        with np.errstate(all="ignore"):
            heights = np.log(curve) if logarithmic else curve
            path = _path(_across(epochs, epochs), _down(heights, *bounds))
        lines.append(Line(split, SPLITS[split], path, digits(float(curve[-1]))))
    mark = None
    if best_epoch is not None and epochs[0] <= best_epoch <= epochs[-1]:
        mark = round(float(_across(np.array([float(best_epoch)]), epochs)[0]), 1)
    return Chart(
        f"{metric} (log)" if logarithmic else metric,
        tuple(lines),
        f"{high:.3g}",
        f"{low:.3g}",
        f"{epochs[0]:g}",
        f"{epochs[-1]:g}",
        mark,
    )


def _across(x_E: Floats, epochs_E: Floats) -> Floats:
    return np.asarray(WIDTH * (x_E - epochs_E[0]) / (epochs_E[-1] - epochs_E[0]))


def _down(heights_E: Floats, low: float, high: float) -> Floats:
    if high == low:
        return np.where(np.isfinite(heights_E), HEIGHT / 2, math.nan)
    # halved, since the difference of two numbers may overflow
    return HEIGHT * (high / 2 - heights_E / 2) / (high / 2 - low / 2)


def _path(x_E: Floats, y_E: Floats) -> str:
    """The curve as SVG path data, with a gap at values that are not finite."""
    rows = np.unique(np.linspace(0, len(x_E) - 1, MAX_POINTS).astype(int))
    path, pen = [], "M"
    for x, y in zip(x_E[rows].tolist(), y_E[rows].tolist(), strict=True):
        if math.isfinite(y):
            path.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(path)
