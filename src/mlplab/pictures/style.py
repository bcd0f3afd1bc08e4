"""The style of the pictures: colors for color-blind readers, sizes readable as thumbnail and in
print.
"""

import io
import textwrap
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from matplotlib import rc_context, rcParamsDefault
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb, to_rgba, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import AutoLocator, FuncFormatter, LogLocator, NullLocator
from matplotlib.typing import ColorType
from PIL import Image

from mlplab.pictures.colors import Floats, rgb

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
NEGATIVE, POSITIVE = "#D55E00", "#0072B2"
INK, SOFT, GRID = "#1c2430", "#5b6675", "#d9dee5"
DIVERGING = LinearSegmentedColormap.from_list(
    "mlplab", [NEGATIVE, "#f6c9a6", "#ffffff", "#a9cfe8", POSITIVE]
)
DPI = 110
REMARK = 9.0
"""Points of small print. A slide is 13.3 x 7.5 inches: a picture of at most 10 x 5.6 inches is
enlarged there by a third or more, so that 9 points become 12. Taller pictures need larger text.
"""

PAPER, DARK_PAPER, DARK_INK, DARK_SOFT = "#ffffff", "#14181e", "#e8ecf1", "#a3afbd"
_DARK = {
    PAPER: DARK_PAPER,
    INK: DARK_INK,
    SOFT: DARK_SOFT,
    GRID: "#2b333e",
    POSITIVE.lower(): "#3d9be6",
    "#000000": DARK_INK,
}
"""Colors of text and lines -> those on a dark ground."""
MIN_CONTRAST = 4.0
"""Of lines and text to the dark ground."""

MAX_INTERVALS = 5
"""Of an axis between ticks, since ticks take most of the drawing time."""

_STYLE = {
    "font.family": "DejaVu Sans",  # matplotlib's own; a list would be searched for every text
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.titley": 1.0,  # fixed, since computing it would measure every tick label
    "axes.labelsize": 10.0,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": GRID,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "text.parse_math": False,  # names come from users and may contain dollar signs
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
}


def style() -> AbstractContextManager[None]:
    """Return a context that applies this style, regardless of the user's matplotlibrc."""
    defaults: Any = {
        key: value
        for key, value in rcParamsDefault.items()
        if not key.startswith(("backend", "interactive"))
    }
    return rc_context(defaults | _STYLE)


class NotebookFigure(Figure):
    """A figure that notebooks show without pyplot."""

    def _repr_png_(self) -> bytes:
        return png(self)


def figure(
    width: float,
    height: float,
    *,
    left: float = 0.8,
    right: float = 0.3,
    bottom: float = 0.9,
    top: float = 0.7,
    gap: float = 0.75,
) -> Figure:
    """Return an empty figure with margins and the gap between panels in inches.

    The layout is fixed: matplotlib's layout engines take longer than the drawing, and would shift
    the panels between the steps of a training.
    """
    fig = NotebookFigure(figsize=(width, height))
    fig.subplots_adjust(
        left / width, bottom / height, 1 - right / width, 1 - top / height, gap / 3, gap / 2
    )
    FigureCanvasAgg(fig)
    return fig


def png(fig: Figure, dpi: int = DPI) -> bytes:
    """Return the figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    with style(), warnings.catch_warnings():
        # a name in a script that no font of the machine has is shown as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        fig.savefig(
            buffer,
            format="png",
            dpi=dpi,
            metadata={"Software": None},
            pil_kwargs={"compress_level": 3},
        )
    return buffer.getvalue()


def svg(fig: Figure) -> bytes:
    """Return the figure as the bytes of an SVG file, equal for equal figures; text stays text."""
    buffer = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "mlplab"}):
        fig.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def encoded(fig: Figure, suffix: str) -> bytes:
    """Return the figure as the bytes of a file with the suffix .svg or .png."""
    return svg(fig) if suffix == ".svg" else png(fig)


def darken(fig: Figure) -> Figure:
    """Give a finished figure a dark ground, with text and lines that are legible on it; return
    it. Images, maps and the points on them stay as they are.
    """
    fig.set_facecolor(DARK_PAPER)
    for axes in fig.axes:
        axes.set_facecolor(DARK_PAPER)
        axes.tick_params(which="both", colors=DARK_SOFT, grid_color=_DARK[GRID])
        for spine in axes.spines.values():
            spine.set_edgecolor(DARK_SOFT)
        if hasattr(axes, "zaxis"):
            cube: Any = axes
            for axis in (cube.xaxis, cube.yaxis, cube.zaxis):
                axis.set_pane_color(to_rgba(_DARK[GRID], 0.4))
                axis.line.set_color(DARK_SOFT)
                axis._axinfo["grid"]["color"] = _DARK[GRID]  # matplotlib has no setter
    grounds = {id(fig.patch), *(id(axes.patch) for axes in fig.axes)}
    on_images = {
        id(text) for axes in fig.axes if axes.images and axes.axison for text in axes.texts
    }
    for artist in fig.findobj(lambda artist: id(artist) not in grounds | on_images):
        _darken_artist(artist)
    return fig


def _darken_artist(artist: Artist) -> None:
    """Make one artist legible on the dark ground. Points on a map stay as they are, and so do
    their legends.
    """
    on_map = isinstance(artist.axes, Axes) and bool(artist.axes.images)
    if isinstance(artist, Line2D) and artist.get_linestyle() == "None":  # markers
        if not on_map:
            artist.set_color(_on_dark(artist.get_color()))
            artist.set_markeredgecolor(_edge_on_dark(artist.get_markeredgecolor()))
    elif isinstance(artist, (Text, Line2D)):
        if to_hex(artist.get_color()) != "#ffffff":  # what is white is so on purpose
            artist.set_color(_on_dark(artist.get_color()))
    elif isinstance(artist, LineCollection):
        artist.set_color([_on_dark(tuple(row)) for row in to_rgba_array(artist.get_color())])
    elif isinstance(artist, PathCollection):
        if not on_map and artist.get_array() is None:  # colors of a scale stay
            artist.set_facecolor(
                [_on_dark(tuple(f)) for f in to_rgba_array(artist.get_facecolor())]
            )
            edges = to_rgba_array(artist.get_edgecolor())
            artist.set_edgecolor([_edge_on_dark(tuple(edge)) for edge in edges])
    elif isinstance(artist, Rectangle):
        artist.set_edgecolor(_on_dark(artist.get_edgecolor()))
        artist.set_facecolor(_on_dark(artist.get_facecolor()))


def _edge_on_dark(color: ColorType) -> ColorType:
    """The color of the edge of a point: a white edge separates points from each other, and takes
    the color of the ground.
    """
    return DARK_PAPER if to_hex(color) == PAPER else _on_dark(color)


def _on_dark(color: ColorType) -> ColorType:
    """The color, lighter if it has little contrast to the dark ground."""
    red, green, blue, alpha = to_rgba(color)
    if not alpha or to_hex(color) in _DARK.values():
        return color  # transparent, or done
    if (other := _DARK.get(to_hex(color))) is not None:
        return (*to_rgb(other), alpha)
    light = np.array([red, green, blue])
    while _luminance(light) + 0.05 < MIN_CONTRAST * (_luminance(to_rgb(DARK_PAPER)) + 0.05):
        light = 0.9 * light + 0.1
    return (float(light[0]), float(light[1]), float(light[2]), alpha)


def _luminance(color: Sequence[float] | Floats) -> float:
    """The relative luminance of red, green and blue in [0, 1]. Source: WCAG 2.2."""
    values = np.asarray(color)
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))


def resized(png_bytes: bytes, factor: float) -> bytes:
    """Return an image whose width and height are multiplied by the factor."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png_bytes)) as image:
        width, height = (round(factor * length) for length in image.size)
        image.resize((width, height), Image.Resampling.LANCZOS).save(
            buffer, "png", compress_level=3
        )
    return buffer.getvalue()


