"""Composing each choice of groups once, for tests in which composition is not what is tested.

`compose` becomes what sweeps use for their jobs (config.many), which a test holds equal to it: one
composition by Hydra for each choice of groups, and the other words put on top of it.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from mlplab.commands import train
from mlplab.config import batch_compose, edit_stored, expand, plugins, stored
from mlplab.config.search_path import config_folders
from mlplab.sweeps import hydra_task
from mlplab.sweeps.search import search

composing = import_module("mlplab.config.composition")  # the package has the function by this name
FOLDERS = {"hydra.run.dir": "run_dir", "hydra.sweep.dir": "sweep_dir"}
real_compose, real_hydra_compose = composing.compose, composing.hydra_compose


@cache
def _composer() -> batch_compose.Composer:
    return batch_compose.Composer([])


def _only_shipped() -> bool:
    """Whether there is nothing but mlplab's own folder of configurations and its own parts."""
    shipped = len(config_folders([])) == 1
    return shipped and not any(plugins.registered(group) for group in plugins.OPEN_GROUPS)


def _compose_once(
    overrides: Sequence[str] = (),
    config_dirs: Sequence[str | Path] = (),
    complete: bool = True,
) -> composing.Composed:
    words, places = [], {}
    for word in overrides:
        key, _, value = word.partition("=")
        if key in FOLDERS and value and not set(value) & set("$'\"{}[],\\:() "):
            places[FOLDERS[key]] = value
        else:
            words.append(word)
    usual = words and not any(word.startswith(("hydra", "sweep", "seeds")) for word in words)
    if not (complete and usual and not config_dirs and _only_shipped()):
        return real_compose(overrides, config_dirs, complete)
    composed = _composer().compose(tuple(words))
    fresh = {
        name: places.get(name) or f"{path.rpartition('/')[0]}/{composing.stamp()}"
        for name, path in (("run_dir", composed.run_dir), ("sweep_dir", composed.sweep_dir))
    }
    sources = dataclasses.replace(composed.sources, overrides=tuple(overrides))
    return dataclasses.replace(composed, **fresh, sources=sources)


@cache
def _tree(words: tuple[str, ...], where: tuple[Path, ...]) -> Any:
    return real_hydra_compose(words, where)


def _hydra_compose_once(typed: Sequence[str], where: Sequence[Path]) -> Any:
    if not _only_shipped():
        return real_hydra_compose(typed, where)
    return copy.deepcopy(_tree(tuple(typed), tuple(where)))


def compose_once(patch: pytest.MonkeyPatch) -> None:
    for module in (stored, edit_stored, expand, train, hydra_task, search):
        patch.setattr(module, "compose", _compose_once)
    for module in (composing, batch_compose):
        patch.setattr(module, "hydra_compose", _hydra_compose_once)


@pytest.fixture(autouse=True, scope="module")
def composed_once() -> Iterator[None]:
    """Import it where composition is not what is tested. A campaign composes everything anew."""
    from harness import FULL  # which must not be imported before pytest knows of the campaign

    with pytest.MonkeyPatch.context() as patch:
        if not FULL:
            compose_once(patch)
        yield
