"""Which jobs of a sweep are done, and which process works on which piece: told by folders and locks
alone.

A job's folder is filled aside and renamed into its place, so it is there as a whole or not at all.
The kernel gives a lock back however its owner ends, so a piece that was left is free at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mlplab.errors import FolderInUseError
from mlplab.io.links import make_folder, refuse_links_below
from mlplab.runs import RunFolder

FINISHED = ("done", "diverged", "pruned")
"""How a job ends for good; one that failed or was interrupted is tried again by `resume`."""

_ASIDE = ".aside"
_CHECKPOINTS = ".checkpoints"


_WRITTEN = (".checkpoints", ".locks", ".search", ".under-way", "workers")
"""Folders of a sweep that its processes write into, and take files away from."""


class JobStore:
    """The jobs below a sweep's folder. Raises LinkError where a folder of it is a symbolic link."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.jobs = folder, folder / "jobs"
        refuse_links_below(make_folder(self.jobs), deep=False)
        for name in _WRITTEN:
            refuse_links_below(folder / name)

    def place(self, number: int) -> Path:
        return self.jobs / str(number)

    def summary(self, number: int) -> dict[str, Any] | None:
        """What a job's folder says of its end; None where there is no such folder, or none that can
        be read.
        """
        try:
            found = json.loads((self.place(number) / "summary.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and isinstance(found.get("status"), str) else None

    def finished(self, number: int) -> bool:
        summary = self.summary(number)
        return summary is not None and summary["status"] in FINISHED

    def failed_since(self, number: int, since: float | None) -> bool:
        """Whether the job has failed after that moment."""
        if since is None:
            return False
        try:
            failed = (self.place(number) / "summary.json").stat().st_mtime >= since
        except OSError:
            return False
        return failed and (self.summary(number) or {}).get("status") == "failed"

    def missing(self, numbers: Iterable[int]) -> list[int]:
        """Those that are not finished."""
        return [number for number in numbers if not self.finished(number)]

    @contextlib.contextmanager
    def staging_dir(self) -> Iterator[Path]:
        """A folder to fill jobs in, on the same file system; taken away at the end with whatever
        was not committed.
        """
        place = self.folder / f"{_ASIDE}-{os.getpid()}-{os.urandom(4).hex()}"
        place.mkdir()
        try:
            with RunFolder(place) as owner:
                owner.lock()
                yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def clean_stale_staging(self) -> None:
        """Take away what processes that were killed had begun to write."""
        for place in self.folder.glob(f"{_ASIDE}-*"):
            with contextlib.suppress(OSError, ValueError), RunFolder(place) as owner:
                owner.lock()
                shutil.rmtree(place, ignore_errors=True)

    def commit(self, filled: Path, number: int) -> bool:
        """Put a filled folder in the job's place; False where the job has been finished meanwhile.
        What failed before makes room.
        """
        place = self.place(number)
        if self.finished(number):
            return False
        if place.exists():
            os.rename(place, filled.with_name(f"{filled.name}-before"))
        try:
            os.rename(filled, place)
        except OSError:
            if self.finished(number):
                return False
            raise
        return True

    def checkpoints(self, piece: int, numbers: Sequence[int]) -> Path:
        """Where the population of these jobs of a piece is saved while it trains. The owner of the
        piece owns it.
        """
        name = hashlib.sha256(repr(sorted(numbers)).encode()).hexdigest()[:16]
        return self.populations(piece) / name

    def populations(self, piece: int) -> Path:
        """Where all of a piece lie; a process that was killed while it tidied may leave it
        empty.
        """
        return self.folder / _CHECKPOINTS / str(piece)

    def unfinished_checkpoints(self, piece: int) -> list[Path]:
        """The populations of a piece that were saved and have not ended."""
        place = self.populations(piece)
        return sorted(place.iterdir()) if place.is_dir() else []

    def forget(self, place: Path) -> None:
        """Take a population's checkpoints away, or those of a piece, and what is empty then."""
        shutil.rmtree(place, ignore_errors=True)
        for folder in place.parents:
            if folder == self.folder:
                break
            with contextlib.suppress(OSError):
                folder.rmdir()

    @contextlib.contextmanager
    def piece(self, number: int) -> Iterator[bool]:
        """Own a piece while it is trained; False where another process has it."""
        place = make_folder(self.folder / ".locks" / str(number), self.folder)
        with contextlib.ExitStack() as stack:
            owner = stack.enter_context(RunFolder(place))
            try:
                owner.lock()
            except FolderInUseError:
                yield False
                return
            yield True
