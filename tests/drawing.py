"""Low-resolution pictures for tests that do not depend on the resolution."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from harness import FULL

from mlplab.pictures import style
from mlplab.pictures.gallery import pictures
from mlplab.pictures.registry import _registered

pictures()  # registers all: a module that is imported while a test has changed the registry is lost
CLASSES = {
    "data",
    "decision",
    "units",
    "hidden",
    "curves",
    "confusion",
    "roc",
    "reliability",
    "health",
}
"""The pictures of a run that predicts classes."""
DPI = style.DPI if FULL else 40


def use_few_dots(monkeypatch) -> None:
    """Save pictures at a low DPI; campaigns use the default resolution."""
    monkeypatch.setattr(style.png, "__defaults__", (DPI,))


@contextlib.contextmanager
def one_picture(name: str = "curves", in_campaigns: bool = False) -> Iterator[None]:
    """Draw one picture of a run instead of all, at a low resolution. Campaigns draw all unless
    `in_campaigns`.

    `decision` is also drawn during the training, as an image of TensorBoard; `curves` only once.
    """
    with pytest.MonkeyPatch.context() as patch:
        if in_campaigns or not FULL:
            draw_only(patch, name)
        use_few_dots(patch)
        yield


def draw_only(monkeypatch, *names: str) -> None:
    """Draw only the named pictures."""
    for picture in pictures():
        if picture.name not in names:
            monkeypatch.delitem(_registered, picture.name)
