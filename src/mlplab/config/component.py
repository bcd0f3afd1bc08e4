"""Build one component from its plain keys: the name selects the class, and the class validates the
values. Error messages say where an invalid value was set.
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
from mlplab.config.yaml_render import describe_rule, value_yaml
from mlplab.errors import ConfigError, FieldError
from mlplab.schema import Component, Rule, rules

P = TypeVar("P", bound=Component)


@dataclass(frozen=True)
class ConfigNode:
    """A node of the configuration: its path, and the sources of the configuration."""

    path: str
    sources: Sources

    def child(self, key: str) -> ConfigNode:
        """Return the node of a key."""
        return ConfigNode(f"{self.path}.{key}" if self.path else key, self.sources)

    def describe(self, key: str = "") -> str:
        """Return the path and the origin, such as "`optimizer.lr` (override `optimizer.lr=-1`)"."""
        node = self.child(key) if key else self
        return f"`{node.path}`{node.sources.remark(node.path)}"


def build_component(group: str, values: Mapping[str, Any], node: ConfigNode) -> Any:
    """Return the component that the values name and configure. Raises ConfigError."""
    keys = {str(key): value for key, value in values.items() if key != "name"}
    name = values["name"]
    classes = table(group)
    if name not in classes:
        raise ConfigError(
            f"{node.describe('name')} = {shown(name)}: there is no {group} `{name}`."
            f" {did_you_mean(name, classes)}Choices of {group}: {', '.join(classes)}."
        )
    # the choices of tracking are levels of one class
    fields = (
        list(TRACKING_KEYS.get(name, ())) if group == "tracking" else list(rules(classes[name]))
    )
    for key in keys:
        if key not in fields:
            raise error_hints.unknown_key(
                group,
                name,
                key,
                fields,
                node.sources.folders or (shipped_folder(),),
                node.path,
                node.sources.origin(node.child(key).path),
                values,
            )
    if group == "tracking":
        keys["level"] = name
    component = construct(classes[name], keys, node)
    _check_presets(component, keys, node)
    return component


def _check_presets(component: Component, keys: Mapping[str, object], node: ConfigNode) -> None:
    """Raise ConfigError if an override sets a key to its default, of which a preset makes another
    value: a class cannot see the difference to a key that is not set.
    """
    preset = next((key for key, rule in rules(component).items() if rule.preset), None)
    if preset is None:
        return
    for key, value in keys.items():
        actual, path = getattr(component, key), node.child(key).path
        if value != actual and node.sources.origin(path).startswith("override"):
            chosen = f"{node.child(preset).path}={getattr(component, preset)}"
            raise ConfigError(
                f"`{path} = {shown(value)}`{node.sources.remark(path)} contradicts `{chosen}`,"
                f" which sets {path}={value_yaml(actual)}. Leave out one of the two."
            )


def construct(component: type[P], values: Mapping[str, object], node: ConfigNode) -> P:
    """Return the component, with integers converted where the class expects floats.

    Raises ConfigError for a value that the class refuses.
    """
    component_rules = rules(component)
    try:
        return component(
            **{key: _to_float(value, component_rules[key]) for key, value in values.items()}
        )
    except FieldError as error:
        raise _refused(
            error, component_rules.get(error.key.partition(".")[0].partition("[")[0]), node
        ) from error


def _to_float(value: object, rule: Rule) -> object:
    """Convert integers, so that 1 and 1.0 are the same configuration.

    Integers beyond the range of floats stay unchanged and are refused by the class.
    """
    if rule.kind == "numbers" and isinstance(value, list):
        return [_to_float(item, Rule("number", "")) for item in value]
    if (
        rule.kind == "number"
        and isinstance(value, int)
        and not isinstance(value, bool)
        and abs(value) < 2**1000
    ):
        return float(value)
    return value


def _refused(error: FieldError, rule: Rule | None, node: ConfigNode) -> ConfigError:
    path = node.child(error.key).path
    text = f"`{path} = {shown(error.value)}`{node.sources.remark(path)} {error.reason.rstrip('.')}."
    hint = (
        did_you_mean(error.value, rule.options)
        if rule is not None and isinstance(error.value, str)
        else ""
    )
    if rule is None:
        return ConfigError(f"{text} {hint}")
    has_range = bool(rule.range()) and rule.range() in text
    return ConfigError(
        f"{text} {hint}{error.key.rpartition('.')[2].partition('[')[0]}:"
        f" {rule.meaning if has_range else describe_rule(rule)}."
    )
