"""Configurations as changes to a few complete ones, their bases: what most jobs of a sweep agree in
is stored once.

Configurations of a sweep share their nodes; each pair of nodes is compared once.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from mlplab.config.sharing import Shared


class Bases:
    """Collects the bases of configurations: one for each set of keys."""

    def __init__(self) -> None:
        self.configs: list[Mapping[str, Any]] = []
        self._numbers: dict[Hashable, int] = {}
        self._keys: dict[int, tuple[object, Hashable]] = {}  # by id, with the node, which keeps it
        self._texts: dict[tuple[int, int], tuple[object, str]] = {}

    def changes(self, config: Mapping[str, Any]) -> tuple[int, str]:
        """Return the number of a base with the same keys, and what to change in it, as JSON."""
        keys = tuple([(key, self._keys_of(node)) for key, node in sorted(config.items())])
        number = self._numbers.setdefault(keys, len(self.configs))
        if number == len(self.configs):
            self.configs.append(config)
        base = self.configs[number]
        texts = [
            f"{json.dumps(key)}: {text}"
            for key, node in config.items()
            if (text := self._change(base[key], node))
        ]
        return number, "{" + ", ".join(texts) + "}"

    def _keys_of(self, node: object) -> Hashable:
        """The keys of a node and of those in it; None if it is no mapping."""
        if not isinstance(node, dict):
            return None
        if (known := self._keys.get(id(node))) is None:
            keys = frozenset((key, self._keys_of(value)) for key, value in node.items())
            known = self._keys[id(node)] = node, keys
        return known[1]

    def _change(self, base: Any, node: Any) -> str:
        """What to set in the base of a node, as JSON; empty if they agree."""
        if node is base:
            return ""
        if not isinstance(node, (dict, list)):
            return "" if _agree(base, node) else json.dumps(node)
        key = id(base), id(node)
        if (known := self._texts.get(key)) is None:
            if isinstance(node, list):
                text = "" if _agree(base, node) else json.dumps(node)
            else:
                text = json.dumps(changes) if (changes := _changes(base, node)) else ""
            known = self._texts[key] = node, text
        return known[1]


def _agree(base: object, value: object) -> bool:
    """Whether two values are equal and of equal types, as 1, 1.0 and true are not."""
    if type(value) is not type(base) or value != base:
        return False
    if isinstance(value, list):
        return all(map(_agree, base, value))  # type: ignore[call-overload]
    if isinstance(value, dict):
        return all(_agree(base[key], inner) for key, inner in value.items())  # type: ignore[index]
    return True


def _changes(base: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a node that differ from those of its base, which has the same keys."""
    changes: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, dict):
            if inner := _changes(base[key], value):
                changes[key] = inner
        elif not _agree(base[key], value):
            changes[key] = value
    return changes


class Changed:
    """Applies changes to bases; equal ones result in the same nodes."""

    def __init__(self, bases: Sequence[Mapping[str, Any]]) -> None:
        self._bases = bases
        self._nodes: dict[tuple[int, str, str], Any] = {}
        self._shared = Shared()

    def config(self, base: int, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the configuration that `Bases.changes` described."""
        config = dict(self._bases[base])
        for key, change in changes.items():
            if isinstance(change, (dict, list)):
                known = base, key, repr(change)
                if known not in self._nodes:
                    self._nodes[known] = self._shared(_apply(config.get(key), change))
                config[key] = self._nodes[known]
            else:
                config[key] = change
        return config


def _apply(node: Any, change: Any) -> Any:
    if not (isinstance(node, dict) and isinstance(change, dict)):
        return change
    return {**node, **{key: _apply(node.get(key), value) for key, value in change.items()}}
