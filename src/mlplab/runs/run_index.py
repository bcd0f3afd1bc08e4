"""The runs and sweeps below a folder, detected by their files and read only as far as needed.

The folders are the truth. An index in `.index` of the folder that is listed spares reading those
that have not changed since: it may be deleted at any time, is written by whoever lists, and is
left out where it cannot be written.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from mlplab.config.run_dir import DEBUG
from mlplab.io.files import parse_json
from mlplab.runs.flat_config import MAX_BYTES, flat_config, keys_of, user_overrides
from mlplab.runs.line_file import LineFile
from mlplab.runs.packs import Packs, is_packed
from mlplab.runs.plan_text import PlannedConfigs
from mlplab.runs.stored_config import ConfigFile, Stamp, StoredConfig

INDEX = ".index"
"""Folder of the index, in the folder that is listed."""
RUNS_FILE, CONFIGS_FILE = "runs-1.jsonl", "configs-1.jsonl"
"""Files of an index; the number is the version of their format."""
MIN_NEW_LINES = 50
"""Fewer runs are not worth a write."""
MAX_STALE_LINES = 256
"""A file is rewritten if it has this many lines more than twice those that are needed."""
SETTLED = 2.0
"""Seconds after which a change of a file certainly changes its time of modification."""
SUMMARY_NUMBERS = (
    "epochs",
    "steps",
    "best_epoch",
    "seconds",
    "cpu_seconds",
    "num_parameters",
    "population",
    "seed",
)
"""Keys of summary.json whose values are numbers, or null."""


@dataclass(frozen=True)
class Entry:
    """One run or sweep folder.

    `content` is that of summary.json, empty if it cannot be read and None if there is none;
    `read_config` reads the configuration, where no folder holds it.
    """

    path: str  # of the folder
    kind: str  # run, sweep, or job of a sweep
    changed: float  # seconds since 1970
    sweep: str | None = None  # path of the sweep of a job
    content: Mapping[str, Any] | None = None
    read_config: Callable[[], StoredConfig] | None = None

    @cached_property
    def folder(self) -> Path:
        return Path(self.path)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json.

        A run or sweep without one, and a sweep whose status is still that of its start, are
        `unfinished`: they are running, or were killed.
        """
        summary = dict(self.content or {"name": self.folder.parent.name})
        if summary.get("status", "running") == "running":
            summary["status"] = "unfinished"
        return summary

    @cached_property
    def num_jobs(self) -> int:
        """The number of jobs of a sweep that have ended, or have begun and have a folder."""
        return count_jobs(self.path)

    @property
    def damaged(self) -> bool:
        """Whether there is a summary and it cannot be read."""
        return self.content is not None and not self.content


def job_summaries(sweep: str, read: Callable[[str], Entry | None]) -> Iterator[Entry]:
    """Yield the jobs of a sweep; `read` returns the run in a folder below it, if there is one.

    A pack that cannot be read is a damaged job. This and `count_jobs` are all that knows how a
    sweep stores its jobs.
    """
    if not is_packed(Path(sweep)):
        for name in _folders(_listed(f"{sweep}{os.sep}jobs")):
            if (entry := read(f"jobs{os.sep}{name}")) is not None:
                yield entry
        return
    # folders below `jobs` are packed jobs that were opened
    packs, configs = Packs(Path(sweep)), PlannedConfigs(sweep)
    for path in packs.refresh_sound():
        yield Entry(str(path), "job", _time(path), sweep, content={})
    for number in packs.numbers:
        summary = packs.summary(number)
        yield Entry(
            f"{sweep}{os.sep}jobs{os.sep}{number}",
            "job",
            packs.ended(number),
            sweep,
            summary if is_sound(summary) else {},
            partial(configs.find, number),
        )


def count_jobs(sweep: str) -> int:
    """Return the number of jobs that `job_summaries` would look at."""
    if is_packed(Path(sweep)):
        packs = Packs(Path(sweep))
        packs.refresh_sound()
        return len(packs.numbers)
    return len(_folders(_listed(f"{sweep}{os.sep}jobs")))


def _time(path: Path) -> float:
    """When a file changed, in seconds since 1970; 0 if it was removed."""
    with contextlib.suppress(OSError):
        return os.lstat(path).st_mtime
    return 0.0


