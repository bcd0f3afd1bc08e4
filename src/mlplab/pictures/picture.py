"""What a picture of a run is, and the table of all of them. A new one is a function in a file of
`gallery/`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from mlplab.schema import meaning

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlplab.pictures.study import Study

Draw = Callable[["Study", int], "Figure | None"]


@dataclass(frozen=True)
class Picture:
    """A function (study, frame) -> figure, or None where the run has no such picture. `moving` ones
    change over the training.
    """

    name: str
    meaning: str  # the first line of the function's docstring
    draw: Draw
    moving: bool


_found: dict[str, Picture] = {}


def picture(*, moving: bool = False) -> Callable[[Draw], Draw]:
    """Register a function of the gallery under its own name, which is that of the file below
    pictures/.
    """

    def register(draw: Draw) -> Draw:
        name = draw.__name__
        _found[name] = Picture(name, meaning(draw), draw, moving)
        return draw

    return register


def pictures() -> tuple[Picture, ...]:
    """All pictures, in the order in which a person would look at them."""
    from mlplab.pictures import gallery

    for module in pkgutil.iter_modules(gallery.__path__):
        import_module(f"{gallery.__name__}.{module.name}")
    return tuple(sorted(_found.values(), key=lambda found: _order(found.name)))


_FIRST = (
    "data",
    "decision",
    "units",
    "hidden",
    "curves",
    "confusion",
    "roc",
    "residuals",
    "health",
)


def _order(name: str) -> tuple[int, str]:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST), name
