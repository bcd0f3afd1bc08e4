"""The available choices, read from the comments of the YAML files.

No component is imported, so this takes milliseconds. A generated file consists of a line with the
meaning, `name: NAME`, and one line per key such as `lr: 0.001  # step size; > 0`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlplab.config import plugins
from mlplab.config.root import COMPONENT_GROUPS, Root
from mlplab.config.search_path import choice_files
from mlplab.config.yaml_render import component_yaml, is_meaningful, key_lines

_LINE = re.compile(r"^(?P<key>\w+):(?P<value>(?: .*?)?)(?:\s+# (?P<comment>.*))?$")


@dataclass(frozen=True)
class Key:
    """One key of a choice: its default as YAML text, and its meaning with its range."""

    name: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Choice:
    """One choice of a group."""

    group: str
    name: str
    notes: tuple[str, ...]
    keys: tuple[Key, ...]
    file: Path | None  # None for a component of a plugin

    @property
    def meaning(self) -> str:
        return self.notes[0] if self.notes else ""


def choice_names(group: str, folders: Sequence[Path]) -> list[str]:
    """Return the names of a group's choices without reading any file."""
    return sorted({*choice_files(group, folders), *plugins.registered(group)})


def choices(group: str, folders: Sequence[Path]) -> dict[str, Choice]:
    """Return the choices of a group by name."""
    from_files = {
        name: read(group, name, path.read_text(encoding="utf-8", errors="replace"), path)
        for name, path in choice_files(group, folders).items()
    }
    from_plugins = {
        name: read(group, name, component_yaml(group, name, component), None)
        for name, component in plugins.registered(group).items()
    }
    return dict(sorted((from_files | from_plugins).items()))


def read(group: str, name: str, text: str, file: Path | None) -> Choice:
    """Return a choice from the text of its file."""
    notes: list[str] = []
    keys: list[Key] = []
    for line in text.splitlines():
        if line.startswith("#") and not keys:
            notes += [line.lstrip("# ").rstrip()] if is_meaningful(line) else []
        elif (match := _LINE.match(line)) and match["key"] not in (
            ("name", "defaults") if group else ()
        ):
            keys.append(Key(match["key"], match["value"].strip(), match["comment"] or ""))
    return Choice(group, name, tuple(notes), tuple(keys), file)


def root_keys() -> list[Key]:
    """Return the keys at the root of the configuration, without the groups."""
    return list(read("", "", "\n".join(key_lines(Root)), None).keys)


def choices_with_key(group: str, key: str, folders: Sequence[Path]) -> list[str]:
    """Return the names of the choices of a group that have this key."""
    return [
        name
        for name, choice in choices(group, folders).items()
        if key in {k.name for k in choice.keys}
    ]


def groups_with_key(key: str, folders: Sequence[Path]) -> list[str]:
    """Return the groups in which at least one choice has this key."""
    return [group for group in COMPONENT_GROUPS if choices_with_key(group, key, folders)]


def all_keys(folders: Sequence[Path]) -> list[str]:
    """Return the sorted keys of all choices."""
    return sorted(
        {
            key.name
            for group in COMPONENT_GROUPS
            for choice in choices(group, folders).values()
            for key in choice.keys
        }
    )
