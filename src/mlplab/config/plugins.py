"""Parts of the user's own: a class, a group and a word, registered by a decorator.

    from mlplab.config.plugins import register
    from mlplab.network.activations import Activation

    @register("activation", "my_act")
    @dataclass(frozen=True)
    class MyAct(Activation):
        "What it is, in one line."
        slope: Number = number(0.5, "slope below zero", at_least=0)

        def value(self, z_KBH): ...

`mlplab train --plugin my_parts.py activation=my_act activation.slope=0.1` then works like any
shipped word. An installed package names its module under the entry point group `mlplab.parts`.
Nothing in a configuration file can load code.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from mlplab.config.search_path import choice_files, shipped_folder
from mlplab.config.suggestions import did_you_mean, listing
from mlplab.errors import ConfigError
from mlplab.schema import Component, rules

OPEN_GROUPS = ("dataset", "activation", "initializer", "loss", "optimizer", "schedule", "training")
ENTRY_POINTS = "mlplab.parts"

P = TypeVar("P", bound=type[Component])
_registered: dict[str, dict[str, type[Component]]] = {group: {} for group in OPEN_GROUPS}


def register(group: str, word: str) -> Callable[[P], P]:
    """Decorator: the class becomes the word of the group."""

    def keep(part: P) -> P:
        _check(group, word, part)
        _registered[group][word] = part
        return part

    return keep


def registered(group: str) -> Mapping[str, type[Component]]:
    """Word -> class of the plugins' parts in one group."""
    return _registered.get(group, {})


def forget(group: str, word: str) -> None:
    """Take a word out again."""
    _registered[group].pop(word, None)


def load(files: Iterable[str | Path]) -> None:
    """Run each file, whose decorators register its parts, and the modules of installed packages
    that announce parts.
    """
    load_installed()
    for file in files:
        _load_file(Path(file))


@lru_cache(maxsize=1)
def load_installed() -> None:
    """Load what installed packages announce under the entry point group, once a process."""
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(
                f"The installed plugin `{point.name}` ({point.value}) does not load:"
                f" {type(error).__name__}: {error}"
            ) from error


def _load_file(path: Path) -> None:
    absolute = path.absolute()
    if not absolute.is_file():
        raise ConfigError(
            f"The plugin {absolute} is not a file. --plugin names a Python file whose decorators"
            " register parts."
        )
    name = "mlplab_plugin_" + re.sub(r"\W", "_", str(absolute))
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, absolute)
    if spec is None or spec.loader is None:
        raise ConfigError(f"The plugin {absolute} is not a Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, ConfigError) or not isinstance(error, (Exception, SystemExit)):
            raise
        raise ConfigError(
            f"The plugin {path} does not load: {type(error).__name__}:"
            f" {error}{_line(error, absolute)}"
        ) from error


def _line(error: BaseException, path: Path) -> str:
    trace, line = error.__traceback__, None
    while trace is not None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == str(path) else line
        trace = trace.tb_next
    return f" (line {line})" if line else ""


def _check(group: str, word: str, part: type[Component]) -> None:

    if group not in OPEN_GROUPS:
        raise ConfigError(
            f"A plugin registers `{word}` in the group `{group}`."
            f" {did_you_mean(group, OPEN_GROUPS)}Groups that take parts: {', '.join(OPEN_GROUPS)}."
        )
    if not re.fullmatch(r"[a-z][a-z0-9_]*", word):
        raise ConfigError(
            f"A plugin registers `{word}` in {group}; a word is small letters, digits and _."
        )
    if not (
        isinstance(part, type)
        and issubclass(part, Component)
        and dataclasses.is_dataclass(part)
        and "__dataclass_params__" in vars(part)
    ):
        raise ConfigError(
            f"The plugin's {group} `{word}` is not a dataclass derived from mlplab.schema.Part:"
            " write @dataclass(frozen=True) below @register."
        )
    plain = [
        field.name
        for field in dataclasses.fields(part)
        if field.name not in rules(part) or field.name == "name"
    ]
    if plain:
        raise ConfigError(
            f"The plugin's {group} `{word}` has fields that are no keys: {listing(plain)}. Make"
            " each with number(...), integer(...), choice(...) and their kin of mlplab.schema;"
            " none is called name."
        )
    known = registered(group).get(word)
    same = known is not None and (known.__module__, known.__qualname__) == (
        part.__module__,
        part.__qualname__,
    )
    if word in choice_files(group, [shipped_folder()]) or (known is not None and not same):
        raise ConfigError(
            f"The plugin's {group} `{word}` has a name that is taken; choose another word."
        )
