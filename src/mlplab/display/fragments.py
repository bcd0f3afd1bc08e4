"""Fragments of HTML that notebooks show, rendered from the templates of this package.

Their colors are those of the page around them, so that they suit light and dark themes. Text is
escaped, and nothing in them refers to another file.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from mlplab.display.charts import Columns, history_charts
from mlplab.extras import installed
from mlplab.io.html import render
from mlplab.terminal.results import digits_by_split, remedy, verdict

TEMPLATES = Path(__file__).parent
MAX_METRICS = 10
MAX_PICTURE_BYTES, MAX_PICTURE_PIXELS = 2_000_000, 4000
PICTURE_HEIGHT, PICTURE_COLORS = 400, 96  # pixels, for screens of twice the usual density
_PNG = b"\x89PNG\r\n\x1a\n"


def run_html(name: str, folder: Path, summary: Mapping[str, Any], columns: Columns) -> str:
    """Return the fragment of a run: its verdict, metrics by split, curves, and decision picture.

    `summary` is the content of summary.json, `columns` those of the history.
    """
    splits, metrics = digits_by_split(summary.get("metrics") or {})
    status, facts = verdict(summary)
    return render(
        TEMPLATES,
        "run.html",
        name=name,
        path=str(folder),
        status=status,
        is_done=summary.get("status") == "done",
        facts=facts,
        remedy=remedy(summary),
        splits=splits,
        metrics=dict(list(metrics.items())[:MAX_METRICS]),
        hidden=max(0, len(metrics) - MAX_METRICS),
        charts=history_charts(columns, summary.get("best_epoch")),
        picture=_picture(folder / "pictures" / "decision.png"),
    )


def history_html(columns: Columns) -> str:
    """Return the fragment of a history: its curves and the names of its columns."""
    epochs = columns["epoch"]
    return render(
        TEMPLATES,
        "history.html",
        count=len(epochs),
        last=int(epochs[-1]) if len(epochs) else 0,
        names=list(columns),
        charts=history_charts(columns),
    )


def table_html(
    title: str,
    facts: str,
    folder: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    remarks: Sequence[str] = (),
) -> str:
    """Return the fragment of a sweep: the rows of its configurations, the first one emphasized."""
    return render(
        TEMPLATES,
        "table.html",
        title=title,
        facts=facts,
        path=folder,
        header=header,
        rows=rows,
        remarks=remarks,
    )


def details_html(title: str, content: str, is_open: bool) -> str:
    """Return a fragment that opens with a click. `content` is HTML already."""
    return render(TEMPLATES, "details.html", title=title, content=Markup(content), is_open=is_open)


def _picture(path: Path) -> str | None:
    """The picture as the base64 text of a small PNG; None if there is none of a reasonable size."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_PICTURE_BYTES:
            return None
        data = _shrunk(path.read_bytes())
    except Exception:  # a damaged picture is no reason to show nothing
        return None
    return base64.b64encode(data).decode() if data.startswith(_PNG) else None


def _shrunk(png_bytes: bytes) -> bytes:
    """The picture in the size and the number of colors of a notebook, with Pillow if there is."""
    if not installed("PIL"):
        return png_bytes
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png_bytes), formats=["PNG"]) as image:
        if image.height > MAX_PICTURE_PIXELS or image.width > MAX_PICTURE_PIXELS:
            return b""
        size = round(image.width * PICTURE_HEIGHT / image.height), PICTURE_HEIGHT
        small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        small.quantize(PICTURE_COLORS).save(buffer, "png", optimize=True)
    return buffer.getvalue()
