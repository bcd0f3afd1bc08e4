"""The training as an animated GIF: the network and what it says, frame by frame."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mlplab.pictures.look import png, style
from mlplab.pictures.picture import pictures
from mlplab.pictures.study import Study
from mlplab.tracking import write_bytes_atomic

MOST_FRAMES = 60
DPI = 70
MILLISECONDS = 90


def write_animation(study: Study, path: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
    """`units` beside `decision`, at most 60 frames; the last one stands for two seconds."""
    from PIL import Image

    rows = np.unique(np.linspace(0, len(study.frames) - 1, MOST_FRAMES).round().astype(int)).tolist()
    kinds = [picture for picture in pictures() if picture.name in ("units", "decision")]
    frames = []
    for done, row in enumerate(rows, 1):
        with style():
            panels = [Image.open(io.BytesIO(png(figure, DPI))).convert("RGB") for kind in kinds if (figure := kind.draw(study, row))]
        frame = Image.new("RGB", (sum(panel.width for panel in panels), max(panel.height for panel in panels)), "white")
        left = 0
        for panel in panels:
            frame.paste(panel, (left, (frame.height - panel.height) // 2))
            left += panel.width
        frames.append(frame.quantize(128))
        progress(done, len(rows))
    buffer = io.BytesIO()
    durations = [MILLISECONDS] * (len(frames) - 1) + [2000]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=False)
    write_bytes_atomic(path, buffer.getvalue())
