"""Nodes of configurations that equal jobs of a sweep share, so that each is made, checked, hashed
and kept once.

A shared node is never changed: code that needs another value makes another node.
"""

from __future__ import annotations

from typing import Any


class Shared:
    """Returns the same object for equal nodes: dicts and lists of plain values.

    Nodes that differ in a type, such as 1 and 1.0, or in the order of keys are not equal.
    """

    def __init__(self) -> None:
        self._by_text: dict[str, Any] = {}
        self._by_id: dict[int, Any] = {}

    def __call__(self, node: Any) -> Any:
        """Return the shared node that equals this one, which becomes it if it is the first."""
        if not isinstance(node, (dict, list)) or id(node) in self._by_id:
            return node
        shared = self._by_text.setdefault(repr(node), node)
        self._by_id[id(shared)] = shared
        return shared
