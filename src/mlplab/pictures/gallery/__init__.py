"""The pictures of a run. Each is a function that is registered when its module is imported."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from mlplab.pictures.registry import Picture, registered


def pictures() -> tuple[Picture, ...]:
    """Return all pictures in the order in which a reader would look at them."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return tuple(sorted(registered(), key=lambda picture: _order(picture.name)))


_FIRST = (
    "data",
    "decision",
    "units",
    "hidden",
    "curves",
    "confusion",
    "roc",
    "residuals",
    "health",
)


def _order(name: str) -> tuple[int, str]:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST), name
