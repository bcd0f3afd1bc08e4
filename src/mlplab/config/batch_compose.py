"""Fast composition of many configurations: Hydra composes each combination of group choices once,
and the remaining overrides of each job are applied to the result.

`compose_many(jobs)` equals `[compose(job) for job in jobs]`, which a test verifies, and takes a
small fraction of the time.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.config import plugins
from mlplab.config.builder import build
from mlplab.config.composition import (
    Composed,
    compose,
    hydra_compose,
    resolve_tree,
    split_search_path,
)
from mlplab.config.overrides import check_overrides, parse_overrides, to_hydra
from mlplab.config.root import GROUPS
from mlplab.config.search_path import config_folders

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

    from mlplab.settings import Settings


def compose_many(
    jobs: Sequence[Sequence[str]], config_dirs: Iterable[str | Path] = ()
) -> list[Composed]:
    """Return the configuration of each job. Raises ConfigError for the first invalid job, with the
    message of `compose`.
    """
    composer = Composer(list(config_dirs))
    return [composer.compose(tuple(job)) for job in jobs]


def build_many(composed: Sequence[Composed]) -> list[Settings]:
    """Return the settings of each configuration. Raises ConfigError for the first invalid one."""
    return [build(one) for one in composed]


@dataclass(frozen=True)
class _CheckedOverride:
    """An override that was parsed and passed the checks that need no composed configuration."""

    parsed: Override
    is_group: bool
    # the keys that lead to its plain value; None if only Hydra can apply it
    path: tuple[str, ...] | None
    value: object = None


class Composer:
    """Composes jobs one by one and caches the composition of each combination of group choices."""

    def __init__(self, dirs: list[str | Path]) -> None:
        plugins.load_installed()
        self.dirs, self.folders = dirs, config_folders(dirs)
        self._overrides: dict[str, _CheckedOverride] = {}
        self._bases: dict[tuple[str, ...], tuple[DictConfig, Composed, bool]] = {}

    def compose(self, job: tuple[str, ...]) -> Composed:
        """Return the configuration of a job. Raises ConfigError."""
        checked = [self._check(line) for line in job]
        if any(override is None for override in checked):
            # `compose` refuses it or applies what only Hydra can apply
            return compose(job, self.dirs)
        overrides = [override for override in checked if override is not None]
        groups = [line for line, override in zip(job, overrides, strict=True) if override.is_group]
        values = [override for override in overrides if not override.is_group]
        tree, base, plain = self._base(tuple(groups))
        if plain and (config := _patched(base.config, values)) is not None and _complete(config):
            return replace(base, config=config, sources=replace(base.sources, overrides=job))
        return self._applied(tree, values, job)

    def _check(self, line: str) -> _CheckedOverride | None:
        """Return None for an invalid override and for one of Hydra or of the node `sweep`."""
        if line not in self._overrides:
            overrides, extra = split_search_path([line], ())
            parsed = parse_overrides(overrides)
            if extra or len(parsed) != 1:
                return None
            check_overrides(parsed, self.folders, multirun=False)
            override = parsed[0]
            key = override.key_or_group
            if override.is_hydra_override() or key.partition(".")[0] in (
                "sweep",
                "seeds",
                "hydra",
            ):
                return None
            group = key in GROUPS or key == "name"  # the name is in the paths of the folders
            self._overrides[line] = _CheckedOverride(
                override,
                group,
                None if group else _path(override),
                None if group else _value(override),
            )
        return self._overrides[line]

    def _base(self, groups: tuple[str, ...]) -> tuple[DictConfig, Composed, bool]:
        """Return the composition of the group choices: Hydra's tree, the plain values, and whether
        they are free of interpolations.
        """
        if groups not in self._bases:
            # a required key, such as the path of a file, may be among the values
            base = compose(groups, self.dirs, complete=False)
            tree = hydra_compose(to_hydra(parse_overrides(groups)), self.folders)
            self._bases[groups] = tree, base, not _interpolates(tree)
        return self._bases[groups]

    def _applied(
        self, tree: DictConfig, values: Sequence[_CheckedOverride], job: tuple[str, ...]
    ) -> Composed:
        """Let Hydra apply the overrides to a composed tree.

        If Hydra refuses them, a full composition raises our error message.
        """
        from hydra._internal.config_loader_impl import ConfigLoaderImpl
        from omegaconf import OmegaConf

        job_tree = copy.deepcopy(tree)
        try:
            OmegaConf.set_struct(job_tree, True)
            overrides = parse_overrides(to_hydra([override.parsed for override in values]))
            ConfigLoaderImpl._apply_overrides_to_config(overrides, job_tree)
            return resolve_tree(job_tree, job, self.folders)
        except Exception:
            return compose(job, self.dirs)


def _path(override: Override) -> tuple[str, ...] | None:
    """Return the keys that lead to a plain value.

    None for additions, deletions and keys in brackets.
    """
    special = (
        override.is_add()
        or override.is_force_add()
        or override.is_delete()
        or override.package is not None
    )
    return (
        None if special or "[" in override.key_or_group else tuple(override.key_or_group.split("."))
    )


def _value(override: Override) -> object:
    """Return the value if it is a number, a boolean, a string or a flat list of these without
    interpolations; otherwise a marker, which is this function.
    """
    value = override.value()
    items = value if isinstance(value, list) else [value]
    plain = all(
        item is None
        or isinstance(item, (bool, int, float))
        or (isinstance(item, str) and "${" not in item)
        for item in items
    )
    return value if plain and value != "???" else _value


def _patched(
    config: Mapping[str, object], values: Sequence[_CheckedOverride]
) -> dict[str, object] | None:
    """Return the configuration with the values set; None if an override is not that simple."""
    patched = {key: copy.copy(value) for key, value in config.items()}
    for override in values:
        if override.path is None or override.value is _value:
            return None
        node: object = patched
        for key in override.path[:-1]:
            node = node.get(key) if isinstance(node, dict) else None
        if (
            not isinstance(node, dict)
            or len(override.path) > 2
            or override.path[-1] not in node
            or isinstance(node[override.path[-1]], dict)
        ):
            return None
        node[override.path[-1]] = (
            list(override.value) if isinstance(override.value, list) else override.value
        )
    return patched


def _complete(config: Mapping[str, object]) -> bool:
    """Return whether every required key has a value."""
    return not any(
        value == "???"
        for node in config.values()
        if isinstance(node, dict)
        for value in node.values()
    )


def _interpolates(tree: DictConfig) -> bool:
    """Return whether a value outside the nodes of Hydra and `sweep` is an interpolation."""
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(tree, resolve=False)
    return "${" in repr(
        {key: value for key, value in plain.items() if key not in ("hydra", "sweep")}
    )
