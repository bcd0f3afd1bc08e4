"""One update as a diagram: forward in blue, backward in orange, new weights in green.

Shapes: I inputs and O outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from mlplab.one_step.compute import OneStep, Parameter
from mlplab.one_step.lines import activation_name
from mlplab.one_step.mean_loss import Array
from mlplab.one_step.text import number
from mlplab.pictures.style import DARK_INK, DARK_PAPER, DARK_SOFT, INK, PAPER, SOFT, figure

STAGES = ("forward", "backward", "update")
MAX_UNITS = 4  # of a layer that are drawn
MAX_COLUMNS = 5  # layers that are drawn, with the input
SHARES = (0.37, 0.63, 0.5, 0.44, 0.56, 0.31, 0.69)  # of a line, at which its weight may stand
LABEL = (0.72, 0.62)  # width and height of a weight with its derivative, in inches
MAX_LABELED = 9  # lines between two columns whose weights are written
RADIUS = 0.34
ACROSS, UP = 3.4, 2.0  # distances between the centers of units
FONT = 12.0


@dataclass(frozen=True)
class Look:
    """The colors of the diagram."""

    ground: str
    ink: str
    soft: str
    node: str
    forward: str
    backward: str
    update: str


LIGHT = Look(PAPER, INK, SOFT, "#eef2f7", "#0072B2", "#C04A00", "#007A5A")
DARK = Look(DARK_PAPER, DARK_INK, DARK_SOFT, "#232b35", "#6CB8F0", "#FFA24A", "#4BD3A4")


@dataclass(frozen=True)
class _Column:
    """A column of units: their indices in the layer, and the number of all."""

    layer: int  # 0 for the input
    units: tuple[int, ...]
    total: int


def draw_step(step: OneStep, row: int = 0, stage: str = "update", dark: bool = False) -> Figure:
    """Draw an update up to a stage: forward, backward, or update with everything before it."""
    look, columns = DARK if dark else LIGHT, _columns(step)
    tallest = max(len(column.units) for column in columns)
    half, middle = tallest * UP / 2, (len(columns) - 1) * ACROSS / 2
    width, height = max(10.0, (len(columns) - 1) * ACROSS + 4.6), 2 * half + 0.5
    fig = figure(width, height + 1.15, left=0, right=0, bottom=0.6, top=0.55)
    fig.set_facecolor(look.ground)
    axes = fig.subplots()
    axes.set_axis_off()
    shown = STAGES[: STAGES.index(stage) + 1]
    for i in range(len(columns) - 1):
        _edges(axes, step, columns[i], columns[i + 1], i, shown, look)
    for i, column in enumerate(columns):
        _units(axes, step, column, i, row, shown, look)
    _loss(axes, step, len(columns) - 1, shown, look)
    axes.set(
        xlim=(middle + 0.5 - width / 2, middle + 0.5 + width / 2),
        ylim=(-half - 0.15, half + 0.4),
        aspect="equal",
    )
    _captions(fig, step, shown, look)
    return fig


def _columns(step: OneStep) -> list[_Column]:
    """The input and the layers; of many, the first and the last ones."""
    widths = [step.x.shape[1], *(layer.z.shape[1] for layer in step.layers)]
    layers = list(range(len(widths)))
    if len(layers) > MAX_COLUMNS:
        layers = [*layers[:3], *layers[-2:]]
    return [_Column(i, tuple(range(min(widths[i], MAX_UNITS))), widths[i]) for i in layers]


def _position(column: _Column, i: int, j: int) -> tuple[float, float]:
    return i * ACROSS, ((len(column.units) - 1) / 2 - j) * UP


def _units(
    axes: Axes,
    step: OneStep,
    column: _Column,
    i: int,
    row: int,
    shown: tuple[str, ...],
    look: Look,
) -> None:
    for j, unit in enumerate(column.units):
        x, y = _position(column, i, j)
        axes.add_patch(
            Circle((x, y), RADIUS, facecolor=look.node, edgecolor=look.ink, linewidth=1.2, zorder=3)
        )
        inside, above, below = _unit_texts(step, column, unit, row)
        _write(axes, x, y, inside, look.forward, bold=True)
        _write(axes, x, y + RADIUS + 0.16, above, look.forward)
        if "backward" in shown:
            _write(axes, x, y - RADIUS - 0.17, below, look.backward)
    left_out = column.total - len(column.units)
    x, y = _position(column, i, len(column.units) - 1)
    if left_out:
        _write(axes, x, y - RADIUS - 0.6, f"and {left_out} more", look.soft, size=FONT - 1)
    top = _position(column, i, 0)[1] + RADIUS + 0.5
    _write(axes, x, top, _column_title(step, column), look.soft)


def _unit_texts(step: OneStep, column: _Column, unit: int, row: int) -> tuple[str, str, str]:
    """What is written in a unit, above and below it."""
    if column.layer == 0:
        return _short(step.x[row][unit]), "", ""
    layer = step.layers[column.layer - 1]
    value = layer.h[row][unit] * (1 if layer.drop is None else layer.drop[row][unit])
    dropped = layer.drop is not None and layer.drop[row][unit] == 0
    above = f"z {_short(layer.z[row][unit])}" + (" dropped" if dropped else "")
    return _short(value), above, f"∂e/∂z {_short(layer.dz[row][unit])}"


def _column_title(step: OneStep, column: _Column) -> str:
    if column.layer == 0:
        return "x"
    layer = step.layers[column.layer - 1]
    if layer.activation is None:
        return f"z{layer.number}"
    return f"h{layer.number} = {activation_name(layer.activation)}(z{layer.number})"


def _edges(
    axes: Axes,
    step: OneStep,
    left: _Column,
    right: _Column,
    i: int,
    shown: tuple[str, ...],
    look: Look,
) -> None:
    if right.layer != left.layer + 1:
        _write(axes, (i + 0.5) * ACROSS, 0, "…", look.soft, size=24)
        return
    parameter = step.layers[right.layer - 1].parameters["weight"]
    largest = max(float(np.abs(parameter.before).max()), 1e-12)
    labeled = len(left.units) * len(right.units) <= MAX_LABELED
    taken: list[tuple[float, float]] = []  # centers of labels
    for j, source in enumerate(left.units):
        for k, unit in enumerate(right.units):
            start, end = _position(left, i, j), _position(right, i + 1, k)
            weight = parameter.before[unit, source]
            axes.plot(
                [start[0], end[0]],
                [start[1], end[1]],
                color=look.soft,
                linewidth=0.6 + 2.4 * abs(weight) / largest,
                alpha=0.55,
                zorder=1,
            )
            if labeled:
                values = (parameter.before, parameter.gradient, parameter.after)
                numbers = [_short(array[unit, source]) for array in values]
                shares = _shares(j, len(left.units))
                taken.append(_free_center(start, end, shares, taken))
                _edge_label(axes, taken[-1], numbers, shown, look)
    biases = step.layers[right.layer - 1].parameters.get("bias")
    if biases is not None:
        for k, unit in enumerate(right.units):
            _bias(axes, _position(right, i + 1, k), biases, unit, shown, look)


def _shares(j: int, num_units: int) -> tuple[float, ...]:
    """Where the weights of the lines from a unit may stand, best first: those of two neighbors on
    different sides.
    """
    if num_units == 1:
        return (0.5,)
    return SHARES if j % 2 == 0 else tuple(1 - share for share in SHARES)


def _free_center(
    start: tuple[float, float],
    end: tuple[float, float],
    shares: Sequence[float],
    taken: Sequence[tuple[float, float]],
) -> tuple[float, float]:
    """The first of the centers along a line where a label covers the others least."""
    centers = [
        (start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1]))
        for share in shares
    ]

    def covered(center: tuple[float, float]) -> float:
        return sum(
            max(0.0, LABEL[0] - abs(center[0] - x)) * max(0.0, LABEL[1] - abs(center[1] - y))
            for x, y in taken
        )

    return min(centers, key=covered)


def _edge_label(
    axes: Axes,
    center: tuple[float, float],
    numbers: list[str],
    shown: tuple[str, ...],
    look: Look,
) -> None:
    """Write weight, derivative and new weight on a line, one above the other."""
    x, y = center
    texts = [(numbers[0], look.ink)]
    if "backward" in shown:
        texts.append((numbers[1], look.backward))
    if "update" in shown:
        texts.append((f"→ {numbers[2]}", look.update))
    for k, (text, color) in enumerate(texts):
        height = ((len(texts) - 1) / 2 - k) * 0.2
        axes.text(
            x,
            y + height,
            text,
            color=color,
            fontsize=FONT,
            ha="center",
            va="center",
            zorder=4,
            bbox={"facecolor": look.ground, "edgecolor": "none", "pad": 0.6, "alpha": 0.9},
        )


def _bias(
    axes: Axes,
    at: tuple[float, float],
    biases: Parameter,
    unit: int,
    shown: tuple[str, ...],
    look: Look,
) -> None:
    text = f"b {_short(biases.before[unit])}"
    if "update" in shown:
        text += f" → {_short(biases.after[unit])}"
    _write(axes, at[0], at[1] - RADIUS - 0.4, text, look.soft, size=FONT - 1)


def _loss(axes: Axes, step: OneStep, last: int, shown: tuple[str, ...], look: Look) -> None:
    x = last * ACROSS + 1.55
    symbol = "J" if step.penalty else "e" if len(step.losses) == 1 else "E"
    _write(axes, x, 0.2, f"{symbol} = {_short(step.objective)}", look.forward, size=15, bold=True)
    if "update" in shown:
        _write(axes, x, -0.2, f"→ {_short(step.again)}", look.update, size=15, bold=True)


def _captions(fig: Figure, step: OneStep, shown: tuple[str, ...], look: Look) -> None:
    height = fig.get_figheight()
    which = "the batch" if step.rows is None else f"row {', '.join(map(str, step.rows[:5]))}"
    title = f"{step.settings.name}: update {step.step:,} with {which}, lr = {step.lr:g}"
    fig.text(0.5, 1 - 0.12 / height, title, fontsize=16, color=look.ink, ha="center", va="top")
    captions = [("forward: units and weights", look.forward)]
    if "backward" in shown:
        captions.append(("backward: derivatives of e", look.backward))
    if "update" in shown:
        captions.append(("update: new weights", look.update))
    for k, (text, color) in enumerate(captions):
        x = (k + 0.5) / len(captions)
        fig.text(x, 0.18 / height, text, fontsize=13, color=color, ha="center", va="bottom")


def _short(value: float | Array) -> str:
    """A number with three decimals, which is what fits into a unit."""
    number_value = float(value)
    text = number(number_value)
    return text if "e" in text or text == "0" else f"{number_value:.3f}"


def _write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    color: str,
    size: float = FONT,
    bold: bool = False,
) -> None:
    axes.text(
        x,
        y,
        text,
        color=color,
        fontsize=size,
        fontweight="bold" if bold else "normal",
        ha="center",
        va="center",
        zorder=5,
        bbox={  # a line behind a number ends beside it
            "facecolor": "none" if bold else axes.figure.get_facecolor(),
            "edgecolor": "none",
            "pad": 0.3,
            "alpha": 0.85,
        },
    )
