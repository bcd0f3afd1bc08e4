"""One part from its plain keys: the word gives the class, the class checks the values, and an error
says where they stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from mlplab.config import error_hints
from mlplab.config.provenance import Sources
from mlplab.config.registry import TRACKING_KEYS, table
from mlplab.config.search_path import shipped_folder
from mlplab.config.suggestions import did_you_mean, shown
from mlplab.config.yaml_render import explained
from mlplab.errors import ConfigError, FieldError
from mlplab.schema import Component, Rule, rules

P = TypeVar("P", bound=Component)


@dataclass(frozen=True)
class ConfigNode:
    """A node of the configuration: its path, and what tells where its values come from."""

    path: str
    sources: Sources

    def inside(self, key: str) -> ConfigNode:
        """The place of a key."""
        return ConfigNode(f"{self.path}.{key}" if self.path else key, self.sources)

    def at(self, key: str = "") -> str:
        """ "`optimizer.lr` (override `optimizer.lr=-1`)"."""
        place = self.inside(key) if key else self
        origin = place.sources.of(place.path)
        return f"`{place.path}`" + (f" ({origin})" if origin else "")


def build_component(group: str, node: Mapping[str, Any], place: ConfigNode) -> Any:
    """The part that the node names and describes. Raises ConfigError."""
    keys = {str(key): value for key, value in node.items() if key != "name"}
    word = node["name"]
    known = table(group)
    if word not in known:
        raise ConfigError(
            f"{place.at('name')} = {shown(word)}: there is no {group} `{word}`."
            f" {did_you_mean(word, known)}Choices of {group}: {', '.join(known)}."
        )
    # the words of tracking are levels
    fields = list(TRACKING_KEYS.get(word, ())) if group == "tracking" else list(rules(known[word]))
    for key in keys:
        if key not in fields:
            where = place.sources.folders or (shipped_folder(),)
            raise error_hints.unknown_key(
                group,
                word,
                key,
                fields,
                where,
                place.path,
                place.sources.of(place.inside(key).path),
                node,
            )
    if group == "tracking":
        keys["level"] = word
    return construct(known[word], keys, place)


def construct(part: type[P], values: Mapping[str, Any], place: ConfigNode) -> P:
    """The part, with whole numbers made real where the class asks for real ones."""
    known = rules(part)
    try:
        return part(**{key: _real(value, known[key]) for key, value in values.items()})
    except FieldError as error:
        raise _refused(
            error, known.get(error.key.partition(".")[0].partition("[")[0]), place
        ) from error


def _real(value: Any, rule: Rule) -> Any:
    """1 and 1.0 are the same configuration; the huge whole numbers that no float holds stay, to be
    refused as what they are.
    """
    if rule.kind == "numbers" and isinstance(value, list):
        return [_real(item, Rule("number", "")) for item in value]
    if (
        rule.kind == "number"
        and isinstance(value, int)
        and not isinstance(value, bool)
        and abs(value) < 2**1000
    ):
        return float(value)
    return value


def _refused(error: FieldError, rule: Rule | None, place: ConfigNode) -> ConfigError:
    path = place.inside(error.key).path
    origin = place.sources.of(path)
    text = (
        f"`{path} = {shown(error.value)}`{f' ({origin})' if origin else ''}"
        f" {error.reason.rstrip('.')}."
    )
    near = (
        did_you_mean(error.value, rule.options)
        if rule is not None and isinstance(error.value, str)
        else ""
    )
    if rule is None:
        return ConfigError(f"{text} {near}")
    told = bool(rule.range()) and rule.range() in text
    return ConfigError(
        f"{text} {near}{error.key.rpartition('.')[2].partition('[')[0]}:"
        f" {rule.meaning if told else explained(rule)}."
    )
