"""The network itself: every unit with what it responds to, and the weights between them."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mlplab.pictures.colors import Floats, color, rgb
from mlplab.pictures.diagram import Column, Diagram, diagram_of, unit_maps
from mlplab.pictures.registry import picture
from mlplab.pictures.study import Study
from mlplab.pictures.style import INK, NEGATIVE, POSITIVE, SOFT, figure, headline, map_picture

FIELD = 40
NODE = 0.82  # of the distance between two units
APART = 2.2  # between two layers, in units


@picture(moving=True)
def units(study: Study, frame: int) -> Figure | None:
    """The network as a diagram: each unit shows its output over the plane, each line a weight
    (width: size, color: sign).
    """
    diagram = diagram_of(study)
    tallest = max(len(column.units) for column in diagram.columns)
    columns = len(diagram.columns)
    drawn = figure(
        max(5.6, 0.8 * ((columns - 1) * APART + 3.5)),
        0.8 * (tallest + 1.1) + 1.15,
        left=0.05,
        right=0.05,
        top=0.4,
        bottom=0.75,
    )
    axes = drawn.subplots()
    axes.set_axis_off()
    places = [_places(column, i) for i, column in enumerate(diagram.columns)]
    _weights(axes, study, diagram, places, frame)
    maps = unit_maps(study, diagram, study.plane.grid(FIELD), [frame])
    for i, (column, own) in enumerate(zip(diagram.columns, maps, strict=True)):
        for j, (x, y) in enumerate(places[i][: len(own)]):
            _node(axes, study, own[j][0], x, y, j if i == columns - 1 else None)
        _names(axes, study, column, places[i])
        axes.text(
            i * APART,
            tallest / 2 + 0.35,
            _title(column, i == columns - 1),
            ha="center",
            va="bottom",
            fontsize=9.5,
        )
    axes.set_xlim(-1.75, (columns - 1) * APART + 1.75)
    axes.set_ylim(-tallest / 2 - 0.2, tallest / 2 + 0.9)
    axes.set_aspect("equal")
    epoch = int(study.frames.epoch[frame])
    key = (
        "units: blue above zero, white zero, orange below; lines: blue positive, orange negative,"
        " the thicker the larger"
    )
    headline(
        drawn,
        f"{study.settings.name}: what each unit responds to, epoch {epoch}",
        key,
        diagram.said,
        study.plane.said,
    )
    return drawn


def _title(column: Column, last: bool) -> str:
    count = (
        f"{len(column.units)} of {column.total}"
        if len(column.units) < column.total
        else f"{column.total}"
    )
    if last:
        return "output"
    return "input" if column.layer == 0 else f"layer {column.layer}\n{count} units"


def _places(column: Column, i: int) -> list[tuple[float, float]]:
    count = len(column.units)
    return [(i * APART, (count - 1) / 2 - j) for j in range(count)]


def _weights(
    axes: Any, study: Study, diagram: Diagram, places: list[list[tuple[float, float]]], frame: int
) -> None:
    weights = study.weights(frame)
    for i, (left, right) in enumerate(zip(diagram.columns[:-1], diagram.columns[1:], strict=True)):
        if right.layer != left.layer + 1:
            axes.text(
                (i + 0.5) * APART, 0, "...", ha="center", va="center", fontsize=18, color=SOFT
            )
            continue
        shown = weights[left.layer][0][np.ix_(left.units, right.units)]
        largest = max(float(np.abs(shown).max()), 1e-12)
        lines, widths, colors = [], [], []
        for (a, b), value in np.ndenumerate(shown):
            lines.append([places[i][a], places[i + 1][b]])
            widths.append(0.2 + 4.0 * abs(value) / largest)
            colors.append(POSITIVE if value > 0 else NEGATIVE)
        axes.add_collection(
            LineCollection(lines, linewidths=widths, colors=colors, alpha=0.55, zorder=1)
        )


def _node(axes: Any, study: Study, values: Floats, x: float, y: float, output: int | None) -> None:
    """One unit. An output shows the color of its class, or values around their mean."""
    half = NODE / 2
    axes.add_patch(
        Rectangle(
            (x - half, y - half),
            NODE,
            NODE,
            facecolor="white",
            edgecolor=INK,
            linewidth=0.8,
            zorder=2,
        )
    )
    if study.plane.dimensions == 1:
        low, high = float(values.min()), float(values.max())
        scaled = (values - low) / (high - low) - 0.5 if high - low > 1e-9 else np.zeros_like(values)
        axes.plot(
            x + np.linspace(-half, half, len(values)) * 0.92,
            y + scaled * NODE * 0.84,
            color=color(0),
            linewidth=1.4,
            zorder=3,
        )
        return
    field = values.reshape(FIELD, FIELD)
    if output is not None and study.classifies:
        colored = 1 - field[..., None] * (1 - rgb(study.colors[output]))
    else:
        colored = map_picture(field if output is None else field - field.mean())
    axes.imshow(
        colored,
        extent=(x - half, x + half, y - half, y + half),
        origin="lower",
        interpolation="bilinear",
        zorder=3,
    )


def _names(axes: Any, study: Study, column: Column, places: list[tuple[float, float]]) -> None:
    last = column.layer == len(study.network.layers)
    if column.layer and not last:
        return
    names = (
        study.prepared.feature_names
        if column.layer == 0
        else study.classes or study.prepared.target_names
    )
    for unit, (x, y) in zip(column.units, places, strict=True):
        if unit < len(names):
            word = names[unit] if len(names[unit]) <= 12 else names[unit][:11] + "…"
            axes.text(
                x + (0.5 if last else -0.5),
                y,
                word,
                ha="left" if last else "right",
                va="center",
                fontsize=8.5,
                color=SOFT,
            )
