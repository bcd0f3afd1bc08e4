"""What the network says about every place of the plane."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mlplab.pictures.colors import color, rgb
from mlplab.pictures.registry import picture
from mlplab.pictures.scatter import (
    faint_grid,
    frame_plane,
    legend_of_classes,
    ring,
    scatter_classes,
    scatter_values,
    value_limits,
)
from mlplab.pictures.study import Study
from mlplab.pictures.style import INK, class_picture, figure, headline

GRID = 120
LINE = 400


@picture(moving=True)
def decision(study: Study, frame: int) -> Figure | None:
    """P(class | x) over the plane, or the fitted curve or surface, with the points of the part that
    the network is judged on.
    """
    draw = (
        _values
        if not study.classifies
        else _classes
        if study.plane.dimensions == 2
        else _classes_on_a_line
    )
    drawn = figure(6.4, 5.3, right=1.2 if study.classifies and len(study.classes) > 2 else 0.3)
    remark = draw(study, frame, drawn)
    epoch = int(study.frames.epoch[frame])
    headline(
        drawn,
        f"{study.settings.name}: what the network says, epoch {epoch}",
        remark,
        study.plane.said,
    )
    return drawn


def _classes(study: Study, frame: int, drawn: Figure) -> str:
    axes = drawn.subplots()
    probabilities = study.outputs(study.plane.grid(GRID), [frame])[0]
    extent = study.plane.extent
    two = probabilities.shape[1] == 2
    if two:
        shown = axes.imshow(
            probabilities[:, 1].reshape(GRID, GRID),
            extent=extent,
            origin="lower",
            aspect="auto",
            cmap=_between(study),
            vmin=0,
            vmax=1,
            interpolation="bilinear",
        )
        drawn.colorbar(shown, ax=axes, label=f"P(y = {study.classes[1]} | x)", shrink=0.9)
    else:
        axes.imshow(
            class_picture(probabilities, study.colors).reshape(GRID, GRID, 3),
            extent=extent,
            origin="lower",
            aspect="auto",
            interpolation="bilinear",
        )
    _boundaries(axes, probabilities, extent)
    frame_plane(axes, study)
    remark = _judged_points(axes, study, frame)
    if not two:
        legend_of_classes(axes, study)
    return remark


def _between(study: Study) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(
        "two",
        [1 - 0.7 * (1 - rgb(study.colors[0])), np.ones(3), 1 - 0.7 * (1 - rgb(study.colors[1]))],
    )


def _boundaries(axes: Any, probabilities: Any, extent: tuple[float, float, float, float]) -> None:
    """Where two classes are equally probable."""
    left, right, bottom, top = extent
    across, up = (
        low + (np.arange(GRID) + 0.5) / GRID * (high - low)
        for low, high in ((left, right), (bottom, top))
    )
    for c in (
        range(1, probabilities.shape[1])
        if probabilities.shape[1] == 2
        else range(probabilities.shape[1])
    ):
        others = np.delete(probabilities, c, 1).max(1)
        lead = (probabilities[:, c] - others).reshape(GRID, GRID)
        if lead.min() < 0 < lead.max():
            axes.contour(across, up, lead, levels=[0.0], colors=INK, linewidths=1.1, alpha=0.8)


def _judged_points(axes: Any, study: Study, frame: int) -> str:
    points = study.points(study.judged, 500)
    places, classes = study.plane.place(points.x), points.y.astype(np.int64)
    scatter_classes(axes, study, places, classes)
    wrong = study.outputs(points.x, [frame])[0].argmax(1) != classes
    ring(axes, places[wrong])
    count = f"{len(points):,} {study.judged} points"
    return (
        f"{count}, the {int(wrong.sum())} that are predicted wrongly ringed"
        if wrong.any()
        else f"{count}, all predicted rightly"
    )


def _classes_on_a_line(study: Study, frame: int, drawn: Figure) -> str:
    axes = drawn.subplots()
    grid = study.plane.grid(LINE)
    probabilities = study.outputs(grid, [frame])[0]
    for c, name in enumerate(study.classes):
        axes.plot(
            study.plane.place(grid)[:, 0], probabilities[:, c], color=study.colors[c], label=name
        )
    points = study.points(study.judged, 500)
    for c in range(len(study.classes)):
        own = study.plane.place(points.x[points.y == c])[:, 0]
        axes.plot(own, np.full(len(own), -0.04 - 0.03 * c), "|", color=study.colors[c])
    frame_plane(axes, study)
    axes.set_ylabel("P(class | x)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return f"ticks: {len(points):,} {study.judged} points"


def _values(study: Study, frame: int, drawn: Figure) -> str:
    return (
        _curve(study, frame, drawn)
        if study.plane.dimensions == 1
        else _surface(study, frame, drawn)
    )


def _curve(study: Study, frame: int, drawn: Figure) -> str:
    names = study.prepared.target_names[:4]
    grid, points = study.plane.grid(LINE), study.points(study.judged, 500)
    fitted = study.outputs(grid, [frame])[0]
    panels = np.atleast_1d(drawn.subplots(len(names), 1, sharex=True))
    for target, (axes, name) in enumerate(zip(panels, names, strict=True)):
        axes.plot(
            study.plane.place(points.x)[:, 0],
            points.y[:, target],
            ".",
            color=color(0),
            alpha=0.55,
            markersize=5,
            label=f"{study.judged} data",
        )
        axes.plot(
            study.plane.place(grid)[:, 0],
            fitted[:, target],
            color=color(5),
            linewidth=2.2,
            label="network",
        )
        low, high = points.y[:, target].min(), points.y[:, target].max()
        margin = 0.15 * max(high - low, 1e-12)
        axes.set_ylim(low - margin, high + margin)
        axes.set_ylabel(name)
        faint_grid(axes)
    frame_plane(panels[-1], study)
    panels[0].legend(loc="best")
    return (
        ""
        if len(names) == len(study.prepared.target_names)
        else f"the first {len(names)} of {len(study.prepared.target_names)} targets"
    )


def _surface(study: Study, frame: int, drawn: Figure) -> str:
    axes = drawn.subplots()
    points = study.points(study.judged, 500)
    limits = value_limits(study.points("train").y[:, 0].astype(float))
    fitted = study.outputs(study.plane.grid(GRID), [frame])[0][:, 0].reshape(GRID, GRID)
    axes.imshow(
        fitted,
        extent=study.plane.extent,
        origin="lower",
        aspect="auto",
        cmap="viridis",
        vmin=limits[0],
        vmax=limits[1],
        interpolation="bilinear",
    )
    shown = scatter_values(axes, study.plane.place(points.x), points.y[:, 0].astype(float), limits)
    frame_plane(axes, study)
    drawn.colorbar(shown, ax=axes, label=study.prepared.target_names[0], shrink=0.9)
    first = "" if len(study.prepared.target_names) == 1 else ", the first target"
    return f"surface: the network; points: {len(points):,} of the {study.judged} data{first}"
