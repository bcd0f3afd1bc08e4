"""The JSON Schema of the configuration files, generated from the classes, for editors.

It is draft-07, which YAML's language server reads: that of VS Code's YAML extension, and of other
editors. The schema itself is that of an experiment. The definition of a group is that of the files
of its choices; `primary` is that of config.yaml of mlplab, `run` and `overrides` are those of the
two files of a run. A schema accepts whatever is accepted: the keys of a group are those of the
choice that the file makes, and without one those of all choices, since the command line may choose.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mlplab.config import cluster_options
from mlplab.config.json_shapes import (
    Schema,
    key_schema,
    key_schemas,
    kinds,
    one_of,
    reference,
    rule_schema,
)
from mlplab.config.model import LayerKeys
from mlplab.config.registry import TRACKING_KEYS, TRACKING_LEVELS, table
from mlplab.config.root import COMPONENT_GROUPS, DEFAULTS, Root
from mlplab.config.search_path import choice_files
from mlplab.config.sweep_options import Sweep
from mlplab.schema import Component, meaning, rules

COMMENT = "Generated from the classes by `mlplab schema`; do not edit."
DRAFT = "http://json-schema.org/draft-07/schema#"
_LIST: Schema = {"type": "array"}
# The language server adds what is at the root of the schema to a definition that lacks it.
_APART_FROM_THE_ROOT: Schema = {"allOf": [{}]}
_NESTED = r"[.\[].*"


def json_schema(folders: Sequence[Path] = ()) -> Schema:
    """Return the schema of all files, with the choices of these folders of the user and those that
    plugins registered.
    """
    definitions = kinds()
    for group in COMPONENT_GROUPS:
        definitions |= _group_definitions(group, folders)
    definitions["layer"] = {
        "properties": key_schemas(LayerKeys),
        "additionalProperties": False,
    }
    definitions["cluster"] = _cluster()
    definitions |= _varied(definitions)
    definitions["sweep"] = _closed(key_schemas(Sweep))
    definitions["experiment"] = _experiment(definitions)
    definitions["primary"] = _primary()
    definitions["run"] = _run()
    definitions["overrides"] = {
        "type": "array",
        "items": {"type": "string", "pattern": r"^(\+{1,2}|~)?[\w@/.:\[\]-]+(=|$)"},
        **_APART_FROM_THE_ROOT,
    }
    return {
        "$schema": DRAFT,
        "$comment": COMMENT,
        "title": "An experiment of mlplab",
        "allOf": [reference("experiment")],
        "definitions": definitions,
    }


def is_schema(text: str) -> bool:
    """Whether a file has been written by this module."""
    return COMMENT in text[:1000]


def schema_text(schema: Schema) -> str:
    """Return a schema as JSON, with a line for each definition."""
    definitions = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
        for name, value in schema["definitions"].items()
    )
    rest = {key: value for key, value in schema.items() if key != "definitions"}
    head = json.dumps(rest, indent=1, ensure_ascii=False).removesuffix("\n}")
    return f'{head},\n "definitions": {{\n{definitions}\n }}\n}}\n'


def _closed(properties: Mapping[str, Schema], **more: Any) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False, **more}


def _group_definitions(group: str, folders: Sequence[Path]) -> dict[str, Schema]:
    """The definitions of a group: its names, each choice, the keys by name, the keys of any choice,
    and its files.
    """
    classes = table(group)
    keys = {name: _keys(group, name, component) for name, component in classes.items()}
    user_names = _user_names(group, folders, list(classes))
    choices = {
        f"{group}.{name}": _closed(
            {"name": reference(f"{group}.names"), "defaults": _LIST, **keys[name]},
            description=TRACKING_LEVELS[name] if group == "tracking" else meaning(component),
        )
        for name, component in classes.items()
    }
    by_name = [
        {
            "if": {"required": ["name"], "properties": {"name": {"const": name}}},
            "then": reference(f"{group}.{name}"),
        }
        for name in classes
    ]
    return {
        f"{group}.names": one_of([*classes]),
        f"{group}.choices": one_of([*classes, *user_names]),
        **choices,
        **{f"{group}.{name}": reference(f"{group}.{base}") for name, base in user_names.items()},
        f"{group}.keys": {"allOf": by_name},
        f"{group}.any": _closed(
            {"name": reference(f"{group}.names"), **_union(group, classes, keys)},
            description=f"Keys of the {group}",
        ),
        group: {
            "title": f"A choice of {group}",
            "type": "object",
            "properties": {"name": reference(f"{group}.names"), "defaults": _LIST},
            "anyOf": [{"required": ["name"]}, {"required": ["defaults"]}],
            "allOf": [reference(f"{group}.keys")],
        },
    }


def _keys(group: str, name: str, component: type[Component]) -> dict[str, Schema]:
    return key_schemas(component, TRACKING_KEYS[name] if group == "tracking" else None)


def _user_names(group: str, folders: Sequence[Path], known: Sequence[str]) -> dict[str, str]:
    """The choices that the user's files define, with the class that each configures: its `name`, or
    that of the choice in its `defaults`.
    """
    files = choice_files(group, folders)
    bases: dict[str, str] = {}
    for name, path in files.items():
        node = yaml.safe_load(path.read_text(encoding="utf-8", errors="replace"))
        node = node if isinstance(node, dict) else {}
        named = [node.get("name"), *(node.get("defaults") or [])]
        bases[name] = next((str(base) for base in named if base in known or base in files), "any")
    for name in bases:
        for _ in bases:  # a choice may be based on another one of the user
            bases[name] = bases.get(bases[name], bases[name])
    return {name: base if base in known else "any" for name, base in bases.items()}


def _union(
    group: str,
    classes: Mapping[str, type[Component]],
    keys: Mapping[str, Mapping[str, Schema]],
) -> dict[str, Schema]:
    """The keys of all choices of a group; one that has several ranges accepts each of them."""
    union: dict[str, Schema] = {}
    for key in dict.fromkeys(key for named in keys.values() for key in named):
        owners = [name for name in keys if key in keys[name]]
        schemas: list[Schema] = []
        for name in owners:
            if (schema := key_schema(classes[name], key)) not in schemas:
                schemas.append(schema)
        texts = {keys[name][key]["description"] for name in owners}
        description = texts.pop() if len(texts) == 1 else f"of {', '.join(owners)}"
        union[key] = {"description": description} | (
            schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        )
    return union


def _cluster() -> Schema:
    properties: dict[str, list[Schema]] = {}
    for engine, options in cluster_options.ENGINES.items():
        for key, schema in key_schemas(options).items():
            text = f"sweep.engine={engine}: {schema['description']}"
            properties.setdefault(key, []).append({**schema, "description": text})
    return _closed(
        {
            key: schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
            for key, schemas in properties.items()
        }
    )


def _varied(definitions: Mapping[str, Schema]) -> dict[str, Schema]:
    """The definitions of what a sweep varies: `grid`, a mapping of keys to lists of values or to a
    string in Hydra's syntax, and `space`, whose values may also be {values: ..., when: ...}.
    """
    values = {key: rule_schema(rule) for key, rule in rules(Root).items() if key != "name"}
    nested = []
    for group in COMPONENT_GROUPS:
        values[group] = reference(f"{group}.choices")
        for key, schema in definitions[f"{group}.any"]["properties"].items():
            values[f"{group}.{key}"] = reference(f"{group}.any", key)
            nested += [f"{group}\\.{key}"] if {"array", "object"} & set(_types(schema)) else []
    pattern = f"^({'|'.join(nested)}){_NESTED}"
    grid = {
        key: {"type": ["array", "string"], "items": schema, "minItems": 1, "minLength": 1}
        for key, schema in values.items()
    }
    condition = _closed(
        {"values": {"type": ["array", "string"]}, "when": {"type": "object"}}, required=["values"]
    )
    space = {key: {"anyOf": [reference("grid", key), reference("condition")]} for key in grid}
    return {
        "grid": _closed(grid, patternProperties={pattern: {}}),
        "condition": condition,
        "space": _closed(space, patternProperties={pattern: {}}),
    }


def _types(schema: Schema) -> list[str]:
    """The types of values that a schema names."""
    types = schema.get("type", [])
    inner = [name for option in schema.get("anyOf", ()) for name in _types(option)]
    return [*([types] if isinstance(types, str) else types), *inner]


def _experiment(definitions: Mapping[str, Schema]) -> Schema:
    """The file of an experiment: choices, keys at the root, keys of the groups, and a sweep."""
    return _closed(
        {
            "defaults": {
                "description": "choices, such as `- override /optimizer: sgd`, and the experiments"
                " that this one is based on",
                "type": "array",
                "items": _default_entry(),
            },
            **_root_properties(),
            **{
                group: {
                    "description": f"keys of the {group}; {DEFAULTS[group]} by default",
                    "allOf": [reference(f"{group}.any")],
                }
                for group in COMPONENT_GROUPS
            },
        },
        title="An experiment",
        allOf=[
            _if_chosen(group, name)
            for group in COMPONENT_GROUPS
            for name in definitions[f"{group}.choices"]["anyOf"][0]["enum"]
        ],
    )


def _root_properties() -> dict[str, Schema]:
    return {**key_schemas(Root), "sweep": reference("sweep"), "hydra": {"type": "object"}}


def _default_entry() -> Schema:
    """An entry of the defaults of an experiment: its base, or the choice of a group."""
    overrides = {f"override /{group}": reference(f"{group}.choices") for group in COMPONENT_GROUPS}
    choices = _closed(overrides, patternProperties={"^override /hydra/": {}}, maxProperties=1)
    return {**choices, "type": ["string", "object"], "pattern": r"^[\w/.-]+$"}


def _if_chosen(group: str, name: str) -> Schema:
    """If the defaults choose this component of the group, its keys are those of the component."""
    entry = {
        "type": "object",
        "required": [f"override /{group}"],
        "properties": {f"override /{group}": {"const": name}},
    }
    return {
        "if": {"required": ["defaults"], "properties": {"defaults": {"contains": entry}}},
        "then": {"properties": {group: reference(f"{group}.{name}")}},
    }


def _primary() -> Schema:
    """The primary configuration, which chooses each group and has all keys of the root."""
    return _closed(
        {"defaults": _LIST, **_root_properties()},
        title="The defaults of mlplab",
        **_APART_FROM_THE_ROOT,
    )


def _run() -> Schema:
    """The configuration of a run: groups with their names. Keys that a later version added may be
    missing.
    """
    node = {"required": ["name"]}
    return _closed(
        {
            **key_schemas(Root),
            **{group: {"allOf": [node, reference(group)]} for group in COMPONENT_GROUPS},
        },
        title="The configuration of a run",
        required=["dataset", "model", "loss", "optimizer", "training"],
        **_APART_FROM_THE_ROOT,
    )
