"""The runs and sweeps below a folder: found by their files, read only as far as a question needs.

Configurations are YAML, of which ten thousand take a minute to read; what was read once is kept in
an index beside them.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlplab.io.files import parse_yaml, write_json

NAME = ".mlplab-index.json"
_LARGEST = 1 << 20


@dataclass(frozen=True)
class Entry:
    """One run or sweep folder."""

    folder: Path
    kind: str  # run, sweep, or job of a sweep
    changed: float  # seconds since 1970

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Of a run its summary.json. A run that has none is running, or was killed. A sweep counts
        its jobs.
        """
        if self.kind != "sweep":
            return summary_of(self.folder) or {
                "status": "unfinished",
                "name": self.folder.parent.name,
            }
        jobs = self.folder / "jobs"
        count = sum(1 for entry in os.scandir(jobs) if entry.is_dir()) if jobs.is_dir() else 0
        return {
            "status": "done" if (self.folder / "results.csv").is_file() else "unfinished",
            "name": self.folder.parent.name,
            "jobs": count,
        }

    @property
    def damaged(self) -> bool:
        """Whether there is a summary that cannot be read."""
        return (
            self.kind != "sweep"
            and (self.folder / "summary.json").exists()
            and not summary_of(self.folder)
        )


def summary_of(folder: Path) -> dict[str, Any]:
    """summary.json; empty where there is none that can be read."""
    try:
        found = json.loads((folder / "summary.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("status"), str) else {}


def entries(root: Path, jobs: bool = False) -> list[Entry]:
    """Runs and sweeps below a folder, newest first; with `jobs` the jobs of sweeps too. Links are
    not followed.
    """
    return sorted(_found(root, jobs), key=lambda entry: (-entry.changed, str(entry.folder)))


def _found(root: Path, jobs: bool, kind: str = "run") -> Iterator[Entry]:
    inside: list[Path] = []
    names: dict[str, os.DirEntry[str]] = {}
    with contextlib.suppress(OSError), os.scandir(root) as scan:
        for found in scan:
            names[found.name] = found
    for name in ("plan.yaml", "config.yaml"):
        if name in names:
            last = names.get("summary.json", names.get("results.csv", names[name]))
            sweep = name == "plan.yaml"
            with contextlib.suppress(OSError):
                yield Entry(
                    root, "sweep" if sweep else kind, last.stat(follow_symlinks=False).st_mtime
                )
            if sweep and jobs:
                yield from _found(root / "jobs", jobs, "job")
            return
    inside = [
        root / name
        for name, found in names.items()
        if not name.startswith(".") and found.is_dir(follow_symlinks=False)
    ]
    for folder in inside:
        yield from _found(folder, jobs, kind)


def flat_config(folder: Path) -> dict[str, Any]:
    """The configuration of a run: "optimizer.lr" -> 0.01; the choice of a group under its own name,
    "optimizer" -> "adam".
    """
    path = folder / "config.yaml"
    try:
        if path.stat().st_size > _LARGEST:
            return {}
        return dict(_flat(parse_yaml(path.read_text(encoding="utf-8")), ""))
    except Exception:  # whatever a damaged file raises
        return {}


def typed_overrides(folder: Path) -> tuple[str, ...]:
    """The words that a run was started with, those of its folder left out; none where the file is
    missing or damaged.
    """
    path = folder / "overrides.yaml"
    try:
        words = (
            parse_yaml(path.read_text(encoding="utf-8"))
            if path.stat().st_size <= _LARGEST
            else None
        )
    except Exception:  # whatever a damaged file raises
        return ()
    return (
        tuple(str(word) for word in words if not str(word).startswith("hydra."))
        if isinstance(words, list)
        else ()
    )


def _flat(tree: Any, before: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, Mapping):
        return
    for key, value in tree.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            if "name" in value and not before:
                yield name, value["name"]
            yield from _flat(value, f"{name}.")
        elif not (key == "name" and before and before.count(".") == 1):
            yield name, value


class ConfigIndex:
    """The configurations of many runs, those that did not change read from one file."""

    def __init__(self, root: Path) -> None:
        self.path, self._changed = root / NAME, False
        try:
            self._known = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            self._known = {}
        if not isinstance(self._known, dict):
            self._known = {}

    def __getitem__(self, folder: Path) -> dict[str, Any]:
        try:
            stamp = (folder / "config.yaml").stat().st_mtime_ns
        except OSError:
            return {}
        key = str(folder)
        known = self._known.get(key)
        if not (
            isinstance(known, list)
            and len(known) == 2
            and known[0] == stamp
            and isinstance(known[1], dict)
        ):
            self._known[key] = known = [stamp, flat_config(folder)]
            self._changed = True
        found: dict[str, Any] = known[1]
        return found

    def keep(self) -> None:
        """Write down what was read; a folder that cannot be written to is no reason to fail."""
        if self._changed:
            with contextlib.suppress(OSError):
                write_json(self.path, self._known)
