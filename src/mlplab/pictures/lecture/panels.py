"""A grid of panels, one per component of a group, with what there is to know below each."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlplab.pictures.scatter import faint_grid
from mlplab.pictures.style import SOFT, figure, headline

MAX_LARGE = 6  # panels that are drawn in a size for slides
CAPTION = 12.0  # points of the text below them
CHARACTER_WIDTH = 0.53  # relative to the font size


def grid_of_panels(
    captions: Mapping[str, Sequence[str]], columns: int, width: float = 2.45, height: float = 1.5
) -> tuple[Figure, list[Axes]]:
    """Return a figure and one titled axes per name, with the lines of its caption below.

    `width` (with the margin) and `height` (of the axes) are in inches per panel; up to 6 panels are
    larger. Lines that are too long are wrapped.
    """
    font_size = 7.0
    if len(captions) <= MAX_LARGE:
        columns, width, height, font_size = min(len(captions), 3), 4.4, 2.5, CAPTION
    characters = int(0.97 * width * 72 / (CHARACTER_WIDTH * font_size))
    texts = [
        "\n".join(textwrap.fill(line, characters, break_on_hyphens=False) for line in lines)
        for lines in captions.values()
    ]
    below = 0.4 + 1.35 * font_size / 72 * max(1 + text.count("\n") for text in texts)
    rows, above, bottom, top = -(-len(captions) // columns), 0.35, below + 0.7, 0.85
    fig = figure(
        columns * width + 0.4,
        rows * height + (rows - 1) * (below + above) + bottom + top,
        left=0.05 * font_size + 0.2,
        right=0.2,
        bottom=bottom,
        top=top,
    )
    fig.subplots_adjust(hspace=(below + above) / height, wspace=0.25)
    all_axes = list(np.atleast_1d(fig.subplots(rows, columns)).flat)
    for axes, name, text in zip(all_axes, captions, texts, strict=False):
        axes.set_title(name, fontsize=1.5 * font_size, fontweight="bold")
        axes.tick_params(labelsize=font_size)
        faint_grid(axes)
        axes.annotate(
            text,
            (0.5, 0),
            (0, -10 - 1.2 * font_size),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=font_size,
            color=SOFT,
        )
    for axes in all_axes[len(captions) :]:
        axes.set_axis_off()
    return fig, all_axes[: len(captions)]


def panel_headline(fig: Figure, count: int, title: str, *remarks: str) -> Figure:
    """Add a title and remarks to a figure of this number of panels; returns the figure."""
    return headline(fig, title, *remarks, remark_size=CAPTION if count <= MAX_LARGE else 8.5)
