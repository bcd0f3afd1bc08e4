"""Draws the pictures of a study into a folder."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib.figure import Figure

from mlplab.io.files import write_bytes_atomic
from mlplab.io.links import make_folder
from mlplab.pictures.gallery import pictures
from mlplab.pictures.registry import Picture
from mlplab.pictures.study import Study
from mlplab.pictures.style import darken, png, style


def draw(
    study: Study, picture: Picture, frame: int | None = None, dark: bool = False
) -> bytes | None:
    """Return one picture as PNG bytes, or None if it does not apply to the run.

    The default frame is the best one. With `dark`, the ground is dark.
    """
    with _ignoring_glyphs():
        figure = draw_figure(study, picture, study.best_frame if frame is None else frame)
        if figure is None:
            return None
        with style():
            return png(darken(figure) if dark else figure)


def draw_figure(study: Study, picture: Picture, frame: int) -> Figure | None:
    """Return one picture as a figure, or None if it does not apply to the run."""
    with style(), _ignoring_glyphs():
        return picture.draw(study, frame)


@contextmanager
def _ignoring_glyphs() -> Iterator[None]:
    """A name in a script that no font of the machine has is shown as boxes, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def write_picture(study: Study, picture: Picture, folder: Path, dark: bool = False) -> bytes | None:
    """Write NAME.png, with `dark` NAME-dark.png, into the folder and return its bytes; None if the
    picture does not apply to the run.
    """
    png_bytes = draw(study, picture, dark=dark)
    if png_bytes is not None:
        make_folder(folder)
        write_bytes_atomic(_file(picture, folder, dark), png_bytes)
    return png_bytes


def _file(picture: Picture, folder: Path, dark: bool) -> Path:
    return folder / f"{picture.name}{'-dark' if dark else ''}.png"


def draw_all(study: Study, folder: Path, dark: bool = False) -> Iterator[tuple[Path, float]]:
    """Write every picture that applies to the run; yields its file and drawing time in seconds."""
    for picture in pictures():
        started = time.monotonic()
        if write_picture(study, picture, folder, dark):
            yield _file(picture, folder, dark), time.monotonic() - started
