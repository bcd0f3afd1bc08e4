"""A stored configuration with some words put on top of it, as if both had been typed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlplab.config import plugins
from mlplab.config.composition import Composed, compose
from mlplab.config.overrides import check_overrides, parse_overrides
from mlplab.config.provenance import Sources
from mlplab.config.root import GROUPS, Root
from mlplab.config.search_path import config_folders
from mlplab.config.suggestions import did_you_mean
from mlplab.errors import ConfigError
from mlplab.schema import rules


def change(config: dict[str, Any], overrides: Sequence[str], source: Path) -> Composed:
    """The configuration of `source` with the words applied: a value in its place, a group replaced
    by the chosen file's. Raises ConfigError.
    """
    plugins.load_installed()
    where = config_folders([])
    parsed = parse_overrides(overrides)
    check_overrides(parsed, where, multirun=False)
    changed = copy.deepcopy(config)
    for line, word in zip(overrides, parsed, strict=True):
        key = word.key_or_group
        if key.partition(".")[0] in ("hydra", "sweep", "seeds") or key == "experiment":
            raise ConfigError(
                f"`{line}` cannot be put on the stored configuration of {source}: it takes groups"
                " and keys, as in optimizer.lr=0.01."
            )
        if key in GROUPS:
            changed[key] = compose([line]).config[key]
        else:
            _put(changed, key.split("."), word.value(), line, source)
    return Composed(changed, sources=Sources(tuple(overrides)))


def _put(config: dict[str, Any], path: Sequence[str], value: Any, line: str, source: Path) -> None:
    node: Any = config
    for i, piece in enumerate(path):
        known = list(node) if isinstance(node, dict) else []
        if i == 0:
            known = [*dict.fromkeys([*known, *rules(Root)])]
        if piece not in known:
            raise ConfigError(
                f"`{line}`: the configuration of {source} has no key `{'.'.join(path)}`."
                f" {did_you_mean(piece, known)}"
            )
        if i < len(path) - 1:
            node = node[piece]
    node[path[-1]] = value
