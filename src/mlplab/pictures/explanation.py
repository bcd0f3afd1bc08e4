"""The figure of an explanation: importances, partial dependences and slices."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlplab.data.tabular.columns import DATE, NUMBER
from mlplab.explain.dependence import Dependence
from mlplab.explain.explanation import Explanation
from mlplab.pictures.colors import palette
from mlplab.pictures.style import GRID, INK, NEGATIVE, POSITIVE, SOFT, figure, headline, in_lines

MAX_BARS = 15
MAX_SLICES = 6
MAX_CLASSES = 4
PANELS_IN_A_ROW = 3
BAR, PANEL, TITLE = 0.32, 2.5, 0.75
"""Heights in inches: of a bar, of a row of panels, and of the title."""


def explanation_figure(explanation: Explanation, title: str) -> Figure:
    """Draw an explanation: bars with intervals, a panel for each dependence, and the slices."""
    importances = explanation.importances[:MAX_BARS]
    slices = explanation.slices[:MAX_SLICES]
    rows = -(-len(explanation.dependences) // PANELS_IN_A_ROW)
    heights = [BAR * max(3, len(importances)) + 0.75, *[PANEL] * rows]
    if slices:
        heights.append(BAR * len(slices) + 0.9)
    total = sum(heights) + TITLE + 0.35
    fig = figure(9.6, total)
    top = total - TITLE
    _importances(fig.add_axes(_box(2.4, top, 6.9, heights[0] - 0.75, total)), explanation)
    top -= heights[0]
    for row in range(rows):
        shown = explanation.dependences[row * PANELS_IN_A_ROW :][:PANELS_IN_A_ROW]
        for i, one in enumerate(shown):
            box = _box(0.75 + i * 3.0, top - 0.3, 2.35, PANEL - 1.0, total)
            _dependence(fig.add_axes(box), one)
        top -= PANEL
    if slices:
        _slices(fig.add_axes(_box(3.4, top - 0.3, 5.9, BAR * len(slices), total)), explanation)
    remark = (
        "bars: 95 % intervals over rows and permutations; lines: single rows, their mean, and the"
        " band of 80 % of the rows"
    )
    return headline(fig, title, explanation.description, remark)


def _box(
    left: float, top: float, width: float, height: float, total: float
) -> tuple[float, float, float, float]:
    """The position of axes in a figure of 9.6 inches by `total`, as fractions."""
    return left / 9.6, (top - height) / total, width / 9.6, height / total


def _importances(axes: Axes, explanation: Explanation) -> None:
    shown = explanation.importances[:MAX_BARS][::-1]
    positions = np.arange(len(shown))
    values = np.array([one.value for one in shown])
    errors = np.array([[one.value - one.low, one.high - one.value] for one in shown]).T
    axes.barh(positions, values, color=POSITIVE, height=0.62, alpha=0.85)
    axes.errorbar(values, positions, xerr=errors, fmt="none", ecolor=INK, elinewidth=1.1, capsize=2)
    axes.axvline(0, color=SOFT, linewidth=0.8)
    axes.set_yticks(positions, [in_lines(one.name, 26, 1)[0] for one in shown])
    axes.tick_params(axis="y", length=0)
    worse = "decrease" if explanation.metric == "accuracy" else "increase"
    left_out = len(explanation.importances) - len(shown)
    rest = f" ({left_out} columns of less importance are not shown)" if left_out else ""
    axes.set_xlabel(f"{worse} of {explanation.metric} if the column is permuted{rest}")
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def _dependence(axes: Axes, one: Dependence) -> None:
    axes.set_title(in_lines(one.column, 30, 1)[0], loc="left")
    single = len(one.outputs) <= 2
    columns = [len(one.outputs) - 1] if single else list(range(min(MAX_CLASSES, len(one.outputs))))
    colors = [POSITIVE] if single else list(palette(one.outputs))
    is_continuous = one.kind in (NUMBER, DATE) and len(one.values) > 2
    numeric = is_continuous and one.kind == NUMBER
    positions = np.array(one.values, float) if numeric else np.arange(len(one.values), dtype=float)
    for color, c in zip(colors, columns, strict=False):
        if is_continuous:
            if single:
                axes.plot(positions, one.lines[:, :, c], color=SOFT, linewidth=0.5, alpha=0.35)
                axes.fill_between(
                    positions, one.low[:, c], one.high[:, c], color=color, alpha=0.15, linewidth=0
                )
            axes.plot(positions, one.mean[:, c], color=color, linewidth=2, label=one.outputs[c])
            continue
        spread = np.array([one.mean[:, c] - one.low[:, c], one.high[:, c] - one.mean[:, c]])
        axes.errorbar(
            positions,
            one.mean[:, c],
            yerr=np.maximum(spread, 0) if single else None,
            fmt="o",
            color=color,
            elinewidth=1.2,
            markersize=5,
            label=one.outputs[c],
        )
    if not numeric:
        _name_values(axes, one, positions)
    probability = not single or len(one.outputs) == 2
    name = f"P({one.outputs[columns[0]]})" if single else "P(class)"
    axes.set_ylabel(in_lines(name if probability else one.outputs[0], 18, 1)[0])
    if not single:
        axes.legend(loc="best", fontsize=8, handlelength=1.2)
    axes.grid(axis="y", color=GRID, linewidth=0.6)


def _name_values(axes: Axes, one: Dependence, positions: np.ndarray) -> None:
    """Label the values of a column that is not numeric, every one or as many as there is room."""
    every = -(-len(positions) // 6) if one.kind == DATE else 1
    texts = [in_lines(str(value), 10, 1)[0] for value in one.values][::every]
    crowded = sum(map(len, texts)) > 24
    axes.set_xticks(positions[::every], texts)
    if crowded:
        axes.tick_params(axis="x", labelrotation=35, labelsize=8)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
    axes.set_xlim(-0.5, len(positions) - 0.5)


def _slices(axes: Axes, explanation: Explanation) -> None:
    shown = explanation.slices[:MAX_SLICES][::-1]
    positions = np.arange(len(shown))
    axes.barh(positions, [one.error for one in shown], color=NEGATIVE, height=0.62, alpha=0.85)
    axes.axvline(explanation.error, color=INK, linewidth=1.2, linestyle="--")
    for position, one in zip(positions.tolist(), shown, strict=True):
        axes.text(one.error, position, f" n={one.num_rows}", va="center", fontsize=9)
    axes.set_yticks(positions, [in_lines(one.name, 40, 1)[0] for one in shown])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"{explanation.error_name} (dashed: of all rows, {explanation.error:.3g})")
    axes.set_xlim(0, 1.15 * max(one.error for one in shown))
    axes.set_ylim(-0.6, len(shown) - 0.4)
