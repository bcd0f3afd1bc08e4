"""What there is to choose, read from the comments of the YAML files: no part is imported, so it
costs milliseconds.

A generated file is one line of meaning, `name: word`, and one line a key, `lr: 0.001  # step size;
> 0`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlplab.config import plugins
from mlplab.config.root import COMPONENT_GROUPS, Root
from mlplab.config.search_path import choice_files

_LINE = re.compile(r"^(?P<key>\w+):(?P<value>(?: .*?)?)(?:\s+# (?P<comment>.*))?$")


@dataclass(frozen=True)
class Key:
    """One key of a choice: its default as it is written, and its meaning with its range."""

    name: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Choice:
    """One word of a group."""

    group: str
    word: str
    notes: tuple[str, ...]
    keys: tuple[Key, ...]
    file: Path | None  # None for a part of a plugin

    @property
    def meaning(self) -> str:
        return self.notes[0] if self.notes else ""


def words(group: str, where: Sequence[Path]) -> list[str]:
    """The words of a group, without reading any file."""
    return sorted({*choice_files(group, where), *plugins.registered(group)})


def choices(group: str, where: Sequence[Path]) -> dict[str, Choice]:
    """Word -> what is known of it."""
    found = {
        word: read(group, word, path.read_text(encoding="utf-8", errors="replace"), path)
        for word, path in choice_files(group, where).items()
    }
    for word, part in plugins.registered(group).items():
        from mlplab.config.yaml_render import component_yaml

        found[word] = read(group, word, component_yaml(word, part), None)
    return dict(sorted(found.items()))


def read(group: str, word: str, text: str, file: Path | None) -> Choice:
    """A choice from the text of its file."""
    notes: list[str] = []
    keys: list[Key] = []
    for line in text.splitlines():
        if line.startswith("#") and not keys:
            note = line.lstrip("# ").rstrip()
            notes += [note] if note and not note.startswith("@package") else []
        elif (match := _LINE.match(line)) and match["key"] not in (
            ("name", "defaults") if group else ()
        ):
            keys.append(Key(match["key"], match["value"].strip(), match["comment"] or ""))
    return Choice(group, word, tuple(notes), tuple(keys), file)


def root_keys() -> list[Key]:
    """The keys beside the groups."""
    from mlplab.config.yaml_render import key_lines

    return list(read("", "", "\n".join(key_lines(Root)), None).keys)


def owners(group: str, key: str, where: Sequence[Path]) -> list[str]:
    """The words of a group whose choice has this key."""
    return [
        word
        for word, choice in choices(group, where).items()
        if key in {k.name for k in choice.keys}
    ]


def groups_with(key: str, where: Sequence[Path]) -> list[str]:
    """The groups in which some choice has this key."""
    return [group for group in COMPONENT_GROUPS if owners(group, key, where)]


def all_keys(where: Sequence[Path]) -> list[str]:
    """Every key of every choice."""
    return sorted(
        {
            key.name
            for group in COMPONENT_GROUPS
            for choice in choices(group, where).values()
            for key in choice.keys
        }
    )
