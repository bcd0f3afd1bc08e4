"""A faster `compose` for tests that do not test composition.

It is replaced by the composer of sweeps (config.batch_compose), which a test proves equal to it:
Hydra composes each combination of group choices once, and the other overrides are applied to it.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mlplab.config import batch_compose, composition, edit_stored, plugins, stored
from mlplab.config.search_path import config_folders

FOLDERS = {"hydra.run.dir": "run_dir", "hydra.sweep.dir": "sweep_dir"}
real_compose, real_hydra_compose = composition.compose, composition.hydra_compose
real_compose_alone = batch_compose.Composer.compose_alone


@cache
def _composer() -> batch_compose.Composer:
    return batch_compose.Composer()


def _only_shipped() -> bool:
    """Return whether there are only shipped configurations and no components of plugins."""
    shipped = len(config_folders([])) == 1
    return shipped and not any(plugins.registered(group) for group in plugins.OPEN_GROUPS)


def _compose_once(
    overrides: Sequence[str] = (),
    config_dirs: Sequence[str | Path] = (),
    complete: bool = True,
) -> composition.Composed:
    others, run_folders = [], {}
    for override in overrides:
        key, _, value = override.partition("=")
        if key in FOLDERS and value and not set(value) & set("$'\"{}[],\\:() "):
            run_folders[FOLDERS[key]] = value
        else:
            others.append(override)
    usual = others and not any(
        override.startswith(("hydra", "sweep", "seeds")) for override in others
    )
    if not (complete and usual and not config_dirs and _only_shipped()):
        return real_compose(overrides, config_dirs, complete)
    composed = _composer().compose(tuple(others))
    fresh = {
        name: run_folders.get(name) or f"{path.rpartition('/')[0]}/{composition.stamp()}"
        for name, path in (("run_dir", composed.run_dir), ("sweep_dir", composed.sweep_dir))
    }
    sources = dataclasses.replace(composed.sources, overrides=tuple(overrides))
    return dataclasses.replace(composed, **fresh, sources=sources)


def _compose_alone_once(
    composer: batch_compose.Composer, job: batch_compose.Job
) -> composition.Composed:
    if composer is _composer():
        return real_compose_alone(composer, job)
    return _compose_once(job, composer.dirs)


@cache
def _tree(overrides: tuple[str, ...], folders: tuple[Path, ...]) -> Any:
    return real_hydra_compose(overrides, folders)


def _hydra_compose_once(overrides: Sequence[str], folders: Sequence[Path]) -> Any:
    if not _only_shipped():
        return real_hydra_compose(overrides, folders)
    return copy.deepcopy(_tree(tuple(overrides), tuple(folders)))


def compose_once(patch: pytest.MonkeyPatch) -> None:
    for module in (stored, edit_stored):
        patch.setattr(module, "compose", _compose_once)
    patch.setattr(batch_compose.Composer, "compose_alone", _compose_alone_once)
    patch.setattr(composition, "hydra_compose", _hydra_compose_once)


@pytest.fixture(autouse=True, scope="module")
def composed_once() -> Iterator[None]:
    """Import this fixture in modules that do not test composition. Campaigns never use it."""
    from harness import FULL  # pytest must have processed the campaign option before this import

    with pytest.MonkeyPatch.context() as patch:
        if not FULL:
            compose_once(patch)
        yield
