"""The jobs of a sweep on disk, and the locks of its work units: they alone record which jobs are
finished and which process works on which work unit.

Jobs are stored in folders or in packs; either appears complete. The kernel releases a lock however
its process ends, so an abandoned work unit is free at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mlplab.errors import FolderInUseError
from mlplab.io.links import make_folder, refuse_links_below
from mlplab.runs import RunFolder
from mlplab.runs.job_record import JobRecord
from mlplab.runs.packs import FINISHED
from mlplab.sweeps.plan.plan import Plan
from mlplab.training import DataCache

Columns = Mapping[str, Sequence[float] | NDArray[Any]]

_STAGING = ".aside"
_CHECKPOINTS = ".checkpoints"
_LOCKS = ".locks"
_MERGING = "merging"

_WRITTEN = (_CHECKPOINTS, _LOCKS, ".search", ".under-way", "workers")
"""Folders of a sweep in which its processes create and delete files."""


class JobStore(ABC):
    """The jobs in a sweep's folder. Raises LinkError if one of its folders is a symbolic link."""

    max_wait = 1.0
    """Seconds that jobs which have ended wait at most until they are stored together."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.jobs = folder, folder / "jobs"
        for name in _WRITTEN:
            refuse_links_below(folder / name)

    @abstractmethod
    def refresh(self) -> None:
        """Read what other processes have stored since the last call."""

    @abstractmethod
    def summary(self, number: int) -> dict[str, Any]:
        """The content of summary.json of a job; empty if the job has not ended."""

    @abstractmethod
    def status(self, number: int) -> str | None:
        """The status of a job; None if it has not ended."""

    @abstractmethod
    def ended(self, number: int) -> float | None:
        """When a job ended, in seconds since 1970; None if it has not."""

    @abstractmethod
    def history(self, number: int) -> Columns:
        """The epoch, step and metrics of each evaluation of a job; empty if it has none.

        Raises DamagedFileError if it cannot be read.
        """

    @abstractmethod
    def histories(self, numbers: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        """Yield each job that has a history, and the history, those of one file together."""

    @abstractmethod
    def history_names(self, numbers: Iterable[int]) -> tuple[str, ...]:
        """The names of all columns in the histories of jobs."""

    @abstractmethod
    def writing(self) -> contextlib.AbstractContextManager[None]:
        """Context in which `commit` may be called."""

    @abstractmethod
    def commit(
        self, records: Sequence[JobRecord], unit: int, plan: Plan, cache: DataCache
    ) -> Iterator[JobRecord]:
        """Store jobs of a work unit, replacing failed attempts, and yield each that is stored: all
        but those that another process has finished.
        """

    @abstractmethod
    def close_unit(self, unit: int) -> None:
        """Called by the process that has the lock of a work unit when it has trained its jobs."""

    @abstractmethod
    def is_unit_open(self, unit: int) -> bool:
        """Whether a process was killed before it called `close_unit`."""

    @abstractmethod
    def close(self, plan: Plan) -> None:
        """Called when a process has found nothing left to do."""

    def job_folder(self, number: int) -> Path:
        """The folder of a job; that of a job in a pack exists if it was opened."""
        return self.jobs / str(number)

    def missing(self, numbers: Iterable[int], since: float | None = None) -> list[int]:
        """The jobs that are not finished, without those that failed after `since` (seconds since
        1970).
        """
        self.refresh()
        return [
            number
            for number in numbers
            if not self.finished(number) and not self._failed_since(number, since)
        ]

    def finished(self, number: int) -> bool:
        """Whether a job has ended in a way that is not tried again, as of the last `refresh`."""
        return self.status(number) in FINISHED

    def _failed_since(self, number: int, since: float | None) -> bool:
        if since is None or (ended := self.ended(number)) is None:
            return False
        return ended >= since and self.status(number) == "failed"

    @contextlib.contextmanager
    def staging_dir(self, parent: Path | None = None) -> Iterator[Path]:
        """A folder in which to write jobs, below that of the sweep or `parent`; removed at the end
        together with everything that was not committed.
        """
        folder = (parent or self.folder) / f"{_STAGING}-{os.getpid()}-{os.urandom(4).hex()}"
        folder.mkdir()
        try:
            with RunFolder.locked(folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def clean_stale_staging(self) -> None:
        """Remove the staging folders of processes that were killed."""
        for parent in (self.folder, self.jobs):
            for folder in parent.glob(f"{_STAGING}-*"):
                with contextlib.suppress(OSError, ValueError), RunFolder.locked(folder):
                    shutil.rmtree(folder, ignore_errors=True)

    def move(self, filled: Path, folder: Path) -> None:
        """Rename a complete folder in a staging folder, replacing another one."""
        if folder.exists():
            os.rename(folder, filled.with_name(f"{filled.name}-before"))
        os.rename(filled, folder)

    def checkpoints(self, unit: int, numbers: Sequence[int]) -> Path:
        """Checkpoint folder of the population of these jobs. Only the process that holds the lock
        of the work unit may use it.
        """
        name = hashlib.sha256(repr(sorted(numbers)).encode()).hexdigest()[:16]
        return self.unit_checkpoints(unit) / name

    def unit_checkpoints(self, unit: int) -> Path:
        """The folder with all checkpoints of a work unit. It may be left empty by a process that
        was killed while deleting them.
        """
        return self.folder / _CHECKPOINTS / str(unit)

    def unfinished_checkpoints(self, unit: int) -> list[Path]:
        """Checkpoint folders of the populations of a work unit that have not finished."""
        folder = self.unit_checkpoints(unit)
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def forget(self, checkpoints: Path) -> None:
        """Remove the checkpoints of a population or a work unit, and parent folders left empty."""
        shutil.rmtree(checkpoints, ignore_errors=True)
        for folder in checkpoints.parents:
            if folder == self.folder:
                break
            with contextlib.suppress(OSError):
                folder.rmdir()

    @contextlib.contextmanager
    def lock_work_unit(self, number: int) -> Iterator[bool]:
        """Hold the lock of a work unit; yields False if another process holds it."""
        with self._locked(str(number)) as locked:
            yield locked

    def lock_merging(self) -> contextlib.AbstractContextManager[bool]:
        """Hold the lock of what happens when all jobs are stored, as `lock_work_unit` does."""
        return self._locked(_MERGING)

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[bool]:
        folder = make_folder(self.folder / _LOCKS / name, self.folder)
        try:
            owner = RunFolder.locked(folder)
        except FolderInUseError:
            yield False
            return
        with owner:
            yield True

    def remove_locks(self, plan: Plan) -> None:
        """Remove the locks of the work units of a plan without missing jobs. Those of units that
        were added to it meanwhile stay.
        """
        locks = self.folder / _LOCKS
        for name in (_MERGING, *(str(unit.number) for unit in plan.work_units)):
            shutil.rmtree(locks / name, ignore_errors=True)
        with contextlib.suppress(OSError):
            locks.rmdir()
