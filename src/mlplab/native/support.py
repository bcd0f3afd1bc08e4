"""What the native engine can train: everything else is named, with the component it lacks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from mlplab.losses import LOSSES
from mlplab.native import library_cache, plugin_functions
from mlplab.native.compiler import NativeError
from mlplab.native.library import kernel
from mlplab.native.limits import LANES
from mlplab.native.variants import COMPONENTS, is_supported
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
    """Return what the native engine cannot train of these settings, as "optimizer=torch"; None if
    it can train them on a machine with a C compiler.

    The first call for a component of a plug-in takes seconds.
    """
    for layer in settings.layers:
        if layer.blocks is not None:
            return "block layers"
        if layer.normalization == "batch" and settings.training.portion(LANES + 1) > LANES:
            return f"model.normalization=batch with more than {LANES} examples per update"
    components = [("activation", layer.activation) for layer in settings.layers]
    components += [(group, getattr(settings, group)) for group in ("loss", "optimizer", "schedule")]
    for group, component in components:
        if component is None:
            continue
        if (reason := reason_for_eager(group, component, settings.dtype)) is not None:
            return _choice(group, component) + (f" ({reason})" if reason else "")
    if settings.device == "cuda":
        return "device=cuda"
    return None


def reason_for_eager(group: str, component: Component, dtype: str = "float32") -> str | None:
    """Return why only the eager engine trains with a component, as a clause that may be empty;
    None if both engines do.
    """
    if not is_supported(group, type(component)):
        return component.eager_only
    is_plugin = group in COMPONENTS and type(component) not in _TABLES[group].values()
    return plugin_functions.obstacle(group, component, dtype) if is_plugin else None


def _choice(group: str, component: Component) -> str:
    names = (name for name, cls in _TABLES[group].items() if cls is type(component))
    return f"{group}={next(names, type(component).__name__)}"
