"""What a picture of a run is. A new one is a function in a module of `gallery/`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


_registered: dict[str, Picture] = {}


def picture(*, moving: bool = False) -> Callable[[Draw], Draw]:
    """Register a function of the gallery under its own name, which is that of the file below
    pictures/.
    """

    def register(draw: Draw) -> Draw:
        name = draw.__name__
        _registered[name] = Picture(name, meaning(draw), draw, moving)
        return draw

    return register


def registered() -> tuple[Picture, ...]:
    """The pictures whose modules have been imported."""
    return tuple(_registered.values())
