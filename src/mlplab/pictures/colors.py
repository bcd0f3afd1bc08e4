"""The colors of classes and lines. Needs no matplotlib, so that what is computed for a picture can
be computed where nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Okabe and Ito 2008, "Color Universal Design"; black stands last, since it is ink too.
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
# A class that is called by a color has that color, as far as readers can tell it from the others.
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
    """A color for each class: its own where all classes are called by colors, else one after the
    other.
    """
    if names and all(name in NAMED_COLORS for name in names):
        return tuple(NAMED_COLORS[name] for name in names)
    return tuple(color(c) for c in range(len(names)))


def color(index: int) -> str:
    return COLORS[index % len(COLORS)]


def rgb(hex_color: str) -> Floats:
    """Red, green, blue in [0, 1]."""
    return np.array([int(hex_color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
