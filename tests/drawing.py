"""Low-resolution pictures for tests that do not depend on the resolution."""

from __future__ import annotations

from harness import FULL

from mlplab.pictures import style
from mlplab.pictures.gallery import pictures
from mlplab.pictures.registry import _registered

DPI = style.DPI if FULL else 40


def use_few_dots(monkeypatch) -> None:
    """Save pictures at a low DPI; campaigns use the default resolution."""
    monkeypatch.setattr(style.png, "__defaults__", (DPI,))


def draw_only(monkeypatch, *names: str) -> None:
    """Draw only the named pictures."""
    for picture in pictures():
        if picture.name not in names:
            monkeypatch.delitem(_registered, picture.name)
