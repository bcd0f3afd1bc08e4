"""A grid of small panels, one per component of a group."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlplab.pictures.scatter import faint_grid
from mlplab.pictures.style import SOFT, figure


def grid_of_panels(
    names: list[str], columns: int, width: float = 2.45, height: float = 2.3
) -> tuple[Figure, list[Axes]]:
    """Return a figure and one titled axes per name; sizes are in inches per panel."""
    rows = -(-len(names) // columns)
    fig = figure(
        columns * width + 0.4, rows * height + 1.3, left=0.55, right=0.2, bottom=1.0, top=0.8
    )
    fig.subplots_adjust(hspace=0.72, wspace=0.3)
    all_axes = list(np.atleast_1d(fig.subplots(rows, columns)).flat)
    for axes, name in zip(all_axes, names, strict=False):
        axes.set_title(name, fontsize=10.5, fontweight="bold")
        axes.tick_params(labelsize=7)
        faint_grid(axes)
    for axes in all_axes[len(names) :]:
        axes.set_axis_off()
    return fig, all_axes[: len(names)]


def caption(axes: Axes, text: str) -> None:
    """Add small text below a panel."""
    axes.text(
        0.5, -0.2, text, transform=axes.transAxes, ha="center", va="top", fontsize=6.8, color=SOFT
    )
