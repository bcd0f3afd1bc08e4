"""The packs of a sweep: which jobs they hold, and how they are added and merged.

A pack is written to a temporary name and renamed, and never changed. A job may be in several packs,
as when it failed and was trained again, or while packs are merged: a finished one counts first,
then the latest.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplab.errors import DamagedFileError, MlplabError
from mlplab.io.files import remove_leftovers, write_bytes_atomic
from mlplab.io.links import make_folder, refuse_links
from mlplab.runs.pack_index import Pack, is_of_another_version, remedy

if TYPE_CHECKING:
    from mlplab.runs.job_record import JobRecord

FOLDER = "packs"
"""The folder of the packs in that of a sweep."""
SUFFIX, DAMAGED = ".safetensors", ".damaged"
MAX_BYTES = 256 << 20
"""Size above which jobs are divided among several packs: a pack is written and merged in memory."""
FINISHED = ("done", "diverged", "pruned")
"""Final statuses of a job; `resume` retries a job that failed or was interrupted."""


class Packs:
    """The jobs in the packs of a sweep's folder.

    Each pack is read once; `refresh` lists the folder, and reads the packs that are new.
    """

    def __init__(self, sweep: Path) -> None:
        self.folder = sweep / FOLDER
        self._packs: dict[str, Pack] = {}
        self._holders: dict[int, list[tuple[str, int]]] = {}  # packs of a job, and its row in each
        self._chosen: dict[int, tuple[str, int]] = {}

    def refresh(self) -> None:
        """Read new packs. Raises DamagedFileError or LinkError for one that cannot be read."""
        self._refresh(None)

    def refresh_sound(self) -> list[Path]:
        """Read new packs, and return those that cannot be read, whose jobs are left out."""
        damaged: set[str] = set()
        try:
            refuse_links([self.folder])
            self._refresh(damaged)
        except (MlplabError, OSError):
            return [self.folder]
        return [self.folder / name for name in sorted(damaged)]

    def quarantine_damaged(self) -> dict[Path, DamagedFileError]:
        """Read new packs and rename damaged ones, which are then no packs; return their new paths
        and what is wrong with them.

        Raises DamagedFileError for a pack of another version or that cannot be opened, and
        LinkError.
        """
        moved: dict[Path, DamagedFileError] = {}
        refuse_links([self.folder])
        while True:
            try:
                self.refresh()
                return moved
            except DamagedFileError as error:
                path = error.path
                if isinstance(error.__cause__, OSError) or is_of_another_version(path):
                    raise
                with contextlib.suppress(FileNotFoundError):  # another process was faster
                    os.rename(path, path.with_suffix(DAMAGED))
                    moved[path.with_suffix(DAMAGED)] = error

    def _refresh(self, damaged: set[str] | None) -> None:
        for _ in range(100):  # another process may merge packs, and delete them, meanwhile
            names = pack_names(self.folder)
            with contextlib.suppress(_Deleted):
                self._update(names, damaged)
                return
        raise OSError(f"The packs in {self.folder} change all the time.")

    def _update(self, names: Collection[str], damaged: set[str] | None) -> None:
        for name in names:
            if name not in self._packs and name not in (damaged or ()):
                try:
                    self._add(name)
                except (MlplabError, MemoryError):
                    if damaged is None:
                        raise
                    damaged.add(name)
        for name in self._packs.keys() - set(names):
            self._discard(name)

    def _add(self, name: str) -> None:
        path = self.folder / name
        try:
            pack = Pack(path)
        except DamagedFileError:
            if not os.path.lexists(path):
                raise _Deleted from None
            raise
        self._packs[name] = pack
        for row, number in enumerate(pack.numbers):
            self._holders.setdefault(number, []).append((name, row))
            self._choose(number)

    def _discard(self, name: str) -> None:
        for number in self._packs.pop(name).numbers:
            left = [holder for holder in self._holders[number] if holder[0] != name]
            if left:
                self._holders[number] = left
                self._choose(number)
            else:
                del self._holders[number], self._chosen[number]

    def _choose(self, number: int) -> None:
        self._chosen[number] = max(self._holders[number], key=self._rank)

    def _rank(self, holder: tuple[str, int]) -> tuple[bool, float, str]:
        name, row = holder
        pack = self._packs[name]
        is_finished = pack.statuses[row] in FINISHED
        # of two finished ones the first counts: what was shown of a job never changes
        return is_finished, -pack.ended[row] if is_finished else pack.ended[row], name

    @property
    def remedy(self) -> str:
        """What to do about a damaged pack."""
        return remedy(self.folder)

    @property
    def count(self) -> int:
        """The number of packs."""
        return len(self._packs)

    @property
    def numbers(self) -> list[int]:
        """The numbers of the jobs, in order."""
        return sorted(self._chosen)

    @property
    def history_names(self) -> tuple[str, ...]:
        """The names of what the histories of all jobs measure."""
        names = (name for pack in self._packs.values() for name in pack.history_names)
        return tuple(dict.fromkeys(names))

    def status(self, number: int) -> str | None:
        """The status of a job; None if no pack has it."""
        if number not in self._chosen:
            return None
        name, row = self._chosen[number]
        return self._packs[name].statuses[row]

    def ended(self, number: int) -> float:
        """When a job ended, in seconds since 1970."""
        name, row = self._chosen[number]
        return self._packs[name].ended[row]

    def summary(self, number: int) -> dict[str, Any]:
        """The content of summary.json of a job; empty if no pack has the job."""
        if number not in self._chosen:
            return {}
        name, row = self._chosen[number]
        return self._packs[name].summary(row)

    def path(self, number: int) -> Path:
        """The pack that has a job."""
        return self.folder / self._chosen[number][0]

    def locate(self, number: int) -> tuple[Pack, int]:
        """The pack that has a job, and its row in it. Raises KeyError if no pack has it."""
        name, row = self._chosen[number]
        return self._packs[name], row

    def records(self, numbers: Iterable[int]) -> Iterator[JobRecord]:
        """Yield what is stored of jobs, those of one pack together. Raises KeyError for a job that
        no pack has.
        """
        from mlplab.runs.pack_reader import read_records  # which needs torch

        for pack, rows in self.by_pack(numbers):
            yield from read_records(pack, rows)

    def by_pack(self, numbers: Iterable[int]) -> list[tuple[Pack, list[int]]]:
        """The packs that have these jobs, each with their rows in it. Raises KeyError for a job
        that no pack has.
        """
        rows: dict[str, list[int]] = {}
        for number in numbers:
            name, row = self._chosen[number]
            rows.setdefault(name, []).append(row)
        return [(self._packs[name], of_pack) for name, of_pack in rows.items()]

    def write(self, records: Sequence[JobRecord], prefix: str) -> None:
        """Write jobs into new packs whose names start with the prefix, and flush them to disk."""
        from mlplab.runs.pack_file import pack_bytes  # which needs torch

        make_folder(self.folder)
        for chunk in _chunks(records):
            name = f"{prefix}-{os.urandom(6).hex()}{SUFFIX}"
            write_bytes_atomic(self.folder / name, pack_bytes(chunk), durable=True)
        self.refresh()

    def merge(self, prefix: str = "", max_jobs: int = 1 << 30) -> None:
        """Merge packs whose names start with the prefix, each with at most `max_jobs` jobs.

        The merged pack is complete before the others are deleted: a job is never in none.
        """
        self.refresh()
        names = [
            name
            for name in sorted(self._packs)
            if name.startswith(prefix) and len(self._packs[name].numbers) <= max_jobs
        ]
        for together in self._mergeable(names, max_jobs):
            numbers = {number for name in together for number in self._packs[name].numbers}
            records = list(
                self.records(n for n in sorted(numbers) if self._chosen[n][0] in together)
            )
            self.write(sorted(records, key=lambda record: record.number), prefix or "merged")
            for name in together:
                (self.folder / name).unlink(missing_ok=True)
        self.refresh()

    def remove_superseded(self) -> None:
        """Delete packs whose jobs all count in other packs, which two processes that merged the
        same packs leave. Processes agree on which of two packs counts.
        """
        self.refresh()
        counting = {name for name, _ in self._chosen.values()}
        for name in self._packs.keys() - counting:
            (self.folder / name).unlink(missing_ok=True)
        self.refresh()

    def _mergeable(self, names: Sequence[str], max_jobs: int) -> list[list[str]]:
        """Packs, in order, in groups that become one: several packs of limited size together."""
        groups: list[list[str]] = [[]]
        num_bytes = num_jobs = 0
        for name in names:
            size = (self.folder / name).stat().st_size
            jobs = len(self._packs[name].numbers)
            if groups[-1] and (num_bytes + size > MAX_BYTES or num_jobs + jobs > max_jobs):
                groups.append([])
                num_bytes = num_jobs = 0
            groups[-1].append(name)
            num_bytes, num_jobs = num_bytes + size, num_jobs + jobs
        return [group for group in groups if len(group) > 1]

    def has_several(self, prefix: str) -> bool:
        """Whether several packs have names that start with the prefix, so that they can merge."""
        return sum(name.startswith(prefix) for name in self._packs) > 1

    def remove_leftovers(self) -> None:
        """Delete the temporary files of processes that were killed."""
        remove_leftovers(self.folder)


class _Deleted(Exception):
    """A pack was deleted after it was listed, since it was merged into another one."""


def is_packed(sweep: Path) -> bool:
    """Whether the folder of a sweep has packs, or a folder of packs that cannot be listed."""
    try:
        return (sweep / FOLDER).is_symlink() or bool(pack_names(sweep / FOLDER))
    except OSError:
        return True


def pack_names(folder: Path) -> list[str]:
    """The names of the packs in a folder; what is no file is none. Links are among them, and
    refused by those who read them.
    """
    try:
        with os.scandir(folder) as scan:
            return sorted(
                entry.name
                for entry in scan
                if entry.name.endswith(SUFFIX)
                and not entry.name.startswith(".")
                and (entry.is_symlink() or entry.is_file(follow_symlinks=False))
            )
    except (FileNotFoundError, NotADirectoryError):
        return []


def _chunks(records: Sequence[JobRecord]) -> Iterator[list[JobRecord]]:
    chunk: list[JobRecord] = []
    total = 0
    for record in records:
        if chunk and total + record.num_bytes > MAX_BYTES:
            yield chunk
            chunk, total = [], 0
        chunk.append(record)
        total += record.num_bytes
    if chunk:
        yield chunk
