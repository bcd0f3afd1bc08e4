"""Pictures in few dots: where a test looks at what is drawn, not at how finely."""

from __future__ import annotations

from harness import FULL

from mlplab.pictures import style
from mlplab.pictures.gallery import pictures
from mlplab.pictures.registry import _registered

DPI = style.DPI if FULL else 40


def use_few_dots(monkeypatch) -> None:
    """Save pictures at DPI; a campaign saves them as a user has them."""
    monkeypatch.setattr(style.png, "__defaults__", (DPI,))


def draw_only(monkeypatch, *names: str) -> None:
    """Leave out all other pictures, where a test needs a run that has some."""
    for picture in pictures():
        if picture.name not in names:
            monkeypatch.delitem(_registered, picture.name)
