"""Flat configurations in an index: of many with equal keys, only the differences are stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

from mlplab.runs.line_file import LineFile

Stamp = tuple[int, ...]
"""Time of modification in nanoseconds, size and inode of one or several files."""
_EMPTY: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class StoredConfig:
    """A flat configuration: `base` with some values changed, and the keys that its overrides
    set.
    """

    base: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    overridden: tuple[str, ...] = ()

    def get(self, key: str, default: object = None) -> Any:
        """Return the value of a key."""
        return self.changes[key] if key in self.changes else self.base.get(key, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self.base)


class ConfigFile:
    """The configurations of runs by path and by the stamp of config.yaml and overrides.yaml.

    Each line is ["base", name, configuration] or ["run", path, stamp, name of its base, changes,
    overridden keys]. The name of a base is the digest of its content, so that two writers agree.
    """

    def __init__(self, file: LineFile) -> None:
        self.file = file
        self._bases: dict[str, Mapping[str, Any]] = {}
        self._base_of_keys: dict[tuple[str, ...], str] = {}
        self._runs: dict[str, list[Any]] = {}
        self.new: list[list[Any]] = []
        for line in file.read():
            match line:
                case ["base", str(name), dict(config)]:
                    self._add_base(name, config)
                case ["run", str(path), list(), str(), dict(), list()]:
                    self._runs[path] = line

    def _add_base(self, name: str, config: Mapping[str, Any]) -> None:
        self._bases[name] = config
        self._base_of_keys.setdefault(tuple(config), name)

    def find(self, path: str, stamp: Stamp) -> StoredConfig | None:
        """Return the configuration of a run, unless its file has changed since it was stored."""
        match self._runs.get(path):
            case [_, _, stored, name, changes, overridden] if stored == [*stamp]:
                base = self._bases.get(name)
                if base is not None and changes.keys() <= base.keys():
                    return StoredConfig(base, changes, tuple(map(str, overridden)))
        return None

    def add(self, path: str, stamp: Stamp, config: StoredConfig) -> None:
        """Store the configuration of a run; without JSON for one of its values, it is left out."""
        values = {**config.base, **config.changes}
        name = self._base_of_keys.get(tuple(values))
        try:
            if name is None:
                texts = {key: _exact_json(value) for key, value in values.items()}
                name = hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]
                self._add_base(name, values)
                self.new.append(["base", name, values])
            base = self._bases[name]
            changes = {
                key: value for key, value in values.items() if not _is_same(value, base[key])
            }
        except (TypeError, ValueError, RecursionError):
            return
        line = ["run", path, [*stamp], name, changes, list(config.overridden)]
        self._runs[path] = line
        self.new.append(line)

    @property
    def paths(self) -> Collection[str]:
        """The paths of all runs, also of those that no longer exist."""
        return self._runs.keys()

    def lines(self, paths: Container[str]) -> list[list[Any]]:
        """Return the lines that store the runs at these paths."""
        runs = [line for path, line in self._runs.items() if path in paths]
        used = dict.fromkeys(line[3] for line in runs)
        return [*(["base", name, dict(self._bases.get(name, _EMPTY))] for name in used), *runs]


def _is_same(value: object, stored: object) -> bool:
    """Whether a value is the same as JSON as one that is stored. Raises as `_exact_json` does."""
    if type(value) is type(stored) and value == stored:
        if isinstance(value, (str, int, NoneType)):
            return True
        if isinstance(value, float):
            return repr(value) == repr(stored)  # 0.0 and -0.0 differ
    return _exact_json(value) == json.dumps(stored)


def _exact_json(value: object) -> str:
    """The value as JSON that is read back as the same value. Raises TypeError or ValueError."""
    text = json.dumps(value)
    if isinstance(value, list) and json.loads(text) != value:
        raise ValueError("a list with keys or values that JSON lacks")
    return text