def in_lines(name: str, width: int, max_lines: int) -> tuple[str, bool]:
    """Return a name in lines of this many characters, and whether it is whole; what does not fit
    is cut.
    """
    lines = textwrap.wrap(name, width, break_on_hyphens=False)
    if len(lines) <= max_lines:
        return "\n".join(lines), True
    return "\n".join([*lines[: max_lines - 1], lines[max_lines - 1][: width - 1] + "…"]), False


def caption(width: float, *remarks: str, size: float = REMARK) -> str:
    """Return the nonempty remarks in lines for a figure of this width in inches."""
    return textwrap.fill("; ".join(filter(None, remarks)), int(118 * width / size))


def headline(fig: Figure, title: str, *remarks: str, remark_size: float = REMARK) -> Figure:
    """Add a title, and the nonempty remarks in small print at the bottom, and limit the ticks;
    returns the figure.
    """
    for axis in (axis for axes in fig.axes for axis in (axes.xaxis, axes.yaxis)):
        if isinstance(locator := axis.get_major_locator(), AutoLocator):
            locator.set_params(nbins=MAX_INTERVALS)
    width, height = fig.get_size_inches().tolist()
    title_size = max(12, 1.35 * remark_size)
    # to the side, some pictures have a legend
    lines = textwrap.fill(title, int(0.82 * 118 * width / title_size), break_on_hyphens=False)
    fig.text(0.5, 1 - 0.1 / height, lines, fontsize=title_size, ha="center", va="top")
    if text := caption(width, *remarks, size=remark_size):
        fig.text(
            0.5, 0.08 / height, text, fontsize=remark_size, color=SOFT, ha="center", va="bottom"
        )
    return fig


def logarithmic(axes: Axes, horizontal: bool = False) -> None:
    """Make the vertical or the horizontal axis logarithmic, with ticks labeled as plain numbers."""
    (axes.set_xscale if horizontal else axes.set_yscale)("log")
    axis = axes.xaxis if horizontal else axes.yaxis
    low, high = axis.get_view_interval()
    decades = np.floor(np.log10(high)) - np.ceil(np.log10(low)) + 1  # that have a tick
    ticks = range(1, 10) if high / low < 5 else (1, 2, 5) if decades < 3 else (1,)
    axis.set_major_locator(LogLocator(subs=ticks, numticks=8))
    axis.set_major_formatter(
        FuncFormatter(
            lambda value, _: f"{value:.0e}".replace("e-0", "e-") if value < 0.001 else f"{value:g}"
        )
    )
    axis.set_minor_locator(NullLocator())


def class_picture(probabilities_NC: Floats, colors_C: Sequence[str]) -> Floats:
    """Return the color of the most probable class at each grid point, [N, 3].

    The lower its probability, the paler the color.
    """
    num_classes = probabilities_NC.shape[1]
    winner = probabilities_NC.argmax(1)
    sure = (probabilities_NC.max(1) - 1 / num_classes) / (1 - 1 / num_classes)
    colors = np.array([rgb(hex_color) for hex_color in colors_C])[winner]
    return np.asarray(1 - (0.08 + 0.62 * sure)[:, None] * (1 - colors))


def map_picture(values: Floats) -> Floats:
    """Return a color for each value, [..., 3]: white at zero, blue above, orange below.

    Colors are saturated at the largest magnitude.
    """
    largest = np.abs(values).max(initial=1e-12)
    return np.asarray(DIVERGING(0.5 + 0.5 * np.clip(values / largest, -1, 1)))[..., :3]
