"""Examples as points on a plane, distinguished by color and marker."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from mlplab.pictures.colors import COLORS, Floats
from mlplab.pictures.study import Points, Study
from mlplab.pictures.style import INK, MARKERS, SOFT


def scatter_classes(
    axes: Axes, study: Study, points_N2: Floats, classes_N: NDArray[np.int64]
) -> None:
    """Draw points in the color and marker of their class; colors repeat after the tenth class."""
    for c in np.unique(classes_N).tolist():
        class_points = points_N2[classes_N == c]
        axes.scatter(
            class_points[:, 0],
            class_points[:, 1],
            s=18,
            color=study.colors[c],
            marker=MARKERS[c % len(MARKERS)],
            edgecolors="white",
            linewidths=0.4,
            zorder=3,
        )


def class_legend(axes: Axes, study: Study, right: float = 1.0) -> None:
    """Add a legend of all classes, including those without points in this panel, `right` of it, in
    widths of the panel.
    """
    names = study.classes
    shown = names
    if len(names) > len(COLORS):
        shown = (*names[: len(COLORS) - 1], f"and {len(names) - len(COLORS) + 1} more")
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=MARKERS[c] if c < len(names) else "",
            color=study.colors[c % len(names)],
            markeredgecolor="white",
            markersize=6,
            label=name,
        )
        for c, name in enumerate(shown)
    ]
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(right, 1.0),
        handletextpad=0.2,
        borderaxespad=0.2,
    )


def scatter_values(
    axes: Axes, points_N2: Floats, values_N: Floats, limits: tuple[float, float]
) -> PathCollection:
    """Draw points colored by a value; returns the mappable for a color bar."""
    return axes.scatter(
        points_N2[:, 0],
        points_N2[:, 1],
        c=values_N,
        cmap="viridis",
        vmin=limits[0],
        vmax=limits[1],
        s=18,
        edgecolors="white",
        linewidths=0.4,
        zorder=3,
    )


def ring_points(axes: Axes, points_N2: Floats) -> None:
    """Draw rings around points, such as the misclassified ones."""
    axes.scatter(
        points_N2[:, 0],
        points_N2[:, 1],
        s=52,
        facecolors="none",
        edgecolors=INK,
        linewidths=1.0,
        zorder=4,
    )


def set_plane_axes(axes: Axes, study: Study) -> None:
    """Set the limits and labels of the axes to those of the plane."""
    left, right, bottom, top = study.plane.extent
    axes.set(xlim=(left, right), xlabel=study.plane.names[0])
    if study.plane.dimensions == 2:
        axes.set(ylim=(bottom, top), ylabel=study.plane.names[1])
        if 1 / 3 < (right - left) / (top - bottom) < 3:
            axes.set_box_aspect((top - bottom) / (right - left))


def example_count(points: Points) -> str:
    """Return how many examples a panel shows, such as "500 of 2,000"."""
    return (
        f"{len(points):,}"
        if len(points) == points.total
        else f"{len(points):,} of {points.total:,}"
    )


def omitted_targets(study: Study, num_shown: int) -> str:
    """Return a remark if not all targets are shown, else an empty string."""
    total = len(study.prepared.target_names)
    return "" if num_shown == total else f"only the first {num_shown} of {total} targets"


def value_limits(values: Floats) -> tuple[float, float]:
    """Return the limits of a color scale, which ignore a few extreme values."""
    low, high = np.percentile(values, [1, 99])
    return (float(low), float(high)) if low < high else (float(low) - 0.5, float(high) + 0.5)


def faint_grid(axes: Axes) -> None:
    """Draw thin grid lines behind the data."""
    axes.grid(True, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=SOFT)