def _listed(folder: str) -> dict[str, os.DirEntry[str]]:
    """The entries of a folder by name; none if it cannot be read."""
    with contextlib.suppress(OSError), os.scandir(folder) as scan:
        return {entry.name: entry for entry in scan}
    return {}


def _folders(names: Mapping[str, os.DirEntry[str]]) -> list[str]:
    """The names of folders; links and hidden ones are left out."""
    return [
        name
        for name, entry in names.items()
        if not name.startswith(".") and entry.is_dir(follow_symlinks=False)
    ]


def entries(root: Path, jobs: bool = False) -> list[Entry]:
    """Return the runs and sweeps below a folder as `RunIndex.entries` does."""
    index = RunIndex(root)
    listed = index.entries(jobs)
    index.save()
    return listed


class RunIndex:
    """The runs and sweeps below a folder, and their configurations.

    A line of the index is [path, kind, time of the folder, stamp of summary.json, its content]; it
    counts if neither the entries of the folder nor the summary have changed since. Values of the
    index are displayed and compared, like those of the folders, and nothing else is done with them.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        # of the paths of entries, which are those of pathlib
        self._prefix = "" if str(root) == "." else str(root).rstrip(os.sep) + os.sep
        self._file = LineFile(root / INDEX / RUNS_FILE)
        self._lines: dict[str, list[Any]] = {}
        for line in self._file.read():
            match line:
                case [str(path), "run" | "sweep", int(), [int(), int(), int()], dict(content)]:
                    if is_sound(content):
                        self._lines[path] = line
        self._new: list[list[Any]] = []
        self._paths: dict[str, str] = {}  # of all entries -> kind
        self._has_jobs = False

    @cached_property
    def _configs(self) -> ConfigFile:
        return ConfigFile(LineFile(self.root / INDEX / CONFIGS_FILE))

    def entries(self, jobs: bool = False) -> list[Entry]:
        """Return the runs and sweeps, newest first; with `jobs` also the jobs of sweeps.

        Symbolic links are not followed.
        """
        self._has_jobs = jobs
        return sorted(self._scan(jobs), key=lambda entry: (-entry.changed, entry.path))

    def _scan(self, jobs: bool) -> Iterator[Entry]:
        waiting = [""]  # paths relative to the root
        while waiting:
            path = waiting.pop()
            entry = self._known(path)
            if entry is None:
                names = _listed(self._absolute(path))
                entry = self._read(path, names)
                if entry is None and not _RUN_FILES & names.keys():
                    folders = [name for name in _folders(names) if path or name != DEBUG]
                    waiting += [os.path.join(path, name) for name in folders]
            if entry is not None:
                yield entry
                if jobs and entry.kind == "sweep":
                    yield from job_summaries(entry.path, partial(self._job, path, entry.path))

    def _job(self, sweep_path: str, sweep: str, name: str) -> Entry | None:
        path = os.path.join(sweep_path, name)
        entry = self._known(path) or self._read(path, _listed(self._absolute(path)))
        return entry and replace(entry, kind="job", sweep=sweep)

    def _absolute(self, path: str) -> str:
        return f"{self._prefix}{path}" if path else str(self.root)

    def _known(self, path: str) -> Entry | None:
        """The entry of a folder by the index, if it is up to date."""
        line = self._lines.get(path)
        if line is None:
            return None
        folder = self._absolute(path)
        status = _file_status(f"{folder}{os.sep}summary.json")
        try:
            is_current = (
                status is not None
                and line[3] == [*_stamp(status)]
                and os.lstat(folder).st_mtime_ns == line[2]
            )
        except OSError:
            return None
        if status is None or not is_current:
            return None
        self._paths[path] = line[1]
        return Entry(folder, line[1], status.st_mtime, content=line[4])

    def _read(self, path: str, names: Mapping[str, object]) -> Entry | None:
        """The entry of a folder by its files, if it is that of a run or a sweep."""
        name = next((name for name in _RUN_FILES if name in names), None)
        if name is None:
            return None
        folder = self._absolute(path)
        kind = "run" if name == "config.yaml" else "sweep"
        try:
            folder_time = os.lstat(folder).st_mtime_ns
            if "summary.json" not in names:
                changed = os.lstat(f"{folder}{os.sep}{name}").st_mtime
                content = None
            else:
                summary_path = f"{folder}{os.sep}summary.json"
                changed = os.lstat(summary_path).st_mtime
                status = _file_status(summary_path)
                content = summary_of(Path(folder)) if status is not None else {}
                if content and status is not None and _is_settled(folder_time, status.st_mtime_ns):
                    self._lines[path] = [path, kind, folder_time, [*_stamp(status)], content]
                    self._new.append(self._lines[path])
        except OSError:  # removed meanwhile
            return None
        self._paths[path] = kind
        return Entry(folder, kind, changed, content=content)

    def config(self, entry: Entry) -> StoredConfig:
        """Return the configuration of a run as `flat_config` does; that of a sweep is empty."""
        if entry.read_config is not None:
            return entry.read_config()
        if entry.kind == "sweep":
            return StoredConfig()
        folder, path = entry.path, entry.path[len(self._prefix) :]
        status = _file_status(f"{folder}{os.sep}config.yaml")
        if status is None:
            return StoredConfig()
        of_overrides = _file_status(f"{folder}{os.sep}overrides.yaml")
        stamp = (*_stamp(status), *(_stamp(of_overrides) if of_overrides is not None else ()))
        if (stored := self._configs.find(path, stamp)) is not None:
            return stored
        lines = user_overrides(entry.folder) if of_overrides is not None else ()
        config = StoredConfig(flat_config(entry.folder), {}, keys_of(lines))
        if _is_settled(*stamp[::3]):
            self._configs.add(path, stamp, config)
        return config

    def save(self) -> None:
        """Append what was read from folders to the index, or write it again if it is mostly
        outdated. A folder that cannot be written to is ignored.
        """
        lines = [line for path, line in self._lines.items() if self._is_needed(path)]
        _write(self._file, self._new, lines)
        self._new = []
        if "_configs" in vars(self):
            paths = {path for path in self._configs.paths if self._is_needed(path)}
            _write(self._configs.file, self._configs.new, self._configs.lines(paths))
            self._configs.new = []

    def _is_needed(self, path: str) -> bool:
        """Whether the run at a path exists, or may exist as a job, since these were not listed."""
        if path in self._paths or self._has_jobs:
            return path in self._paths
        return self._paths.get(os.path.dirname(os.path.dirname(path))) == "sweep"


_RUN_FILES = {"plan.yaml": "", "search.yaml": "", "config.yaml": ""}.keys()
"""Files that make a folder that of a sweep, or else of a run, in this order."""


def _file_status(path: str) -> os.stat_result | None:
    """The status of a regular file of moderate size; None for anything else, such as a link."""
    with contextlib.suppress(OSError, ValueError):
        status = os.lstat(path)
        if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES:
            return status
    return None


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino


def _is_settled(*times: int) -> bool:
    """Whether files with these times of modification have certainly not changed since."""
    return max(times) < (time.time() - SETTLED) * 1e9


def _write(file: LineFile, new: Sequence[object], needed: Sequence[object]) -> None:
    if file.num_lines + len(new) > 2 * len(needed) + MAX_STALE_LINES or file.too_large:
        file.replace(needed)
    elif len(new) >= MIN_NEW_LINES:
        file.append(new)


def summary_of(folder: Path) -> dict[str, Any]:
    """Return the content of summary.json, or an empty dict if it cannot be read."""
    summary = json_or_empty(folder / "summary.json")
    return summary if is_sound(summary) else {}


def is_sound(summary: Mapping[str, Any]) -> bool:
    """Whether a summary has a status, and numbers where numbers belong, if there is anything."""
    metrics = summary.get("metrics") or {}
    if not isinstance(summary.get("status"), str) or not isinstance(metrics, dict):
        return False
    numbers = [*metrics.values(), *map(summary.get, SUMMARY_NUMBERS)]
    types = set(map(type, numbers))
    if not types <= {float, int, type(None)}:
        return False
    return int not in types or all(type(v) is not int or abs(v) < 1e300 for v in numbers)


def json_or_empty(path: Path) -> dict[str, Any]:
    """Return the mapping that a JSON file holds, or an empty dict if it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        value = parse_json(path.read_bytes())
        return value if isinstance(value, dict) else {}
    return {}
