"""Render a component as the text of its YAML file, which shows the schema of its class to users."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import MISSING, fields

from mlplab.io.files import yaml_line
from mlplab.schema import Component, Rule, further_paragraphs, meaning, rules

EAGER_ONLY = "Trained by engine=eager; engine=native does not support it"
"""Comment in the file of a component, which may go on with the reason."""

SCHEMA_FILE = "schema.json"
"""The JSON Schema of the configuration files, in their folder."""
_MODELINE = "# yaml-language-server: $schema="

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*( [\w./-]+)*")
# YAML 1.1 reads these as a boolean or null
_NOT_TEXT = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def defaults(component: type[Component]) -> dict[str, object]:
    """Return the default of each key. The keys that the class itself defines come first, followed
    by the inherited ones.
    """
    values: dict[str, object] = {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in fields(component)
    }
    component_rules = rules(component)
    ordered_keys = dict.fromkeys(
        key
        for base in component.__mro__
        for key in getattr(base, "__annotations__", ())
        if key in component_rules
    )
    return {key: values[key] for key in ordered_keys}


def describe_rule(rule: Rule) -> str:
    """Return the meaning and the range of a key, which follow it as a comment."""
    explains_null = rule.range() == "null" and "null" in rule.meaning
    return "; ".join(filter(None, [rule.meaning, "" if explains_null else rule.range()]))


def component_yaml(
    group: str,
    name: str,
    component: type[Component],
    heading: str | None = None,
    keys: Collection[str] | None = None,
) -> str:
    """Return the text of the file configs/<group>/<name>.yaml.

    By default, the heading is the meaning of the component, followed by its formulas, and all of
    its keys are listed.
    """
    from mlplab.native import is_supported  # imports torch, which reading a file does not need

    lines = [f"# {heading or meaning(component)}"]
    lines += [] if heading else [f"# {fact}" for fact in facts(component)]
    lines += [] if is_supported(group, component) else [f"# {eager_note(component.eager_only)}"]
    lines += [f"name: {value_yaml(name)}"]
    return "\n".join([*lines, *key_lines(component, keys)]) + "\n"


def modeline(path: str, definition: str = "") -> str:
    """Return the comment by which a YAML file names its schema to an editor."""
    return f"{_MODELINE}{path}" + (f"#/definitions/{definition}" if definition else "")


def is_meaningful(comment: str) -> bool:
    """Whether a comment is for people, not for Hydra or an editor."""
    return bool(comment.lstrip("# ")) and not comment.startswith(("# @package", _MODELINE))


def eager_note(reason: str) -> str:
    """Return the comment on a component that only the eager engine trains with, for a reason that
    may be empty.
    """
    return f"{EAGER_ONLY}: {reason}." if reason else f"{EAGER_ONLY}."


def facts(component: type[Component]) -> list[str]:
    """Return the formulas of the docstring, the facts of the class and the further paragraphs of
    the docstring, a line each; nothing if there are neither formulas nor facts.
    """
    formulas, prose = [], []
    for paragraph in further_paragraphs(component):
        if paragraph.startswith("    "):
            formulas += [" ".join(line.split()) for line in paragraph.splitlines()]
        else:
            prose.append(" ".join(paragraph.split()))
    lines = [*formulas, *(f"{name}{value}" for name, value in component.facts().items() if value)]
    return [*lines, *prose] if lines else []


def key_lines(component: type[Component], keys: Collection[str] | None = None) -> list[str]:
    """Return one line per key: its default, with its meaning and range as a comment."""
    component_rules = rules(component)
    return [
        f"{key}: {_or_missing(value, component_rules[key])}"
        f"  # {describe_rule(component_rules[key])}"
        for key, value in defaults(component).items()
        if keys is None or key in keys
    ]


def _or_missing(value: object, rule: Rule) -> str:
    return (
        "???" if value is None and not rule.optional and rule.kind != "any" else value_yaml(value)
    )


def value_yaml(value: object) -> str:
    """Return a value as one line of YAML, with quotes only around strings that need them."""
    return yaml_line(value, _text)


def _text(value: str) -> str:
    is_plain = _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT
    return value if is_plain else json.dumps(value)
