"""The predictions of the network over the plane."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from mlplab.data.curves import Curve
from mlplab.pictures.colors import Floats, color, rgb
from mlplab.pictures.registry import picture
from mlplab.pictures.scatter import (
    class_legend,
    example_count,
    faint_grid,
    omitted_targets,
    ring_points,
    scatter_classes,
    scatter_values,
    set_plane_axes,
    value_limits,
)
from mlplab.pictures.study import Points, Study
from mlplab.pictures.style import INK, SOFT, class_picture, figure, headline

GRID_SIZE = 120
LINE_SIZE = 400


@picture(moving=True)
def decision(study: Study, frame: int) -> Figure:
    """P(class | x) over the plane, or the fitted curve or surface, with the points of the
    evaluation split.
    """
    on_line, on_plane = (_classes_1d, _classes_2d) if study.classifies else (_values_1d, _values_2d)
    is_line = study.plane.dimensions == 1
    has_legend = study.classifies and (is_line or len(study.classes) > 2)
    fig = figure(
        6.4, 5.3, right=1.2 if has_legend else 0.3, bottom=1.15 if study.plane.note else 0.9
    )
    remark = (on_line if is_line else on_plane)(study, frame, fig)
    return headline(
        fig,
        f"{study.settings.name}: predictions at epoch {int(study.frames.epoch[frame])}",
        remark,
        study.plane.note,
        "background: predictions on this plane, not those of the points, which lie off it"
        if study.plane.note
        else "",
    )


def _classes_2d(study: Study, frame: int, fig: Figure) -> str:
    axes = fig.subplots()
    probabilities = study.outputs(study.plane.grid(GRID_SIZE), [frame])[0]
    is_binary = probabilities.shape[1] == 2
    if is_binary:
        shown = axes.imshow(
            probabilities[:, 1].reshape(GRID_SIZE, GRID_SIZE),
            extent=study.plane.extent,
            origin="lower",
            aspect="auto",
            cmap=_binary_colormap(study),
            vmin=0,
            vmax=1,
            interpolation="bilinear",
        )
        fig.colorbar(shown, ax=axes, label=f"P(y = {study.classes[1]} | x)", shrink=0.9)
    else:
        axes.imshow(
            class_picture(probabilities, study.colors).reshape(GRID_SIZE, GRID_SIZE, 3),
            extent=study.plane.extent,
            origin="lower",
            aspect="auto",
            interpolation="bilinear",
        )
    _boundaries(axes, study, probabilities)
    set_plane_axes(axes, study)
    remark = _eval_points(axes, study, frame)
    if not is_binary:
        class_legend(axes, study)
    return remark


def _binary_colormap(study: Study) -> LinearSegmentedColormap:
    return LinearSegmentedColormap.from_list(
        "two",
        [1 - 0.7 * (1 - rgb(study.colors[0])), np.ones(3), 1 - 0.7 * (1 - rgb(study.colors[1]))],
    )


def _boundaries(axes: Axes, study: Study, probabilities: Floats) -> None:
    """Draw lines where two classes are equally probable."""
    across, up = study.plane.cell_centers(GRID_SIZE)
    for c in [1] if len(study.classes) == 2 else range(len(study.classes)):
        lead = probabilities[:, c] - np.delete(probabilities, c, 1).max(1)
        if lead.min() < 0 < lead.max():
            cells = lead.reshape(GRID_SIZE, GRID_SIZE)
            axes.contour(across, up, cells, levels=[0.0], colors=INK, linewidths=1.1, alpha=0.8)


def _eval_points(axes: Axes, study: Study, frame: int) -> str:
    points = study.points(study.eval_split, 500)
    positions = study.positions(points)
    scatter_classes(axes, study, positions, points.y.astype(np.int64))
    return _mark_wrong(axes, study, points, positions, frame)


def _mark_wrong(axes: Axes, study: Study, points: Points, positions_N2: Floats, frame: int) -> str:
    """Draw rings around the misclassified points; returns the number of points and of rings."""
    wrong = study.outputs(points.x, [frame])[0].argmax(1) != points.y
    ring_points(axes, positions_N2[wrong])
    count = f"{len(points):,} {study.eval_split} points"
    return (
        f"{count}, the {int(wrong.sum())} misclassified ones ringed"
        if wrong.any()
        else f"{count}, all classified correctly"
    )


def _classes_1d(study: Study, frame: int, fig: Figure) -> str:
    axes = fig.subplots()
    across = study.plane.cell_centers(LINE_SIZE)[0]
    probabilities = study.outputs(study.plane.grid(LINE_SIZE), [frame])[0]
    for c, name in enumerate(study.classes):
        axes.plot(across, probabilities[:, c], color=study.colors[c], label=name)
    axes.axhline(0, color=SOFT, linewidth=0.6)
    distance = min(0.07, 0.6 / len(study.classes))  # between the rows of two classes
    if study.eval_split != "train":
        train = study.points("train", 500)
        axes.scatter(
            study.positions(train)[:, 0],
            -distance * (train.y + 1),
            s=30,
            marker="|",
            linewidths=0.9,
            alpha=0.5,
            color=[study.colors[c] for c in train.y.astype(int)],
        )
    points = study.points(study.eval_split, 500)
    classes = points.y.astype(np.int64)
    positions = np.column_stack([study.positions(points)[:, 0], -distance * (classes + 1)])
    scatter_classes(axes, study, positions, classes)
    set_plane_axes(axes, study)
    axes.set(ylim=(-distance * (len(study.classes) + 1), 1.04), ylabel="P(class | x)")
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    ticks = "" if study.eval_split == "train" else f"; ticks: {example_count(train)} train points"
    return (
        "below zero, a row for each class: markers:"
        f" {_mark_wrong(axes, study, points, positions, frame)}{ticks}"
    )


def _values_1d(study: Study, frame: int, fig: Figure) -> str:
    names = study.prepared.target_names[:4]
    x = study.plane.cell_centers(LINE_SIZE)[0]
    fitted = study.outputs(study.plane.grid(LINE_SIZE), [frame])[0]
    train, points = study.points("train", 500), study.points(study.eval_split, 500)
    panels = np.atleast_1d(fig.subplots(len(names), 1, sharex=True))
    for target, (axes, name) in enumerate(zip(panels, names, strict=True)):
        if isinstance(dataset := study.settings.dataset, Curve):
            axes.plot(x, dataset.curve(x), "--", color=INK, linewidth=1.1, label="true function")
        if study.eval_split != "train":
            _dots(axes, study, train, target, color=SOFT, s=14, alpha=0.6, label="train points")
        axes.plot(x, fitted[:, target], color=color(5), linewidth=1.8, label="network", zorder=2)
        _dots(
            axes,
            study,
            points,
            target,
            color=color(0),
            s=max(8, min(26, 1500 / len(points))),  # many points leave the line visible
            edgecolors="white",
            linewidths=0.6,
            zorder=3,
            label=f"{study.eval_split} points",
        )
        shown = np.concatenate([train.y[:, target], points.y[:, target]])
        margin = 0.15 * max(float(np.ptp(shown)), 1e-12)
        axes.set(ylim=(shown.min() - margin, shown.max() + margin), ylabel=name)
        faint_grid(axes)
    set_plane_axes(panels[-1], study)
    panels[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, columnspacing=1.2)
    counts = {"train": train, study.eval_split: points}
    return "; ".join(
        [
            " and ".join(f"{example_count(p)} {split} points" for split, p in counts.items()),
            *filter(None, [omitted_targets(study, len(names))]),
        ]
    )


def _dots(axes: Axes, study: Study, points: Points, target: int, **look: Any) -> None:
    """Draw the values of a target over the only feature."""
    axes.scatter(study.positions(points)[:, 0], points.y[:, target], **look)


def _values_2d(study: Study, frame: int, fig: Figure) -> str:
    axes = fig.subplots()
    points = study.points(study.eval_split, 500)
    limits = value_limits(study.points("train").y[:, 0].astype(float))
    fitted = study.outputs(study.plane.grid(GRID_SIZE), [frame])[0]
    axes.imshow(
        fitted[:, 0].reshape(GRID_SIZE, GRID_SIZE),
        extent=study.plane.extent,
        origin="lower",
        aspect="auto",
        cmap="viridis",
        vmin=limits[0],
        vmax=limits[1],
        interpolation="bilinear",
    )
    shown = scatter_values(axes, study.positions(points), points.y[:, 0].astype(float), limits)
    set_plane_axes(axes, study)
    fig.colorbar(shown, ax=axes, label=study.prepared.target_names[0], shrink=0.9)
    first = "" if len(study.prepared.target_names) == 1 else "; only the first target"
    return f"surface: the network; points: {len(points):,} {study.eval_split} points{first}"
