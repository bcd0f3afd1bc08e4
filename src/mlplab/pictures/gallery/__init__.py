"""The pictures of a run. Each is a function that is registered when its module is imported."""

import pkgutil
from importlib import import_module

from mlplab.pictures.registry import Picture, registered

_FIRST = (
    "data",
    "decision",
    "units",
    "weights",
    "hidden",
    "curves",
    "members",
    "selection",
    "confusion",
    "roc",
    "residuals",
    "health",
)


def pictures() -> tuple[Picture, ...]:
    """Return all pictures in the order in which a reader would look at them."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    rank = {name: position for position, name in enumerate(_FIRST)}
    return tuple(sorted(registered(), key=lambda p: (rank.get(p.name, len(rank)), p.name)))
