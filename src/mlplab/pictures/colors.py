"""The colors of classes and lines.

This module does not need matplotlib, so that the data of a picture can be computed without drawing.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Okabe and Ito 2008, "Color Universal Design". Black comes last, since text and axes use it too.
COLORS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#8C8C00",
    "#7A4FA3",
    "#8B5A2B",
    "#4D4D4D",
)
# A class named after a color gets that color, in a shade that is distinguishable from the others.
NAMED_COLORS = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "red": "#D55E00",
    "purple": "#7A4FA3",
    "yellow": "#C9B900",
    "black": "#222222",
    "pink": "#CC79A7",
}


def palette(names: Sequence[str]) -> tuple[str, ...]:
    """Return one color per class.

    If all classes are named after colors, they get these colors; otherwise the standard sequence.
    """
    if names and all(name in NAMED_COLORS for name in names):
        return tuple(NAMED_COLORS[name] for name in names)
    return tuple(color(c) for c in range(len(names)))


def color(index: int) -> str:
    """Return the color of the line or class with this index; colors repeat after the tenth."""
    return COLORS[index % len(COLORS)]


def rgb(hex_color: str) -> Floats:
    """Return red, green and blue in [0, 1] of a color such as #0072B2."""
    return np.array([int(hex_color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
