"""Writes a sequence of figures as an animated GIF."""

import io
from collections.abc import Callable, Iterable
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from mlplab.io.files import write_bytes_atomic
from mlplab.pictures.style import png, style

FRAME_MILLISECONDS = 90
LAST_FRAME_MILLISECONDS = 2000  # pause before the animation restarts


def write_gif(
    path: Path,
    figures: Iterable[Figure | list[Figure]],
    progress: Callable[[int], None] = lambda done: None,
    dpi: int = 70,
) -> None:
    """Write one frame per figure, or per list of figures placed side by side.

    `progress` is called with the number of frames drawn so far; `dpi` is in dots per inch.
    """
    frames: list[Image.Image] = []
    with style():
        for done, figure in enumerate(figures, 1):
            frames.append(
                _side_by_side(
                    [
                        png(image, dpi)
                        for image in (figure if isinstance(figure, list) else [figure])
                    ]
                )
            )
            progress(done)
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=[FRAME_MILLISECONDS] * (len(frames) - 1) + [LAST_FRAME_MILLISECONDS],
        loop=0,
        optimize=False,
    )
    write_bytes_atomic(path, buffer.getvalue())


def _side_by_side(images: list[bytes]) -> Image.Image:
    panels = [Image.open(io.BytesIO(image)).convert("RGB") for image in images]
    frame = Image.new(
        "RGB",
        (sum(panel.width for panel in panels), max(panel.height for panel in panels)),
        "white",
    )
    left = 0
    for panel in panels:
        frame.paste(panel, (left, (frame.height - panel.height) // 2))
        left += panel.width
    return frame.quantize(128)
