"""A part as the text of its YAML file: the class is the schema, the file repeats it where users
look.
"""

from __future__ import annotations

import dataclasses
import json
import re

from mlplab.schema import Component, Rule, meaning, rules

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*( [\w./-]+)*")
# of which YAML 1.1 makes a truth value or nothing
_NOT_TEXT = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def defaults(part: type[Component]) -> dict[str, object]:
    """Key -> default. The part's own keys come first, those that it shares with its kin after
    them.
    """
    values: dict[str, object] = {}
    for field in dataclasses.fields(part):
        factory = field.default_factory
        values[field.name] = field.default if factory is dataclasses.MISSING else factory()
    known = rules(part)
    own_first = dict.fromkeys(
        key for kind in part.__mro__ for key in getattr(kind, "__annotations__", ()) if key in known
    )
    return {key: values[key] for key in own_first}


def explained(rule: Rule) -> str:
    """Meaning and range: what stands behind a key."""
    told = rule.range() == "null" and "null" in rule.meaning
    return "; ".join(filter(None, [rule.meaning, "" if told else rule.range()]))


def component_yaml(name: str, part: type[Component]) -> str:
    """The file configs/<group>/<name>.yaml."""
    return "\n".join([f"# {meaning(part)}", f"name: {value_yaml(name)}", *key_lines(part)]) + "\n"


def key_lines(part: type[Component]) -> list[str]:
    """One line a key: its default, and behind it what it means."""
    known = rules(part)
    return [
        f"{key}: {_or_missing(value, known[key])}  # {explained(known[key])}"
        for key, value in defaults(part).items()
    ]


def _or_missing(value: object, rule: Rule) -> str:
    return (
        "???" if value is None and not rule.optional and rule.kind != "any" else value_yaml(value)
    )


def value_yaml(value: object) -> str:
    """A value in one line that every YAML 1.1 reader reads back as the same value."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(value_yaml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {value_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, float):
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))  # 1e-08 without a point would be a text
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    return json.dumps(value)
