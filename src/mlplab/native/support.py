"""What the native engine can train: everything else is named, with the component it lacks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from mlplab.losses import LOSSES
from mlplab.native import library_cache
from mlplab.native.compiler import NativeError
from mlplab.native.library import LANES, kernel
from mlplab.native.variants import is_supported
from mlplab.network.activations import ACTIVATIONS
from mlplab.optimizers import OPTIMIZERS
from mlplab.schedules import SCHEDULES
from mlplab.schema import Component
from mlplab.settings import Settings

_TABLES: dict[str, Mapping[str, type[Component]]] = {
    "activation": ACTIVATIONS,
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}


def obstacle(settings: Settings) -> str | None:
    """Return why the native engine cannot train these settings on this machine, as a sentence that
    names an alternative; None if it can.

    The first call compiles the kernel if it is not in the cache.
    """
    if (what := unsupported(settings)) is not None:
        return f"engine=native does not support {what}; engine=eager does."
    if (reason := unavailable(settings.dtype)) is not None:
        return f"engine=native cannot be used here: {reason}; engine=eager needs no compiler."
    return None


def unavailable(dtype: str) -> str | None:
    """Return why this machine cannot train with the native engine, without a period; None if it
    can.

    The first call compiles the kernel if it is not in the cache. A reason is printed once on a
    machine.
    """
    return _unavailable(dtype, os.environ.get("PATH"), library_cache.folder())


@cache
def _unavailable(dtype: str, path: str | None, folder: Path) -> str | None:
    """The same for a search path of compilers and a folder of libraries: a compiler that fails is
    not called again for the next member.
    """
    try:
        kernel(dtype)
    except NativeError as error:
        library_cache.print_once(
            f"{error}: small networks train up to a hundred times slower, with torch"
            " (engine=eager); docs/engine.md"
        )
        return str(error)
    return None


def unsupported(settings: Settings) -> str | None:
    """Return what the native engine cannot train of these settings, as "activation=mish"; None if
    it can train them on a machine with a C compiler.
    """
    for layer in settings.layers:
        if layer.normalization == "batch" and settings.training.portion(LANES + 1) > LANES:
            return f"model.normalization=batch with more than {LANES} examples per update"
        activation = layer.activation
        if activation is not None and not is_supported("activation", type(activation)):
            return _choice("activation", activation)
    for group in ("loss", "optimizer", "schedule"):
        if not is_supported(group, type(component := getattr(settings, group))):
            return _choice(group, component)
    if settings.device == "cuda":
        return "device=cuda"
    return None


def _choice(group: str, component: Component) -> str:
    names = (name for name, cls in _TABLES[group].items() if cls is type(component))
    return f"{group}={next(names, type(component).__name__)}"
