"""Components of the user: a class that a decorator registers under a group and a name.

    from mlplab.config.plugins import register
    from mlplab.network.activations import Activation

    @register("activation", "my_act")
    @dataclass(frozen=True)
    class MyAct(Activation):
        "The meaning, in one line."
        slope: Number = number(0.5, "slope below zero", at_least=0)

        def value(self, z_KBH): ...

`mlplab train --plugin my_plugin.py activation=my_act activation.slope=0.1` then works like any
shipped choice. The file may import the modules beside it. An installed package declares its module
in the entry point group `mlplab.parts`. Nothing in a configuration file can load code.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from mlplab import trackers
from mlplab.config.contracts import check_contract
from mlplab.config.plugin_imports import allow_neighbors
from mlplab.config.search_path import choice_files, shipped_folder
from mlplab.config.suggestions import did_you_mean, listing
from mlplab.errors import ConfigError
from mlplab.schema import Component, rules

OPEN_GROUPS = ("dataset", "activation", "initializer", "loss", "optimizer", "schedule", "training")
ENTRY_POINTS = "mlplab.parts"

P = TypeVar("P", bound=type)
_registered: dict[str, dict[str, type[Component]]] = {group: {} for group in OPEN_GROUPS}
_files: list[Path] = []  # that were loaded


def register(group: str, name: str) -> Callable[[P], P]:
    """Return a decorator that registers a class as the choice `name` of the group.

    Args:
        group: dataset, activation, initializer, loss, optimizer, schedule or training.
        name: lowercase letters, digits and _, as in `activation=my_act`. A class that is defined
            again under its name, as in a notebook, replaces the first one.

    The class is a frozen dataclass derived from the base class of the group. It is tried on a small
    tensor at once (a dataset only if a notebook or a program defines it: its `make` is called). The
    decorator raises ConfigError for an unknown group, an invalid or existing name, or a class that
    is not a dataclass derived from Component or does not do what the group needs.
    """

    def decorate(component: P) -> P:
        if group == "tracker":
            trackers.register(name, component)
            return component
        _check(group, name, component)
        check_contract(group, name, component)
        _registered[group][name] = component
        return component

    return decorate


def is_name(text: str) -> bool:
    """Whether a component can be registered under this name."""
    return re.fullmatch(r"[a-z][a-z0-9_]*", text) is not None


def registered(group: str) -> Mapping[str, type[Component]]:
    """Return the classes that plugins registered in a group, by name."""
    return _registered.get(group, {})


def unregister(group: str, name: str) -> None:
    """Remove a registered choice."""
    _registered[group].pop(name, None)


def load(files: Iterable[str | Path]) -> None:
    """Run the plugin files and the modules of installed plugins, which register their components.

    Raises ConfigError if one cannot be loaded.
    """
    load_installed()
    for file in files:
        _load_file(Path(file))


def loaded_files() -> list[Path]:
    """Return the plugin files that this process has loaded, which another one can load too."""
    return list(_files)


@lru_cache(maxsize=1)
def load_installed() -> None:
    """Load the entry points of installed plugins, once per process. Raises ConfigError."""
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(
                f"The installed plugin `{point.name}` ({point.value}) cannot be loaded:"
                f" {type(error).__name__}: {error}"
            ) from error


def _load_file(path: Path) -> None:
    absolute = path.absolute()
    if not absolute.is_file():
        raise ConfigError(
            f"The plugin {absolute} is not a file. --plugin names a Python file whose decorators"
            " register components."
        )
    name = "mlplab_plugin_" + re.sub(r"\W", "_", str(absolute))
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, absolute)
    if spec is None or spec.loader is None:
        raise ConfigError(f"The plugin {absolute} is not a Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module
    allow_neighbors(absolute)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, ConfigError) or not isinstance(error, (Exception, SystemExit)):
            raise
        raise ConfigError(
            f"The plugin {path} cannot be loaded: {type(error).__name__}:"
            f" {error}{_line(error, absolute)}"
        ) from error
    _files.append(absolute)


def _line(error: BaseException, path: Path) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f" (line {lines[-1]})" if lines else ""


def _check(group: str, name: str, component: type[Component]) -> None:
    if group not in OPEN_GROUPS:
        raise ConfigError(
            f"A plugin registers `{name}` in the group `{group}`, which does not accept components."
            f" {did_you_mean(group, OPEN_GROUPS)}Groups that do: {', '.join(OPEN_GROUPS)}."
        )
    if not is_name(name):
        raise ConfigError(
            f"A plugin registers `{name}` in {group}; a name consists of lowercase letters, digits"
            " and _, and starts with a letter."
        )
    if not (
        isinstance(component, type)
        and issubclass(component, Component)
        and dataclasses.is_dataclass(component)
        and "__dataclass_params__" in vars(component)
    ):
        raise ConfigError(
            f"The plugin's {group} `{name}` is not a dataclass derived from"
            " mlplab.schema.Component: write @dataclass(frozen=True) below @register."
        )
    if plain := [
        field.name
        for field in dataclasses.fields(component)
        if field.name not in rules(component) or field.name == "name"
    ]:
        raise ConfigError(
            f"The plugin's {group} `{name}` has fields that are not keys: {listing(plain)}. Declare"
            " each with number(...), integer(...), choice(...) or another function of"
            " mlplab.schema; none may be called name."
        )
    existing = registered(group).get(name)
    same = existing is not None and (
        (existing.__module__, existing.__qualname__)
        == (component.__module__, component.__qualname__)
        or existing.__module__ == component.__module__ == "__main__"  # a cell that was edited
    )
    if name in choice_files(group, [shipped_folder()]) or (existing is not None and not same):
        raise ConfigError(
            f"The plugin's {group} `{name}` has a name that is taken; choose another name."
        )
