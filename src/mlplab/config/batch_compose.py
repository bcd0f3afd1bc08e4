"""Many configurations that differ in few words: one real composition for each choice of groups, the
other words put on top of it.

`compose_many(jobs)` is `[compose(job) for job in jobs]`, and a test holds it so; it costs a small
part of that.
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
    """The configuration of each job. Raises ConfigError for the first job in which something is
    wrong, as `compose` would.
    """
    composer = Composer(list(config_dirs))
    return [composer.compose(tuple(job)) for job in jobs]


def build_many(composed: Sequence[Composed]) -> list[Settings]:
    """The settings of each. Raises ConfigError for the first that is refused."""
    return [build(one) for one in composed]


@dataclass(frozen=True)
class _Word:
    """A word that was read and found right as far as that can be seen alone."""

    parsed: Override
    is_group: bool
    # where its plain value goes; None where only Hydra knows what it does
    path: tuple[str, ...] | None
    value: Any = None


class Composer:
    """Composes one job after another; what their choices of groups come to is composed once."""

    def __init__(self, dirs: list[str | Path]) -> None:
        plugins.load_installed()
        self.dirs, self.where = dirs, config_folders(dirs)
        self._words: dict[str, _Word] = {}
        self._bases: dict[tuple[str, ...], tuple[DictConfig, Composed, bool]] = {}

    def compose(self, job: tuple[str, ...]) -> Composed:
        """The configuration of a job. Raises ConfigError."""
        read = [self._read(line) for line in job]
        if any(word is None for word in read):
            # it is refused there, or does something that only Hydra knows
            return compose(job, self.dirs)
        known = [word for word in read if word is not None]
        groups = [line for line, word in zip(job, known, strict=True) if word.is_group]
        values = [word for word in known if not word.is_group]
        tree, base, plain = self._base(tuple(groups))
        if plain and (config := _patched(base.config, values)) is not None and _complete(config):
            return replace(base, config=config, sources=replace(base.sources, overrides=job))
        return self._applied(tree, values, job)

    def _read(self, line: str) -> _Word | None:
        """None for a word that is wrong, or is one of Hydra's or of the node sweep."""
        if line not in self._words:
            typed, extra = split_search_path([line], ())
            parsed = parse_overrides(typed)
            if extra or len(parsed) != 1:
                return None
            check_overrides(parsed, self.where, multirun=False)
            word = parsed[0]
            key = word.key_or_group
            if word.is_hydra_override() or key.partition(".")[0] in ("sweep", "seeds", "hydra"):
                return None
            group = key in GROUPS or key == "name"  # which stands in the folders' names
            self._words[line] = _Word(
                word, group, None if group else _path(word), None if group else _value(word)
            )
        return self._words[line]

    def _base(self, groups: tuple[str, ...]) -> tuple[DictConfig, Composed, bool]:
        """What the choices of groups alone compose to: as a tree, as plain values, and whether it
        has no interpolations.
        """
        if groups not in self._bases:
            # a file's path may be among the values
            base = compose(groups, self.dirs, complete=False)
            tree = hydra_compose(to_hydra(parse_overrides(groups)), self.where)
            self._bases[groups] = tree, base, not _interpolates(tree)
        return self._bases[groups]

    def _applied(self, tree: DictConfig, values: Sequence[_Word], job: tuple[str, ...]) -> Composed:
        """Hydra's own way to put overrides on a composed tree. What it refuses is refused by a real
        composition, in our words.
        """
        from hydra._internal.config_loader_impl import ConfigLoaderImpl
        from omegaconf import OmegaConf

        fresh = copy.deepcopy(tree)
        try:
            OmegaConf.set_struct(fresh, True)
            typed = parse_overrides(to_hydra([word.parsed for word in values]))
            ConfigLoaderImpl._apply_overrides_to_config(typed, fresh)
            return resolve_tree(fresh, job, self.where)
        except Exception:
            return compose(job, self.dirs)


def _path(word: Override) -> tuple[str, ...] | None:
    """The keys that lead to a plain value; None for additions, deletions and keys in brackets."""
    odd = word.is_add() or word.is_force_add() or word.is_delete() or word.package is not None
    return None if odd or "[" in word.key_or_group else tuple(word.key_or_group.split("."))


def _value(word: Override) -> Any:
    """The value where it is a number, a flag, a text or a flat list of such, and no interpolation;
    else what is taken for none.
    """
    value = word.value()
    items = value if isinstance(value, list) else [value]
    plain = all(
        item is None
        or isinstance(item, (bool, int, float))
        or (isinstance(item, str) and "${" not in item)
        for item in items
    )
    return value if plain and value != "???" else _value


def _patched(config: Mapping[str, Any], values: Sequence[_Word]) -> dict[str, Any] | None:
    """The configuration with the values in their places; None where a word is not that simple."""
    changed = {key: copy.copy(value) for key, value in config.items()}
    for word in values:
        if word.path is None or word.value is _value:
            return None
        node: Any = changed
        for piece in word.path[:-1]:
            node = node.get(piece) if isinstance(node, dict) else None
        if (
            not isinstance(node, dict)
            or len(word.path) > 2
            or word.path[-1] not in node
            or isinstance(node[word.path[-1]], dict)
        ):
            return None
        node[word.path[-1]] = list(word.value) if isinstance(word.value, list) else word.value
    return changed


def _complete(config: Mapping[str, Any]) -> bool:
    """Whether every key that must be given is."""
    return not any(
        value == "???"
        for node in config.values()
        if isinstance(node, dict)
        for value in node.values()
    )


def _interpolates(tree: DictConfig) -> bool:
    """Whether a value of ours depends on another one."""
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(tree, resolve=False)
    return "${" in repr(
        {key: value for key, value in plain.items() if key not in ("hydra", "sweep")}
    )
