"""Apply overrides to a stored configuration, as if it had been composed with them."""

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


def apply_overrides(
    config: dict[str, object],
    overrides: Sequence[str],
    source: Path,
    choices: dict[str, object] | None = None,
) -> Composed:
    """Return the configuration of `source` with the overrides applied. Raises ConfigError.

    The override of a key replaces its value; that of a group replaces the whole group by its new
    choice. `choices` keeps the composed choices for further calls.
    """
    choices = {} if choices is None else choices
    plugins.load_installed()
    folders = config_folders([])
    parsed = parse_overrides(overrides)
    check_overrides(parsed, folders, multirun=False)
    changed = copy.deepcopy(config)
    for line, override in zip(overrides, parsed, strict=True):
        key = override.key_or_group
        if key.partition(".")[0] in ("hydra", "sweep", "seeds") or key == "experiment":
            raise ConfigError(
                f"`{line}` cannot be applied to the stored configuration of {source}: it accepts"
                " groups and keys, as in optimizer.lr=0.01."
            )
        if key in GROUPS:
            if line not in choices:
                choices[line] = compose([line]).config[key]
            changed[key] = copy.deepcopy(choices[line])
        else:
            _set_value(changed, key.split("."), override.value(), line, source)
    return Composed(changed, sources=Sources(tuple(overrides)))


def _set_value(
    config: dict[str, object], path: Sequence[str], value: object, line: str, source: Path
) -> None:
    node: Any = config
    for i, key in enumerate(path):
        keys = [*(node if isinstance(node, dict) else ()), *(rules(Root) if i == 0 else ())]
        if key not in keys:
            raise ConfigError(
                f"`{line}`: the configuration of {source} has no key `{'.'.join(path)}`."
                f" {did_you_mean(key, keys)}"
            )
        if i < len(path) - 1:
            node = node[key]
    node[path[-1]] = value
