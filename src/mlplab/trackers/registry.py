"""The trackers by name: those of mlplab, and those that plugins register."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from mlplab.errors import ConfigError
from mlplab.trackers.base import Tracker

_SHIPPED = {
    "mlflow": ("mlplab.trackers.mlflow_tracker", "MlflowTracker"),
    "wandb": ("mlplab.trackers.wandb_tracker", "WandbTracker"),
}
_METHODS = ("open", "params", "metrics", "artifact", "close")

_registered: dict[str, type[Tracker]] = {}


def register(name: str, tracker: type[Tracker]) -> None:
    """Register a tracker under a name.

    Raises ConfigError for a name that is taken, for a class that lacks one of the methods, or for
    one that no other process can import.
    """
    is_tracker = isinstance(tracker, type) and issubclass(tracker, Tracker)
    missing = [
        method
        for method in _METHODS
        if not is_tracker or getattr(tracker, method) is getattr(Tracker, method)
    ]
    if missing:
        raise ConfigError(
            f"The plugin's tracker `{name}` is no class derived from mlplab.trackers.Tracker with"
            f" the methods {', '.join(_METHODS)}: it lacks {', '.join(missing)}."
        )
    existing = _registered.get(name, tracker)
    same = (existing.__module__, existing.__qualname__) == (
        tracker.__module__,
        tracker.__qualname__,
    )
    if name in _SHIPPED or not same:
        raise ConfigError(f"The plugin's tracker `{name}` has a name that is taken.")
    if tracker.__module__ == "__main__":
        raise ConfigError(
            f"The tracker `{name}` is defined in a notebook or the script that runs, and trackers"
            " run in another process: write it into another file, and load that with"
            " mlplab.config.plugins.load([FILE]) or --plugin FILE."
        )
    _registered[name] = tracker


def unregister(name: str) -> None:
    """Remove a registered tracker."""
    _registered.pop(name, None)


def names() -> Sequence[str]:
    """Return the names of all trackers."""
    return [*_SHIPPED, *_registered]


def find(name: str) -> type[Tracker]:
    """Return the tracker of a name. Raises KeyError if there is none."""
    if name in _SHIPPED:
        module, attribute = _SHIPPED[name]
        tracker: type[Tracker] = getattr(import_module(module), attribute)
        return tracker
    return _registered[name]
