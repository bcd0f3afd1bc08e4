"""Registry of the pictures of a run. A new picture is a function in a module of `gallery/`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlplab.schema import meaning

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlplab.pictures.study import Study

Applies = Callable[["Study"], bool]
Draw = Callable[["Study", int], "Figure | None"]


@dataclass(frozen=True)
class Picture:
    """A registered picture.

    `draw` maps (study, frame) to a figure, or to None if the picture does not apply to the run.
    A `moving` picture changes during the training. `applies` says without drawing whether the
    picture applies; a function may still return None.
    """

    name: str
    meaning: str  # the first paragraph of the function's docstring
    draw: Draw
    moving: bool
    applies: Applies


_registered: dict[str, Picture] = {}


def picture(
    *, moving: bool = False, applies: Applies = lambda study: True
) -> Callable[[Draw], Draw]:
    """Register a function of the gallery under its name, which is also the name of its PNG file.
    It is called only with studies to which it applies.
    """

    def register(draw: Draw) -> Draw:
        @functools.wraps(draw)
        def draw_if_it_applies(study: Study, frame: int) -> Figure | None:
            return draw(study, frame) if applies(study) else None

        _registered[draw.__name__] = Picture(
            draw.__name__, meaning(draw), draw_if_it_applies, moving, applies
        )
        return draw

    return register


def registered() -> tuple[Picture, ...]:
    """Return the pictures whose modules have been imported."""
    return tuple(_registered.values())
