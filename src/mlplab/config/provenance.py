"""Where a value of the composed configuration comes from: an override, the experiment's file, or
the file of a choice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlplab.config.search_path import choice_files, file_label


@dataclass(frozen=True)
class Sources:
    """What a configuration was composed of. Empty for a configuration that was not composed here,
    such as a stored one.
    """

    overrides: tuple[str, ...] = ()
    choices: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()

    def of(self, path: str) -> str:
        """ "override `optimizer.lr=-1`", or "configs/optimizer/adam.yaml, line 3"; empty where
        nothing is known.
        """
        keys = _keys(path)
        for word in reversed(self.overrides):
            name = word.lstrip("+").partition("=")[0]
            typed = _keys(name)
            if name not in self.choices and typed == keys[: len(typed)]:
                return f"override `{word}`"
        for group, inside in (("experiment", keys), (keys[0], keys[1:])):
            if found := self._in_file(group, inside):
                return found
        return ""

    def file(self, group: str) -> Path | None:
        """The file of the group's choice."""
        word = self.choices.get(group)
        return choice_files(group, self.folders).get(word) if word else None

    def _in_file(self, group: str, keys: Sequence[str]) -> str:
        path = self.file(group)
        if path is None:
            return ""
        line = _line(path, keys)
        if line is None:
            return ""
        return f"{file_label(path)}, line {line}" if line else file_label(path)


def _keys(path: str) -> list[str]:
    return re.sub(r"\[(\w+)\]", r".\1", path).split(".")


def _line(path: Path, keys: Sequence[str]) -> int | None:
    """The line of a key in a YAML file; None where the file does not set it."""
    import yaml

    node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    line = None
    for key in keys:
        if isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            node = node.value[int(key)]
            line = node.start_mark.line + 1
            continue
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = [(name, value) for name, value in pairs if name.value == key]
        if not found:
            return line if isinstance(node, (yaml.ScalarNode, yaml.SequenceNode)) else None
        name, node = found[-1]
        line = name.start_mark.line + 1
    return line
