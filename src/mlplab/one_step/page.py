"""One update as a page of one file: the diagram in three stages, and every number as text."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from mlplab.io.html import render
from mlplab.one_step.compute import OneStep
from mlplab.one_step.diagram import STAGES, draw_step
from mlplab.one_step.text import text_of
from mlplab.pictures.style import svg

_ASSETS = Path(__file__).parent / "assets"


def page(step: OneStep, row: int = 0) -> str:
    """Return the page as HTML, for light and dark screens."""
    drawings = [
        {
            "stage": stage,
            "ground": "dark" if dark else "light",
            "svg": _inline(svg(draw_step(step, row, stage, dark)), f"{stage}-{int(dark)}"),
        }
        for stage in STAGES
        for dark in (False, True)
    ]
    return render(
        _ASSETS,
        "step.html",
        name=step.settings.name,
        number=step.step,
        stages=STAGES,
        drawings=drawings,
        text=text_of(step, row),
    )


def _inline(data: bytes, prefix: str) -> Markup:
    """An SVG element for a page with others: without the XML head, and with ids of its own."""
    text = data.decode()
    text = text[text.index("<svg") :]
    for before, after in (('id="', f'id="{prefix}-'), ("url(#", f"url(#{prefix}-")):
        text = text.replace(before, after)
    return Markup(text.replace('href="#', f'href="#{prefix}-'))
