"""The training as an animated GIF: the network and its predictions, frame by frame."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mlplab.pictures.animation import write_gif
from mlplab.pictures.gallery import pictures
from mlplab.pictures.study import Study

MAX_FRAMES = 60


def write_animation(
    study: Study, path: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Write the pictures `units` and `decision` side by side, in at most 60 frames.

    `progress` is called with the number of frames drawn so far and their total.
    """
    rows = np.unique(np.linspace(0, len(study.frames) - 1, MAX_FRAMES).round().astype(int)).tolist()
    drawn_pictures = [picture for picture in pictures() if picture.name in ("units", "decision")]

    figures = (
        [figure for picture in drawn_pictures if (figure := picture.draw(study, row)) is not None]
        for row in rows
    )
    write_gif(path, figures, lambda done: progress(done, len(rows)))
