"""A faster composition for tests that do not test it: Hydra composes each set of choices once."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mlplab.config import composition, plugins

real_hydra_compose = composition.hydra_compose


@cache
def _tree(overrides: tuple[str, ...], folders: tuple[Path, ...]) -> Any:
    return real_hydra_compose(overrides, folders)


def _hydra_compose_once(overrides: Sequence[str], folders: Sequence[Path]) -> Any:
    """Compose shipped configurations once, and those of users and plugins each time."""
    if len(folders) > 1 or any(plugins.registered(group) for group in plugins.OPEN_GROUPS):
        return real_hydra_compose(overrides, folders)
    return copy.deepcopy(_tree(tuple(overrides), tuple(folders)))


def compose_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(composition, "hydra_compose", _hydra_compose_once)


@pytest.fixture(autouse=True, scope="module")
def composed_once() -> Iterator[None]:
    """Import this fixture in modules that do not test composition. Campaigns never use it."""
    from harness import FULL  # pytest must have processed the campaign option before this import

    with pytest.MonkeyPatch.context() as patch:
        if not FULL:
            compose_once(patch)
        yield
