"""Draws the pictures of a study into a folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from mlplab.io.files import write_bytes_atomic
from mlplab.io.links import make_folder
from mlplab.pictures.gallery import pictures
from mlplab.pictures.registry import Picture
from mlplab.pictures.study import Study
from mlplab.pictures.style import png, style


def draw(study: Study, picture: Picture, frame: int | None = None) -> bytes | None:
    """One picture as PNG; None where the run has no such picture."""
    with style():
        drawn = picture.draw(study, study.best_frame if frame is None else frame)
        return None if drawn is None else png(drawn)


def write_picture(study: Study, picture: Picture, folder: Path) -> bool:
    """Write NAME.png into the folder, unless the run has no such picture; whether it has."""
    drawn = draw(study, picture)
    if drawn is not None:
        make_folder(folder)
        write_bytes_atomic(folder / f"{picture.name}.png", drawn)
    return drawn is not None


def draw_all(study: Study, folder: Path) -> Iterator[tuple[str, float]]:
    """Write every picture that the run has; the name of each and the seconds it took."""
    for picture in pictures():
        started = time.monotonic()
        if write_picture(study, picture, folder):
            yield picture.name, time.monotonic() - started
