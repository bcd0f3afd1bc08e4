"""Compositions that differ only in the choices of groups.

Hydra composes the default choices once. A shipped choice is the content of one file, so another one
is set in a copy of that tree, which takes a tenth of the time of a composition. Everything else is
composed by Hydra: choices of the user, of plugins, and experiments that are based on others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlplab.config.composition import compose_tree
from mlplab.config.root import COMPONENT_GROUPS, GROUPS
from mlplab.config.shipped_experiments import (
    TABLE,
    choice_content,
    shipped,
    shipped_experiment,
    with_default_experiment,
)

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig


def compose_choices(overrides: Sequence[Override], folders: Sequence[Path]) -> DictConfig:
    """Return the tree that Hydra composes of checked overrides. Raises ConfigError."""
    from omegaconf import open_dict, read_write

    overrides = with_default_experiment(overrides)
    chosen = {o.key_or_group: str(o.value()) for o in overrides if _is_shipped_choice(o)}
    others = [o for o in overrides if o.key_or_group not in GROUPS]
    experiment = shipped_experiment(chosen.get("experiment"))
    if experiment is not None and chosen.get("experiment") == TABLE:
        experiment = experiment.beside(chosen)
    is_complete = len(chosen) + len(others) == len(overrides)
    # values on the command line replace those of an experiment, which are set last here
    if not chosen or not is_complete or experiment is None or (experiment.values and others):
        return compose_tree(overrides, folders)
    tree = compose_tree(others, folders)
    with open_dict(tree), read_write(tree.hydra):
        for group, name in {**experiment.choices, **chosen}.items():
            tree.hydra.runtime.choices[group] = name
            if group in COMPONENT_GROUPS:
                tree[group] = choice_content(group, name)
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
        and name in shipped(group)
    )
