"""A guard for Hydra's loader that checks each configuration of a sweep before Hydra acts on it, in
this process and in the workers of a launcher.

A sweep may compose user files that set up logging or environment variables, which Hydra would apply
before a job starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mlplab.config import security
from mlplab.config.composition import plain_tree
from mlplab.config.overrides import check_hydra_override, parse_overrides

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig


def guard(loader: ConfigLoader, trusted: Sequence[str]) -> None:
    """Make the loader raise ConfigError for unsafe configurations and overrides.

    The overrides in `trusted`, which mlplab adds itself, are not checked.
    """
    loader.load_configuration = partial(  # type: ignore[method-assign]
        _load, partial(type(loader).load_configuration, loader), tuple(trusted)
    )


def _load(
    load: Callable[..., DictConfig],
    trusted: tuple[str, ...],
    config_name: str | None,
    overrides: list[str],
    *args: Any,
    **kwargs: Any,
) -> DictConfig:
    hydra_overrides = [
        override
        for override in parse_overrides(line for line in overrides if line not in trusted)
        if override.is_hydra_override()
    ]
    for override in hydra_overrides:
        check_hydra_override(override.key_or_group, override.input_line or "")
    tree = load(config_name, overrides, *args, **kwargs)
    plain = plain_tree(tree)
    node = plain.pop("hydra")
    security.check_hydra(node)
    security.refuse_unsafe_launcher_values(node, [o.key_or_group for o in hydra_overrides])
    security.refuse_code(plain)
    return tree
