"""JSON Schema (draft-07) of single keys: the rule of a field as constraints on its YAML value.

Every key also accepts an interpolation such as ${optimizer.lr}, and ??? for a value that must be
given elsewhere. A constraint on numbers does not concern strings, and the other way round, so that
one schema with two types states both. `patternErrorMessage` is what YAML's language server shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from mlplab.config.model import MAX_LAYERS
from mlplab.config.yaml_render import defaults, describe_rule
from mlplab.schema import Component, Rule, rules

Schema: TypeAlias = dict[str, Any]

_ELSEWHERE = r"\$\{.*\}|\?\?\?"
_LIMITS = {
    "above": "exclusiveMinimum",
    "at_least": "minimum",
    "below": "exclusiveMaximum",
    "at_most": "maximum",
}
_TYPES = {
    "number": ("number", "a number"),
    "integer": ("integer", "an integer"),
    "flag": ("boolean", "true or false"),
    "numbers": ("array", "a list of numbers"),
}
_WIDTHS = r"\s*(\d{1,10}(x\d{1,10})?(-\d{1,10}(x\d{1,10})?)*)?\s*"


def reference(name: str, key: str = "") -> Schema:
    """Return the reference to a definition, or to one of its keys."""
    return {"$ref": f"#/definitions/{name}" + (f"/properties/{key}" if key else "")}


def key_schemas(component: type[Component], keys: Sequence[str] | None = None) -> dict[str, Schema]:
    """Return the schema of each key with its meaning and default, all keys by default."""
    component_rules = rules(component)
    described: dict[str, Schema] = {}
    for key, value in defaults(component).items():
        if keys is None or key in keys:
            schema = key_schema(component, key)
            described[key] = {
                "description": describe_rule(component_rules[key]),
                "default": value,
                **({"allOf": [schema]} if "$ref" in schema else schema),
            }
    return described


def key_schema(component: type[Component], key: str) -> Schema:
    """Return the constraints on the value of a key."""
    rule = rules(component)[key]
    if rule.kind != "any":
        return rule_schema(rule)
    for base in component.__mro__:
        if shape := _SHAPES.get((base.__name__, key)):
            return shape
    return {}


def rule_schema(rule: Rule) -> Schema:
    """Return the constraints of a rule of any kind but "any"."""
    null = ["null"] if rule.optional else []
    if rule.kind == "text":
        return {"type": ["string", *null]}
    if rule.kind == "choice":
        return one_of(rule.options, *null)
    limits = {
        keyword: getattr(rule, name)
        for name, keyword in _LIMITS.items()
        if getattr(rule, name) is not None
    }
    kind = f"{rule.kind} or null" if rule.optional else rule.kind
    if rule.kind == "numbers":
        limits = {"items": _shared("number", limits)}
    if not rule.literals:
        return _shared(kind, limits)
    return _kind(kind, rule.literals) | limits


def _shared(kind: str, constraints: Schema) -> Schema:
    """The definition of a kind of value, with further constraints. Draft-07 ignores what stands
    beside a reference.
    """
    return {"allOf": [reference(kind)], **constraints}


def kinds() -> dict[str, Schema]:
    """Return the definitions of the kinds of values, which most keys refer to."""
    names = [f"{kind}{null}" for kind in _TYPES for null in ("", " or null")]
    return {**{name: _kind(name) for name in names}, "interpolation": _interpolation()}


def _kind(name: str, literals: Sequence[str] = ()) -> Schema:
    """The schema of a kind of value, which also accepts these strings."""
    kind, or_null, _ = name.partition(" or null")
    json_type, noun = _TYPES[kind]
    expected = " or ".join([noun, *literals, *(["null"] if or_null else [])])
    return {
        "type": [json_type, "string", *(["null"] if or_null else [])],
        **text_like("|".join([*literals, _ELSEWHERE]), f"Write {expected}."),
    }


def text_like(pattern: str, message: str) -> Schema:
    """Return the constraint that a string is one of these."""
    return {"pattern": f"^({pattern})$", "patternErrorMessage": message}


def one_of(options: Sequence[str], *types: str) -> Schema:
    """Return the schema of a choice, or of another type."""
    null = [None] if "null" in types else []
    return {"anyOf": [{"enum": [*options, *null]}, reference("interpolation")]}


def _interpolation() -> Schema:
    return {"type": "string", **text_like(_ELSEWHERE, "Write one of the choices.")}


def _either(*schemas: Schema) -> Schema:
    return {"anyOf": [*schemas, reference("interpolation")]}


def _list(item: Schema, **limits: int) -> Schema:
    return {"type": "array", "items": item, **limits}


def _choice_or_node(group: str, *others: Schema) -> Schema:
    """A component of a group as the value of a key: its name, or a mapping with its name."""
    name = {"allOf": [reference(f"{group}.names")]}
    node = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": name},
        "allOf": [reference(f"{group}.keys")],
    }
    return _either(name, node, {"type": "null"}, *others)


_TEXT: Schema = {"type": "string"}
_TEXTS = _either(_list(_TEXT), {"type": "null"})
_MARKER: Schema = {"type": ["string", "number"]}
_MAPPING: Schema = {"type": ["object", "string"], **text_like(_ELSEWHERE, "Write a mapping.")}
_WIDTH: Schema = {"type": "integer", "minimum": 1}
_LAYER: Schema = {
    "type": ["integer", "object", "string"],
    "minimum": 1,
    "required": ["units"],
    "allOf": [reference("layer")],
    **text_like(_ELSEWHERE, "Write a width, or {units: 6, activation: relu}."),
}
_GRID_VALUES: Schema = {"type": ["array", "string"], "minItems": 1, "minLength": 1}
_SHAPES: Mapping[tuple[str, str], Schema] = {
    ("LayerKeys", "activation"): _choice_or_node("activation"),
    ("LayerKeys", "initializer"): _choice_or_node("initializer"),
    ("LayerKeys", "bias"): rule_schema(Rule("flag", "", optional=True)),
    ("Mlp", "hidden"): {
        "type": ["array", "integer", "string"],
        "minimum": 1,
        "maxItems": MAX_LAYERS,
        "items": _LAYER,
        **text_like(f"{_WIDTHS}|auto|{_ELSEWHERE}", "Write [6, 4], 64-64-32, 64x3 or auto."),
    },
    ("Mlp", "bias_initializer"): _choice_or_node("initializer"),
    ("Mlp", "output_initializer"): _choice_or_node("initializer"),
    ("Given", "weights"): {"type": ["array", "string"]},
    ("Given", "biases"): {"type": ["array", "string"]},
    ("File", "na_values"): _either(
        _list(_MARKER),
        {"type": "object", "additionalProperties": _list(_MARKER)},
        {"type": "null"},
    ),
    ("File", "sheet"): _either(_TEXT, {"type": ["integer", "null"]}),
    ("TabularDataset", "target"): _either(_TEXT, _list(_TEXT, minItems=1), {"type": "null"}),
    ("TabularDataset", "features"): _TEXTS,
    ("TabularDataset", "ignore"): _TEXTS,
    ("TabularDataset", "categories"): _TEXTS,
    ("TabularDataset", "numbers"): _TEXTS,
    ("TorchOptimizer", "options"): _MAPPING,
    ("Sweep", "grid"): reference("grid"),
    ("Sweep", "zip"): reference("grid"),
    ("Sweep", "blocks"): _list(reference("grid")),
    ("Sweep", "cluster"): reference("cluster"),
    ("Sweep", "space"): reference("space"),
    ("Sweep", "objectives"): _either(_TEXT, _list(_TEXT, minItems=1), {"type": "null"}),
    ("Slurm", "extra"): _MAPPING,
    ("Ray", "extra"): _MAPPING,
}
"""The keys whose classes check the value themselves, by class and key."""
