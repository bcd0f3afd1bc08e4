"""The positions of the examples after each layer."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from mlplab.pictures.colors import Floats
from mlplab.pictures.plane import PRINCIPAL_COMPONENTS, principal_axes
from mlplab.pictures.registry import picture
from mlplab.pictures.scatter import class_legend, scatter_classes, scatter_values, value_limits
from mlplab.pictures.separability import linear_scores
from mlplab.pictures.study import Points, Study
from mlplab.pictures.style import INK, figure, headline

MAX_LAYERS = 4
MAX_LINES = 8


@picture(moving=True, applies=lambda study: study.has_network and study.has_hidden)
def hidden(study: Study, frame: int) -> Figure:
    """The space after each hidden layer, the zero lines of the next layer in two dimensions, and
    the score of a linear model.
    """
    num_hidden = len(study.network.layers) - 1
    shown = list(range(1, num_hidden + 1))
    if num_hidden > MAX_LAYERS:
        shown = [1, 2, *shown[-(MAX_LAYERS - 2) :]]
    points = study.points(study.eval_split, 500)
    scores = linear_scores(study, [0, *shown], frame)
    outputs = study.layers(points.x, [frame])
    fig = figure(2.8 * (len(shown) + 1) + 1.9, 4.3, top=1.1, right=1.5, gap=0.9)
    spaces: list[Floats] = [
        study.positions(points),
        *(outputs[layer - 1][0].double().numpy() for layer in shown),
    ]
    score_name = "linear accuracy" if study.classifies else "linear R²"
    for i, (layer, space, score) in enumerate(zip([0, *shown], spaces, scores, strict=True)):
        projection = "3d" if space.shape[1] == 3 and layer else None
        axes = fig.add_subplot(1, len(spaces), i + 1, projection=projection)
        remark = _space(axes, study, layer, space, points, frame)
        name = "input" if layer == 0 else f"after layer {layer}"
        axes.set_title(f"{name}{remark}\n{score_name} {score:.3f}", fontsize=10)
    _legend(fig, axes, study)
    has_lines = any(
        _has_lines(study, layer, space.shape[1])
        for layer, space in zip([0, *shown], spaces, strict=True)
    )
    return headline(
        fig,
        f"{study.settings.name}: {len(points):,} {study.eval_split} points after each layer, epoch"
        f" {int(study.frames.epoch[frame])}",
        f"{score_name}: of a linear model of the train points, on the {study.eval_split} points",
        "lines: a unit of the next layer is zero" if has_lines else "",
        "the input is drawn over its columns and scored by its features"
        if study.plane.derive
        else "",
        f"shown: layers {', '.join(map(str, shown))} of {num_hidden}"
        if len(shown) < num_hidden
        else "",
        study.plane.note,
    )


def _space(axes: Axes, study: Study, layer: int, space: Floats, points: Points, frame: int) -> str:
    """Draw one panel; returns an addition to its title."""
    width = space.shape[1]
    if width == 3 and layer:
        _scatter_3d(axes, study, space, points)
        return ", 3 units"
    remark = f", {width} units" if layer else ""
    names = _axis_names(study, layer, width)
    if width == 1:
        axis = (
            np.random.default_rng(0).uniform(-1, 1, len(space))
            if study.classifies
            else points.y[:, 0].astype(float)
        )
        positions = np.column_stack([space[:, 0], axis])
        if study.classifies:
            axes.set_yticks([])
    elif width == 2:
        positions = space
    else:
        rows, variance_fraction = principal_axes(space, 2)
        positions = (space - space.mean(0)) @ rows.T
        remark += f"\n{variance_fraction:.0%} of the variance"
    _scatter(axes, study, positions, points)
    if _has_lines(study, layer, width):
        _lines(axes, study, layer, frame, positions)
    axes.tick_params(labelsize=9)
    axes.set_xlabel(names[0], fontsize=9)
    axes.set_ylabel(names[1], fontsize=9, labelpad=1)
    return remark


def _axis_names(study: Study, layer: int, width: int) -> tuple[str, str]:
    """The names of the axes; one coordinate is drawn over the target, if it is a value."""
    if layer == 0:
        coordinates = study.plane.names
    elif width > 2:
        coordinates = PRINCIPAL_COMPONENTS
    else:
        coordinates = tuple(f"output of unit {unit + 1}" for unit in range(width))
    target = "" if study.classifies else study.prepared.target_names[0]
    return coordinates[0], coordinates[1] if len(coordinates) > 1 else target


def _scatter(axes: Axes, study: Study, positions: Floats, points: Points) -> None:
    if study.classifies:
        scatter_classes(axes, study, positions, points.y.astype(np.int64))
    else:
        values = points.y[:, 0].astype(float)
        scatter_values(axes, positions, values, value_limits(values))


def _scatter_3d(axes: Any, study: Study, space: Floats, points: Points) -> None:
    if study.classifies:
        for c in np.unique(points.y).tolist():
            axes.scatter(
                *space[points.y == c].T,
                color=study.colors[int(c)],
                s=16,
                edgecolors="white",
                linewidths=0.3,
            )
    else:
        axes.scatter(*space.T, c=points.y[:, 0], cmap="viridis", s=16)
    low, high = space.min(0), space.max(0)
    margin = 0.05 * np.maximum(high - low, 1e-9)
    limits = np.stack([low - margin, high + margin], axis=1)
    axes.set(xlim=limits[0], ylim=limits[1], zlim=limits[2])
    axes.tick_params(labelsize=8)
    for number, axis in enumerate((axes.xaxis, axes.yaxis, axes.zaxis), 1):
        axis.set_label_text(f"unit {number}", fontsize=9)


def _has_lines(study: Study, layer: int, width: int) -> bool:
    """Whether the units of the next layer are zero on lines of this space: of two units, or of the
    input if its two columns are the features.
    """
    linear = study.settings.layers[layer].normalization == "none"
    direct = study.plane.kind == "columns" and study.plane.derive is None
    direct &= study.prepared.feature_scaler.clip is None  # or the lines are curves there
    return width == 2 and linear and (layer > 0 or direct)


def _lines(axes: Axes, study: Study, layer: int, frame: int, positions: Floats) -> None:
    """Draw where the units of the next layer are zero, or where two logits are equal."""
    weight, bias = study.weights(frame)[layer]
    bias = np.zeros(weight.shape[1]) if bias is None else bias
    if layer == 0:  # drawn in the units of the data
        scaler = study.prepared.feature_scaler
        weight = weight / scaler.scale[:, None]
        bias = bias - scaler.shift @ weight
    is_last = layer == len(study.network.layers) - 1
    if is_last and study.classifies and weight.shape[1] == 2:
        weight, bias = weight[:, [1]] - weight[:, [0]], bias[[1]] - bias[[0]]
    elif is_last and study.classifies and weight.shape[1] > 1:
        return  # with more classes the line of a single unit separates nothing
    low, high = positions.min(0), positions.max(0)
    margin = 0.08 * np.maximum(high - low, 1e-6)
    axes.set(
        xlim=(low[0] - margin[0], high[0] + margin[0]),
        ylim=(low[1] - margin[1], high[1] + margin[1]),
    )
    for unit in range(min(weight.shape[1], MAX_LINES)):
        (a, b), c = weight[:, unit], bias[unit]
        normal = np.array([a, b]) / max(a * a + b * b, 1e-18)
        axes.axline(
            tuple(-c * normal),
            tuple(-c * normal + np.array([-b, a]) / max(np.hypot(a, b), 1e-9)),
            color=INK,
            linewidth=1.0,
            alpha=0.7,
        )


def _legend(fig: Figure, axes: Axes, study: Study) -> None:
    if study.classifies:
        class_legend(axes, study, 1.2 if hasattr(axes, "zaxis") else 1.0)
    else:
        limits = value_limits(study.points(study.eval_split, 500).y[:, 0].astype(float))
        width = fig.get_figwidth()
        fig.colorbar(
            ScalarMappable(Normalize(*limits), "viridis"),
            cax=fig.add_axes((1 - 1.25 / width, 0.27, 0.15 / width, 0.42)),
            label=study.prepared.target_names[0],
        )
