"""What went wrong where only the composed configuration can tell: a key of another choice, or a
file that does not compose.
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
    word: str,
    key: str,
    known: Sequence[str],
    where: Sequence[Path],
    place: str,
    origin: str,
    values: Mapping[str, Any],
) -> ConfigError:
    """`key` at the place (`optimizer`, `model.hidden[0].activation`) is not a key of this choice:
    whose it is, and what was probably meant.
    """
    homes = catalog.owners(group, key, where) if group in COMPONENT_GROUPS else []
    others = [other for other in catalog.groups_with(key, where) if other != group]
    has = f"{word} has {listing(known, empty='no keys')}."
    if homes:
        text = f"`{key}` belongs to {group} {listing(homes)}; {has}"
    elif others:
        text = (
            f"{group} {word} has no key `{key}`; it belongs to {listing(others, ' and ')}"
            f" (`{others[0]}.{key}`). {has}"
        )
    else:
        text = f"{group} {word} has no key `{key}`. {_near(place, key, known, values)}{has}"
    return ConfigError(
        f"`{place}.{key}`{_from(origin)} is unknown: {text} `mlplab list {group} {word}` explains"
        " them."
    )


def _near(place: str, key: str, known: Sequence[str], values: Mapping[str, Any]) -> str:
    near = nearest(key, known)
    if near is None:
        return ""
    now = f" (now {value_yaml(values[near])})" if near in values else ""
    return f"Did you mean `{place}.{near}`{now}? "


def _from(origin: str) -> str:
    return f" ({origin})" if origin else ""


def failure(
    error: Exception,
    words: Sequence[Override],
    where: Sequence[Path],
    compose: Callable[[Sequence[str]], Mapping[str, Any]],
) -> ConfigError:
    """What Hydra refused, in one paragraph. `compose` gives the plain tree and is tried with the
    choices alone, to see what was there.
    """
    choices = [word.input_line or "" for word in words if "." not in word.key_or_group]
    typed = [word for word in words if "." in word.key_or_group]
    try:
        tree = compose(choices)
    except Exception:
        return _file_failure(error, where)
    for word in typed:
        if found := (
            launchers.unknown_key(word, tree["hydra"])
            if word.is_hydra_override()
            else _missing_key(word, tree, where)
        ):
            return found
    return ConfigError(f"The configuration does not compose: {_plain(error)}")


def _missing_key(
    word: Override, tree: Mapping[str, Any], where: Sequence[Path]
) -> ConfigError | None:
    line, group, *rest = word.input_line or "", *word.key_or_group.split(".")
    node = tree.get(group)
    if not isinstance(node, dict) or not rest:
        return None
    if rest[0] not in node:
        known = [key for key in node if key != "name"]
        return unknown_key(
            group, str(node.get("name")), rest[0], known, where, group, f"override `{line}`", node
        )
    if word.is_add():
        return ConfigError(
            f"`{line}`: `{group}.{rest[0]}` is there already, with the value"
            f" {value_yaml(node[rest[0]])}. Change it without the plus: {line.lstrip('+')}."
        )
    if len(rest) > 1 and not isinstance(node[rest[0]], dict):
        return ConfigError(
            f"`{line}`: `{group}.{rest[0]}` has no keys of its own; its value is"
            f" {value_yaml(node[rest[0]])}. Set it as a whole: {group}.{rest[0]}=..."
        )
    return None


def _file_failure(error: Exception, where: Sequence[Path]) -> ConfigError:
    """A file that does not compose: an unknown choice in its defaults, or a mistake in its YAML."""
    import yaml
    from hydra.errors import MissingConfigException

    if isinstance(error, yaml.YAMLError):
        mark = getattr(error, "problem_mark", None)
        place = (
            f"{file_label(Path(mark.name))}, line {mark.line + 1}: "
            if mark and Path(mark.name).exists()
            else ""
        )
        return ConfigError(
            f"{place}this is not YAML: {getattr(error, 'problem', None) or _plain(error)}."
        )
    if isinstance(error, MissingConfigException) and "/" in str(error.missing_cfg_file):
        group, _, missing = str(error.missing_cfg_file).rpartition("/")
        if group in launchers.PACKAGES:
            return launchers.missing(group, missing, list(error.options or ()))
        source = re.match(r"In '([^']+)'", str(error))
        known = catalog.words(group, where) if group in GROUPS else list(error.options or ())
        place = f"In {source[1]}.yaml: " if source and group in GROUPS else ""
        return ConfigError(
            f"{place}there is no {group} `{missing}`."
            f" {did_you_mean(missing, known, f'`{group}={{}}`')}Choices of {group}:"
            f" {', '.join(known)}."
        )
    return ConfigError(f"The configuration does not compose: {_plain(error)}")


def _plain(error: BaseException) -> str:
    """The messages of an error and of what caused it, in one line, without Hydra's advice to add
    the wrong key with +.
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
