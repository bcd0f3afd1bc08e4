"""The predictions of the network over the plane."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from mlplab.pictures.colors import Floats, color, rgb
from mlplab.pictures.registry import picture
from mlplab.pictures.scatter import (
    class_legend,
    faint_grid,
    omitted_targets,
    ring_points,
    scatter_classes,
    scatter_values,
    set_plane_axes,
    value_limits,
)
from mlplab.pictures.study import Study
from mlplab.pictures.style import INK, class_picture, figure, headline

GRID_SIZE = 120
LINE_SIZE = 400


@picture(moving=True)
def decision(study: Study, frame: int) -> Figure | None:
    """P(class | x) over the plane, or the fitted curve or surface, with the points of the
    evaluation split.
    """
    on_line, on_plane = (_classes_1d, _classes_2d) if study.classifies else (_values_1d, _values_2d)
    fig = figure(6.4, 5.3, right=1.2 if study.classifies and len(study.classes) > 2 else 0.3)
    remark = (on_line if study.plane.dimensions == 1 else on_plane)(study, frame, fig)
    return headline(
        fig,
        f"{study.settings.name}: predictions at epoch {int(study.frames.epoch[frame])}",
        remark,
        study.plane.note,
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
    positions, classes = study.plane.project(points.x), points.y.astype(np.int64)
    scatter_classes(axes, study, positions, classes)
    wrong = study.outputs(points.x, [frame])[0].argmax(1) != classes
    ring_points(axes, positions[wrong])
    count = f"{len(points):,} {study.eval_split} points"
    return (
        f"{count}, the {int(wrong.sum())} misclassified ones ringed"
        if wrong.any()
        else f"{count}, all classified correctly"
    )


def _classes_1d(study: Study, frame: int, fig: Figure) -> str:
    axes = fig.subplots()
    grid = study.plane.grid(LINE_SIZE)
    probabilities = study.outputs(grid, [frame])[0]
    for c, name in enumerate(study.classes):
        axes.plot(
            study.plane.project(grid)[:, 0], probabilities[:, c], color=study.colors[c], label=name
        )
    points = study.points(study.eval_split, 500)
    for c in range(len(study.classes)):
        positions = study.plane.project(points.x[points.y == c])[:, 0]
        axes.plot(positions, np.full(len(positions), -0.04 - 0.03 * c), "|", color=study.colors[c])
    set_plane_axes(axes, study)
    axes.set_ylabel("P(class | x)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return f"ticks: {len(points):,} {study.eval_split} points"


def _values_1d(study: Study, frame: int, fig: Figure) -> str:
    names = study.prepared.target_names[:4]
    grid, points = study.plane.grid(LINE_SIZE), study.points(study.eval_split, 500)
    fitted = study.outputs(grid, [frame])[0]
    panels = np.atleast_1d(fig.subplots(len(names), 1, sharex=True))
    for target, (axes, name) in enumerate(zip(panels, names, strict=True)):
        axes.plot(
            study.plane.project(points.x)[:, 0],
            points.y[:, target],
            ".",
            color=color(0),
            alpha=0.55,
            markersize=5,
            label=f"{study.eval_split} data",
        )
        axes.plot(
            study.plane.project(grid)[:, 0],
            fitted[:, target],
            color=color(5),
            linewidth=2.2,
            label="network",
        )
        low, high = points.y[:, target].min(), points.y[:, target].max()
        margin = 0.15 * max(high - low, 1e-12)
        axes.set(ylim=(low - margin, high + margin), ylabel=name)
        faint_grid(axes)
    set_plane_axes(panels[-1], study)
    panels[0].legend(loc="best")
    return omitted_targets(study, len(names))


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
    shown = scatter_values(
        axes, study.plane.project(points.x), points.y[:, 0].astype(float), limits
    )
    set_plane_axes(axes, study)
    fig.colorbar(shown, ax=axes, label=study.prepared.target_names[0], shrink=0.9)
    first = "" if len(study.prepared.target_names) == 1 else "; only the first target"
    return f"surface: the network; points: {len(points):,} {study.eval_split} points{first}"
