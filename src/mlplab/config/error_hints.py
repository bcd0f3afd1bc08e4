"""Explain mistakes that only the composed configuration reveals: a key that belongs to another
choice, or a file that does not compose.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.config import catalog, launchers
from mlplab.config.root import COMPONENT_GROUPS, GROUPS
from mlplab.config.search_path import file_label
from mlplab.config.suggestions import did_you_mean, listing, nearest
from mlplab.config.yaml_render import value_yaml
from mlplab.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


def unknown_key(
    group: str,
    name: str,
    key: str,
    keys: Sequence[str],
    folders: Sequence[Path],
    path: str,
    origin: str,
    values: Mapping[str, object],
) -> ConfigError:
    """Return the error for `key`, which the choice `name` of the group does not have.

    It names the choices that have the key and the most similar key. `path` is the node, such as
    `optimizer` or `model.hidden[0].activation`; `keys` and `values` are those of the node.
    """
    owners = catalog.choices_with_key(group, key, folders) if group in COMPONENT_GROUPS else []
    others = [other for other in catalog.groups_with_key(key, folders) if other != group]
    available = f"{name} has {listing(keys, empty='no keys')}."
    if owners:
        text = f"`{key}` belongs to {group} {listing(owners)}; {available}"
    elif others:
        text = (
            f"{group} {name} has no key `{key}`; it belongs to {listing(others, ' and ')}"
            f" (`{others[0]}.{key}`). {available}"
        )
    else:
        text = f"{group} {name} has no key `{key}`. {_hint(path, key, keys, values)}{available}"
    return ConfigError(
        f"`{path}.{key}`{f' ({origin})' if origin else ''} is unknown: {text} `mlplab list"
        f" {group} {name}` explains them."
    )


def _hint(path: str, key: str, keys: Sequence[str], values: Mapping[str, object]) -> str:
    similar = nearest(key, keys)
    if not similar:
        return ""
    now = f" (now {value_yaml(values[similar])})" if similar in values else ""
    return f"Did you mean `{path}.{similar}`{now}? "


def explain_failure(
    error: Exception,
    overrides: Sequence[Override],
    folders: Sequence[Path],
    compose: Callable[[Sequence[str]], Mapping[str, Any]],
) -> ConfigError:
    """Return an error of one paragraph for what Hydra refused.

    `compose` returns the plain tree. It is called with the group choices only, to see which keys
    they have.
    """
    choices = [
        override.input_line or ""
        for override in overrides
        if "." not in override.key_or_group and override.key_or_group != "seeds"
    ]
    key_overrides = [override for override in overrides if "." in override.key_or_group]
    try:
        tree = compose(choices)
    except Exception:
        return _file_failure(error, folders)
    for override in key_overrides:
        if explanation := (
            launchers.unknown_key(override, tree["hydra"])
            if override.is_hydra_override()
            else _missing_key(override, tree, folders)
        ):
            return explanation
    return ConfigError(f"The configuration does not compose: {_plain(error)}")


def _missing_key(
    override: Override, tree: Mapping[str, object], folders: Sequence[Path]
) -> ConfigError | None:
    line, group, *path = override.input_line or "", *override.key_or_group.split(".")
    node = tree.get(group)
    if not isinstance(node, dict) or not path:
        return None
    if path[0] not in node:
        keys = [key for key in node if key != "name"]
        return unknown_key(
            group, str(node.get("name")), path[0], keys, folders, group, f"override `{line}`", node
        )
    if override.is_add():
        return ConfigError(
            f"`{line}`: `{group}.{path[0]}` already exists with the value"
            f" {value_yaml(node[path[0]])}. Change it without the plus: {line.lstrip('+')}."
        )
    if len(path) > 1 and not isinstance(node[path[0]], dict):
        return ConfigError(
            f"`{line}`: `{group}.{path[0]}` is not a mapping with keys; its value is"
            f" {value_yaml(node[path[0]])}. Set it as a whole: {group}.{path[0]}=..."
        )
    return None


def _file_failure(error: Exception, folders: Sequence[Path]) -> ConfigError:
    """Explain a file that does not compose: an unknown choice in its defaults, or a YAML error."""
    import yaml
    from hydra.errors import MissingConfigException

    if isinstance(error, yaml.YAMLError):
        mark = getattr(error, "problem_mark", None)
        location = (
            f"{file_label(Path(mark.name))}, line {mark.line + 1}: "
            if mark and Path(mark.name).exists()
            else ""
        )
        return ConfigError(
            f"{location}this is not YAML: {getattr(error, 'problem', None) or _plain(error)}."
        )
    if isinstance(error, MissingConfigException) and "/" in str(error.missing_cfg_file):
        group, _, missing = str(error.missing_cfg_file).rpartition("/")
        if group in launchers.PACKAGES:
            return launchers.missing_package(group, missing, list(error.options or ()))
        source = re.match(r"In '([^']+)'", str(error))
        names = (
            catalog.choice_names(group, folders) if group in GROUPS else list(error.options or ())
        )
        location = f"In {source[1]}.yaml: " if source and group in GROUPS else ""
        return ConfigError(
            f"{location}there is no {group} `{missing}`."
            f" {did_you_mean(missing, names, f'`{group}={{}}`')}Choices of {group}:"
            f" {', '.join(names)}."
        )
    return ConfigError(f"The configuration does not compose: {_plain(error)}")


def _plain(error: BaseException) -> str:
    """Return the messages of an error and its causes on one line.

    Hydra's advice to add the misspelled key with + is left out.
    """
    texts = []
    cause: BaseException | None = error
    while cause is not None:
        texts += [
            line.strip()
            for line in str(cause).splitlines()
            if not line.startswith(("To append to your config", "    full_key", "    object_type"))
        ]
        cause = cause.__cause__
    return " ".join(dict.fromkeys(filter(None, texts))) or type(error).__name__
