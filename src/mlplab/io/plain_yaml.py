"""Reads the YAML of configurations and overrides 10 to 20 times as fast as PyYAML.

Only block mappings and lists of scalars that stand on one line, without comments, tags, anchors or
escapes: what mlplab writes. Anything else is left to PyYAML, so that the result is the same.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from mlplab.io.files import parse_yaml

_SCALAR = r"[+-]?[\w./][\w./=+\-\[\],()*]*|'[^'\n]*'|\[\]|\{\}"
_LINE = re.compile(rf"( *)(?:([A-Za-z_][\w./]*):(?: ({_SCALAR}))?|- ({_SCALAR}))", re.ASCII)
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}", re.ASCII)
_FLOAT = re.compile(r"-?[0-9]+\.[0-9]+", re.ASCII)
_TEXT = re.compile(r"[A-Za-z][\w./]*=[\w./=+\-\[\],()*]*", re.ASCII)
"""An override: no number, date, truth value or null has a `=`."""
MAX_DEPTH = 20
MAX_LINE = 200
"""Length of a line that is kept in memory, since most lines are those of other files as well."""


def read_yaml(text: str) -> Any:
    """Return the values of a YAML document as `parse_yaml` does, which raises for what is none."""
    values = _plain_document(text)
    return parse_yaml(text) if values is None else values


def _plain_document(text: str) -> dict[str, Any] | list[Any] | None:
    """The document, if it is of the simple form; else None."""
    root: dict[str, Any] | list[Any] | None = None
    open_nodes: list[tuple[int, dict[str, Any] | list[Any]]] = []  # with their indentation
    waiting: tuple[int, dict[str, Any], str] | None = None  # a key whose value is on the next lines
    for line in text.split("\n"):
        if not line:
            continue
        entry = _read_line(line) if len(line) <= MAX_LINE else None
        if entry is None:
            return None
        indent, name, has_value, value = entry
        is_item = name is None
        starts = root is None or (
            waiting is not None and (indent > waiting[0] or (is_item and indent == waiting[0]))
        )
        if starts:
            node: dict[str, Any] | list[Any] = [] if is_item else {}
            if waiting is not None:
                waiting[1][waiting[2]] = node
            elif indent:
                return None
            root = node if root is None else root
            open_nodes.append((indent, node))
            if len(open_nodes) > MAX_DEPTH:
                return None
        else:
            while open_nodes and not _continues(open_nodes[-1], indent, is_item):
                if open_nodes.pop()[0] < indent:
                    return None
            if not open_nodes:
                return None
        waiting, node = None, open_nodes[-1][1]
        if value == [] or value == {}:
            value = type(value)()  # that of the cache stays as it is
        if isinstance(node, list):
            node.append(value)
        else:
            assert name is not None
            node[name] = value
            if not has_value:
                waiting = indent, node, name
    return root


def _continues(
    open_node: tuple[int, dict[str, Any] | list[Any]], indent: int, is_item: bool
) -> bool:
    """Whether a line with this indentation is the next entry of a node."""
    return open_node[0] == indent and isinstance(open_node[1], list) == is_item


@functools.lru_cache(maxsize=10_000)
def _read_line(line: str) -> tuple[int, str | None, bool, Any] | None:
    """The indentation of a line, its key if it is no entry of a list, whether a value follows, and
    the value; None for a line that is not of the simple form.
    """
    if (match := _LINE.fullmatch(line)) is None:
        return None
    spaces, name, of_key, item = match.groups()
    if name is not None and _scalar(name) != name:  # a key such as `on` is no text
        return None
    text = item if name is None else of_key
    return len(spaces), name, text is not None, None if text is None else _scalar(text)


def _scalar(text: str) -> Any:
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _TEXT.fullmatch(text):
        return text
    if text == "[]":
        return []
    if text == "{}":
        return {}
    return parse_yaml(f"- {text}")[0]
