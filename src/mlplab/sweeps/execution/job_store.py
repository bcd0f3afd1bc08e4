"""Job folders and locks on disk: they alone record which jobs are finished and which process works
on which work unit.

A job's folder is written in a staging folder and then renamed, so it is either complete or absent.
The kernel releases a lock however its process ends, so an abandoned work unit is free at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mlplab.errors import FolderInUseError
from mlplab.io.links import make_folder, refuse_links_below
from mlplab.runs import RunFolder
from mlplab.runs.run_index import summary_of

FINISHED = ("done", "diverged", "pruned")
"""Final statuses of a job; `resume` retries a job that failed or was interrupted."""

_STAGING = ".aside"
_CHECKPOINTS = ".checkpoints"

_WRITTEN = (".checkpoints", ".locks", ".search", ".under-way", "workers")
"""Folders of a sweep in which its processes create and delete files."""


class JobStore:
    """The jobs in a sweep's folder. Raises LinkError if one of its folders is a symbolic link."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.jobs = folder, folder / "jobs"
        refuse_links_below(make_folder(self.jobs), deep=False)
        for name in _WRITTEN:
            refuse_links_below(folder / name)

    def job_folder(self, number: int) -> Path:
        return self.jobs / str(number)

    def finished(self, number: int) -> bool:
        return summary_of(self.job_folder(number)).get("status") in FINISHED

    def failed_since(self, number: int, since: float | None) -> bool:
        """Whether the job failed after `since` (seconds since 1970)."""
        folder = self.job_folder(number)
        with contextlib.suppress(OSError):
            if since is not None and (folder / "summary.json").stat().st_mtime >= since:
                return summary_of(folder).get("status") == "failed"
        return False

    def missing(self, numbers: Iterable[int], since: float | None = None) -> list[int]:
        """The jobs that are not finished, without those that failed after `since`."""
        return [
            number
            for number in numbers
            if not self.finished(number) and not self.failed_since(number, since)
        ]

    @contextlib.contextmanager
    def staging_dir(self) -> Iterator[Path]:
        """A folder in which to write jobs, on the same file system; removed at the end together
        with everything that was not committed.
        """
        folder = self.folder / f"{_STAGING}-{os.getpid()}-{os.urandom(4).hex()}"
        folder.mkdir()
        try:
            with RunFolder.locked(folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def clean_stale_staging(self) -> None:
        """Remove the staging folders of processes that were killed."""
        for folder in self.folder.glob(f"{_STAGING}-*"):
            with contextlib.suppress(OSError, ValueError), RunFolder.locked(folder):
                shutil.rmtree(folder, ignore_errors=True)

    def commit(self, filled: Path, number: int) -> bool:
        """Rename a complete folder to the job's folder, replacing a failed attempt.

        Returns False if the job has been finished by another process.
        """
        folder = self.job_folder(number)
        if self.finished(number):
            return False
        if folder.exists():
            os.rename(folder, filled.with_name(f"{filled.name}-before"))
        try:
            os.rename(filled, folder)
        except OSError:
            if self.finished(number):
                return False
            raise
        return True

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
        folder = make_folder(self.folder / ".locks" / str(number), self.folder)
        try:
            owner = RunFolder.locked(folder)
        except FolderInUseError:
            yield False
            return
        with owner:
            yield True
