"""Compositions that differ only in the choices of groups.

Hydra composes the default choices once. A shipped choice is the content of one file, so another one
is set in a copy of that tree, which takes a tenth of the time of a composition. Everything else is
composed by Hydra: choices of the user, of plugins, and experiments that are based on others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.config.composition import compose_tree
from mlplab.config.root import COMPONENT_GROUPS, GROUPS
from mlplab.config.search_path import choice_files, shipped_folder

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

_OVERRIDE = "override /"


@dataclass(frozen=True)
class _Experiment:
    """The file of an experiment: the choices that it makes, and the values that it sets."""

    choices: Mapping[str, str]
    values: DictConfig


def compose_choices(overrides: Sequence[Override], folders: Sequence[Path]) -> DictConfig:
    """Return the tree that Hydra composes of checked overrides. Raises ConfigError."""
    from omegaconf import open_dict, read_write

    chosen = {o.key_or_group: str(o.value()) for o in overrides if _is_shipped_choice(o)}
    others = [o for o in overrides if o.key_or_group not in GROUPS]
    experiment = _experiment(chosen.get("experiment"))
    is_complete = len(chosen) + len(others) == len(overrides)
    # values on the command line replace those of an experiment, which are set last here
    if not chosen or not is_complete or experiment is None or (experiment.values and others):
        return compose_tree(overrides, folders)
    tree = compose_tree(others, folders)
    with open_dict(tree), read_write(tree.hydra):
        for group, name in {**experiment.choices, **chosen}.items():
            tree.hydra.runtime.choices[group] = name
            if group in COMPONENT_GROUPS:
                tree[group] = _file(_shipped(group)[name])
        tree.merge_with(experiment.values)
    return tree


def _is_shipped_choice(override: Override) -> bool:
    group, name = override.key_or_group, override.value()
    special = override.is_add() or override.is_force_add() or override.is_delete()
    return (
        group in GROUPS
        and not special
        and override.package is None
        and isinstance(name, str)
        and name in _shipped(group)
    )


@lru_cache(maxsize=len(GROUPS))
def _shipped(group: str) -> Mapping[str, Path]:
    return choice_files(group, [shipped_folder()])


@lru_cache(maxsize=1024)
def _file(path: Path) -> DictConfig:
    from omegaconf import DictConfig, OmegaConf

    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    return config


@lru_cache(maxsize=1024)
def _experiment(name: str | None) -> _Experiment | None:
    """Return what a shipped experiment chooses and sets; nothing without one. None for an
    experiment that is based on another one.
    """
    from omegaconf import OmegaConf

    values = OmegaConf.create({}) if name is None else _file(_shipped("experiment")[name]).copy()
    defaults = values.pop("defaults", [])
    choices: dict[str, str] = {}
    for entry in defaults:
        ((key, choice),) = entry.items() if OmegaConf.is_dict(entry) else (("", None),)
        group = key.removeprefix(_OVERRIDE)
        if not key.startswith(_OVERRIDE) or choice not in _shipped(group):
            return None
        choices[group] = str(choice)
    return _Experiment(choices, values)
