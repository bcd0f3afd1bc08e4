"""The origin of a configuration value: an override, the file of the experiment, or the file of a
choice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlplab.config.override_lines import key_of
from mlplab.config.search_path import choice_files, file_label


@dataclass(frozen=True)
class Sources:
    """The overrides, choices and folders that a configuration was composed of.

    Empty for a configuration that was not composed, such as a stored one.
    """

    overrides: tuple[str, ...] = ()
    choices: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()

    def origin(self, path: str) -> str:
        """Return where the value at the path was set; empty if unknown.

        Examples: "override `optimizer.lr=-1`", "configs/optimizer/adam.yaml, line 3".
        """
        keys = _keys(path)
        for override in reversed(self.overrides):
            name = key_of(override)
            override_keys = _keys(name)
            if name not in self.choices and override_keys == keys[: len(override_keys)]:
                return f"override `{override}`"
        return self._in_file("experiment", keys) or self._in_file(keys[0], keys[1:])

    def remark(self, path: str) -> str:
        """Return the origin in parentheses, after a space; empty if unknown."""
        origin = self.origin(path)
        return f" ({origin})" if origin else ""

    def file(self, group: str) -> Path | None:
        """Return the file of the group's choice; None if there is none."""
        name = self.choices.get(group)
        return choice_files(group, self.folders).get(name) if name else None

    def _in_file(self, group: str, keys: Sequence[str]) -> str:
        path = self.file(group)
        line = _line(path, keys) if path else None
        return f"{file_label(path)}, line {line}" if path and line else ""


def _keys(path: str) -> list[str]:
    return re.sub(r"\[(\w+)\]", r".\1", path).split(".")


def _line(path: Path, keys: Sequence[str]) -> int | None:
    """Return the line of a key in a YAML file; None if the file does not set it."""
    import yaml

    node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    line = None
    for key in keys:
        if isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            start = node = node.value[int(key)]
        else:
            pairs = node.value if isinstance(node, yaml.MappingNode) else []
            matches = [(name, value) for name, value in pairs if name.value == key]
            if not matches:
                return line if isinstance(node, (yaml.ScalarNode, yaml.SequenceNode)) else None
            start, node = matches[-1]
        line = start.start_mark.line + 1
    return line
