"""The runs and sweeps below a folder, detected by their files and read only as far as needed.

Configurations are YAML, and reading ten thousand of them takes a minute; an index file in the same
folder caches them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlplab.config.override_lines import key_of
from mlplab.io.files import parse_json, parse_yaml, remove_leftovers, write_json
from mlplab.runs.packs import FOLDER, pack_names, packed_summaries

FILE_NAME = ".mlplab-index.json"
_MAX_BYTES = 1 << 20
SUMMARY_NUMBERS = ("epochs", "steps", "best_epoch", "seconds", "num_parameters", "seed")
"""Keys of summary.json whose values are numbers, or null."""


@dataclass(frozen=True)
class Entry:
    """One run or sweep folder."""

    folder: Path
    kind: str  # run, sweep, or job of a sweep
    changed: float  # seconds since 1970

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json.

        A run or sweep without one, and a sweep whose status is still that of its start, are
        `unfinished`: they are running, or were killed.
        """
        summary = summary_of(self.folder) or {"name": self.folder.parent.name}
        if summary.get("status", "running") == "running":
            summary["status"] = "unfinished"
        return summary

    @cached_property
    def num_jobs(self) -> int:
        """The number of jobs of a sweep that are stored."""
        if pack_names(self.folder / FOLDER):
            return sum(1 for _ in packed_summaries(self.folder))
        with contextlib.suppress(OSError), os.scandir(self.folder / "jobs") as scan:
            return sum(entry.is_dir(follow_symlinks=False) for entry in scan)
        return 0

    @property
    def damaged(self) -> bool:
        """Whether there is a summary and it cannot be read."""
        return (self.folder / "summary.json").exists() and not summary_of(self.folder)


class PackedJob(Entry):
    """A job of a sweep that is stored in a pack; `folder` is made when it is opened."""

    def __init__(self, folder: Path, ended: float, summary: dict[str, Any]) -> None:
        super().__init__(folder, "job", ended)
        self.__dict__["summary"] = summary  # the value of the cached property

    @property
    def damaged(self) -> bool:
        return False


def summary_of(folder: Path) -> dict[str, Any]:
    """Return the content of summary.json, or an empty dict if it cannot be read."""
    summary = json_or_empty(folder / "summary.json")
    return summary if _is_sound(summary) else {}


def _is_sound(summary: Mapping[str, Any]) -> bool:
    """Whether a summary has a status, and numbers where numbers belong, if there is anything."""
    metrics = summary.get("metrics") or {}
    if not isinstance(summary.get("status"), str) or not isinstance(metrics, dict):
        return False
    numbers = [*metrics.values(), *(summary.get(key) for key in SUMMARY_NUMBERS)]
    return all(
        value is None or isinstance(value, float) or (type(value) is int and abs(value) < 1e300)
        for value in numbers
    )


def json_or_empty(path: Path) -> dict[str, Any]:
    """Return the mapping that a JSON file holds, or an empty dict if it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        value = parse_json(path.read_bytes())
        return value if isinstance(value, dict) else {}
    return {}


def entries(root: Path, jobs: bool = False) -> list[Entry]:
    """Return the runs and sweeps below a folder, newest first; with `jobs` also the jobs of sweeps.

    Symbolic links are not followed.
    """
    return sorted(_scan(root, jobs), key=lambda entry: (-entry.changed, str(entry.folder)))


def _scan(root: Path, jobs: bool, kind: str = "run") -> Iterator[Entry]:
    names: dict[str, os.DirEntry[str]] = {}
    with contextlib.suppress(OSError), os.scandir(root) as scan:
        names |= {entry.name: entry for entry in scan}
    for name in ("plan.yaml", "search.yaml", "config.yaml"):
        if name in names:
            last = names.get("summary.json", names[name])
            sweep = name != "config.yaml"
            with contextlib.suppress(OSError):
                yield Entry(
                    root, "sweep" if sweep else kind, last.stat(follow_symlinks=False).st_mtime
                )
            if sweep and jobs:
                packed = {
                    number: PackedJob(root / "jobs" / str(number), ended, summary)
                    for number, ended, summary in packed_summaries(root)
                }
                yield from packed.values()
                if not packed:  # otherwise these are folders of packed jobs that were opened
                    yield from _scan(root / "jobs", jobs, "job")
            return
    for name, entry in names.items():
        if not name.startswith(".") and entry.is_dir(follow_symlinks=False):
            yield from _scan(root / name, jobs, kind)


def flat_config(folder: Path) -> dict[str, object]:
    """Return the configuration of a run with dotted keys: "optimizer.lr" -> 0.01, and the choice of
    each group: "optimizer" -> "adam".

    Empty if the file is missing, damaged or above 1 MiB.
    """
    return dict(_flatten(_read_yaml(folder / "config.yaml"), ""))


def user_overrides(folder: Path) -> tuple[str, ...]:
    """Return the overrides of a run, without `hydra.` ones such as its folder.

    Empty if the file is missing, damaged or above 1 MiB.
    """
    return tuple(line for line in _overrides(folder) if not line.startswith("hydra."))


def all_overrides(folder: Path, changes: Sequence[str]) -> list[str]:
    """Return the overrides of a run that is resumed with `changes`, which replace earlier overrides
    of the same keys.
    """
    changed = set(map(key_of, changes))
    return [*(line for line in _overrides(folder) if key_of(line) not in changed), *changes]


def _overrides(folder: Path) -> list[str]:
    lines = _read_yaml(folder / "overrides.yaml")
    return [str(line) for line in lines] if isinstance(lines, list) else []


def _read_yaml(path: Path) -> object:
    """The content of a file; None if it is missing, damaged or above 1 MiB."""
    try:
        text = path.read_text(encoding="utf-8") if path.stat().st_size <= _MAX_BYTES else ""
        return parse_yaml(text)
    except Exception:  # whatever a damaged file raises
        return None


def _flatten(tree: object, prefix: str) -> Iterator[tuple[str, object]]:
    if not isinstance(tree, Mapping):
        return
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            if "name" in value and not prefix:
                yield name, value["name"]
            yield from _flatten(value, f"{name}.")
        elif not (key == "name" and prefix and prefix.count(".") == 1):
            yield name, value


class ConfigIndex:
    """The configurations of many runs; unchanged ones are read from one cache file."""

    def __init__(self, root: Path) -> None:
        self.path, self._changed = root / FILE_NAME, False
        self._cache = json_or_empty(self.path)

    def __getitem__(self, folder: Path) -> dict[str, object]:
        """Return the configuration of a run as `flat_config` does."""
        try:
            stamp = (folder / "config.yaml").stat().st_mtime_ns
        except OSError:
            return {}
        match self._cache.get(str(folder)):
            case [cached_stamp, dict() as config] if cached_stamp == stamp:
                return config
        config = flat_config(folder)
        self._cache[str(folder)] = [stamp, config]
        self._changed = True
        return config

    def save(self) -> None:
        """Write the cache file; a folder that cannot be written to is ignored."""
        if self._changed:
            with contextlib.suppress(OSError):
                remove_leftovers(self.path.parent)
                write_json(self.path, self._cache)
