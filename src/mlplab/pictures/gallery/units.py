"""The network as a diagram: the output of every unit over the plane, and the weights."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mlplab.pictures.colors import Floats, rgb
from mlplab.pictures.diagram import Column, Diagram, build_diagram, unit_maps
from mlplab.pictures.registry import picture
from mlplab.pictures.study import Study
from mlplab.pictures.style import (
    INK,
    NEGATIVE,
    POSITIVE,
    SOFT,
    caption,
    figure,
    headline,
    in_lines,
    map_picture,
)

MAP_SIZE = 40
UNIT = 0.6  # distance between two units, in inches
NODE_SIZE = 0.82  # relative to that distance
LAYER_DISTANCE = 2.8  # between two layers, in units
MARGIN = 2.4  # beside the first and the last layer, for names, in units
TEXT, SMALL = 11.5, 10.5  # points; eight units fill a slide
NAME_LINES = {(12, 3): TEXT, (17, 4): 8.0}  # characters in a line of a name, lines -> points


@picture(moving=True, applies=lambda study: study.has_network)
def units(study: Study, frame: int) -> Figure:
    """The network as a diagram: units show their output over the plane, lines the weights (width:
    magnitude, color: sign).
    """
    diagram = build_diagram(study)
    tallest = max(len(column.units) for column in diagram.columns)
    columns = len(diagram.columns)
    width = max(5.6, UNIT * ((columns - 1) * LAYER_DISTANCE + 2 * MARGIN))
    remarks = (_legend(study), diagram.note, study.plane.note)
    bottom = 0.25 + 1.25 / 72 * SMALL * (1 + caption(width, *remarks, size=SMALL).count("\n"))
    fig = figure(
        width,
        UNIT * (tallest + 1.8) + 0.4 + bottom,
        left=0.05,
        right=0.05,
        top=0.4,
        bottom=bottom,
    )
    axes = fig.subplots()
    axes.set_axis_off()
    positions = [_node_positions(column, i) for i, column in enumerate(diagram.columns)]
    _weights(axes, study, diagram, positions, frame)
    maps = unit_maps(study, diagram, study.plane.grid(MAP_SIZE), [frame])
    for i, (column, column_maps) in enumerate(zip(diagram.columns, maps, strict=True)):
        last, values = i == columns - 1, [unit_values[0] for unit_values in column_maps]
        limits = _limits(study, column, values) if study.plane.dimensions == 1 else None
        for j, (x, y) in enumerate(positions[i][: len(values)]):
            drawn = _map(study, values[j], j if last else None) if limits is None else values[j]
            _node(axes, drawn, x, y, limits, study.colors[j] if last and study.classifies else INK)
        _names(axes, study, column, positions[i])
        axes.text(
            i * LAYER_DISTANCE,
            tallest / 2 + 0.2,
            _title(column, last) + ("" if limits is None else _scale(limits)),
            ha="center",
            va="bottom",
            fontsize=TEXT,
        )
    axes.set(
        xlim=(-MARGIN, (columns - 1) * LAYER_DISTANCE + MARGIN),
        ylim=(-tallest / 2 - 0.2, tallest / 2 + 1.6),
        aspect="equal",
    )
    return headline(
        fig,
        f"{study.settings.name}: the output of each unit at epoch {int(study.frames.epoch[frame])}",
        *remarks,
        remark_size=SMALL,
    )


def _title(column: Column, last: bool) -> str:
    if last or column.layer == 0:
        return "output" if last else "input"
    shown = f"{len(column.units)} of " if len(column.units) < column.total else ""
    return f"layer {column.layer}\n{shown}{column.total} units"


def _scale(limits: tuple[float, float]) -> str:
    return f"\n{limits[0]:.2g} to {limits[1]:.2g}"


def _node_positions(column: Column, i: int) -> list[tuple[float, float]]:
    count = len(column.units)
    return [(i * LAYER_DISTANCE, (count - 1) / 2 - j) for j in range(count)]


def _weights(
    axes: Axes,
    study: Study,
    diagram: Diagram,
    positions: list[list[tuple[float, float]]],
    frame: int,
) -> None:
    weights = study.weights(frame)
    for i, (left, right) in enumerate(zip(diagram.columns[:-1], diagram.columns[1:], strict=True)):
        if right.layer != left.layer + 1:
            axes.text(
                (i + 0.5) * LAYER_DISTANCE,
                0,
                "...",
                ha="center",
                va="center",
                fontsize=18,
                color=SOFT,
            )
            continue
        shown = weights[left.layer][0][np.ix_(left.units, right.units)]
        largest = max(float(np.abs(shown).max()), 1e-12)
        axes.add_collection(
            LineCollection(
                [[start, end] for start in positions[i] for end in positions[i + 1]],
                # no line between units that a block layer does not connect
                linewidths=np.where(shown == 0, 0, 0.2 + 4.0 * np.abs(shown) / largest).ravel(),
                colors=[POSITIVE if value > 0 else NEGATIVE for value in shown.flat],
                alpha=0.55,
                zorder=1,
            )
        )


def _limits(study: Study, column: Column, maps: list[Floats]) -> tuple[float, float]:
    """The vertical scale that the curves of a layer share; it contains zero."""
    if column.layer == len(study.network.layers) and study.classifies:
        return 0.0, 1.0
    low, high = (float(edge([edge(values) for values in maps])) for edge in (np.min, np.max))
    return min(low, 0.0), max(high, 0.0, min(low, 0.0) + 1e-9)


def _node(
    axes: Axes, values: Floats, x: float, y: float, limits: tuple[float, float] | None, ink: str
) -> None:
    """Draw the frame of one unit, and its output: a curve between limits, or a map."""
    half = NODE_SIZE / 2
    axes.add_patch(
        Rectangle(
            (x - half, y - half),
            NODE_SIZE,
            NODE_SIZE,
            facecolor="white" if limits else "none",
            edgecolor=INK,
            linewidth=0.8,
            zorder=2 if limits else 4,
        )
    )
    if limits is None:
        axes.imshow(
            values,
            extent=(x - half, x + half, y - half, y + half),
            origin="lower",
            interpolation="bilinear",
            zorder=3,
        )
        return
    low, high = limits
    across = x + np.linspace(-half, half, len(values))
    heights = y + ((np.array([*values, 0.0]) - low) / (high - low) - 0.5) * NODE_SIZE * 0.84
    axes.hlines(heights[-1], x - half, x + half, color=SOFT, linewidth=0.6, zorder=3)
    axes.plot(across, heights[:-1], color=ink, linewidth=1.4, zorder=3)


def _map(study: Study, values: Floats, output: int | None) -> Floats:
    """The colors of a map; an output has those of its class, or of values around their mean."""
    grid_values = values.reshape(MAP_SIZE, MAP_SIZE)
    if output is not None and study.classifies:
        return np.asarray(1 - grid_values[..., None] * (1 - rgb(study.colors[output])))
    return map_picture(grid_values if output is None else grid_values - grid_values.mean())


def _legend(study: Study) -> str:
    """What the curves or the colors of the units mean."""
    lines = "lines: weights, blue positive, orange negative, thicker if larger"
    if study.plane.dimensions == 1:
        return (
            f"units: output over {study.plane.names[0]}, from {study.plane.low[0]:.3g} to"
            f" {study.plane.high[0]:.3g}, on the scale above each layer, with a line at zero;"
            f" {lines}"
        )
    outputs = (
        "outputs: probability, white at 0, the color of the class at 1"
        if study.classifies
        else "outputs: blue above, orange below the mean"
    )
    return (
        "inputs and hidden units: blue is positive, white zero, orange negative;"
        f" {outputs}; {lines}"
    )


def _names(axes: Axes, study: Study, column: Column, positions: list[tuple[float, float]]) -> None:
    last = column.layer == len(study.network.layers)
    if column.layer and not last:
        return
    names = (
        study.prepared.input_names
        if column.layer == 0
        else study.classes or study.prepared.target_names
    )
    for unit, (x, y) in zip(column.units, positions, strict=True):
        if unit < len(names):
            name, size = _in_lines(names[unit])
            axes.text(
                x + (0.5 if last else -0.5),
                y,
                name,
                ha="left" if last else "right",
                va="center",
                fontsize=size,
                color=SOFT,
            )


def _in_lines(name: str) -> tuple[str, float]:
    """A name in lines that fit beside a unit, and their size; a very long name is cut."""
    tried = [(*in_lines(name, *space), size) for space, size in NAME_LINES.items()]
    text, _, size = next((fit for fit in tried if fit[1]), tried[-1])
    return text, size
