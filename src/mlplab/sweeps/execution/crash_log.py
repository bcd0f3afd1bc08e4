"""Finds jobs that crash their worker process and gives them up.

A worker leaves a note of the population it trains and removes it however the training ends; only a
process that crashes leaves it behind. A population that crashed three workers, without a new
checkpoint in between, is halved, like one that raises, until the crashing job is alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlplab.io.files import parse_json, write_json
from mlplab.io.links import make_folder

MAX_CRASHES = 3
"""Number of workers that a population, or a single job, may crash."""

BEFORE_TRAINING = -1
"""The step of jobs whose data is being prepared."""


class CrashLog:
    """The notes of a sweep. `since` is the time, in seconds since 1970, before which notes are
    ignored; None if this process has no driver, and then it leaves no notes.

    Callers must hold the lock of the work unit: then none of its notes belongs to a live worker.
    """

    def __init__(self, sweep: Path, since: float | None) -> None:
        self.folder, self.since = sweep / ".under-way", since

    @contextlib.contextmanager
    def in_progress(self, unit: int, numbers: Sequence[int], step: int) -> Iterator[None]:
        """Keep a note while these jobs train, starting at the given step."""
        if self.since is None:
            yield
            return
        unit_folder = make_folder(self.folder / str(unit), self.folder.parent)
        note = unit_folder / f"{os.getpid()}-{os.urandom(4).hex()}.json"
        write_json(note, {"jobs": list(numbers), "step": step})
        try:
            yield
        finally:
            note.unlink(missing_ok=True)
            _remove_if_empty(unit_folder)

    def split_suspects(
        self, unit: int, numbers: Sequence[int], unfinished: Sequence[int]
    ) -> list[list[int]]:
        """Split the jobs so that groups suspected of containing a crashing job train separately.

        `unfinished` are all unfinished jobs of the work unit; finished jobs are never suspects.
        """
        return _split_suspects(
            list(numbers),
            [jobs for crashed in self._suspects(unit) if (jobs := crashed & set(unfinished))],
        )

    def is_fatal(self, unit: int, numbers: Sequence[int], unfinished: Sequence[int]) -> bool:
        """Whether these jobs crashed too many workers to be trained together again. A single job is
        then given up.
        """
        if len(numbers) == 1:
            return self._counts(unit).get(frozenset(numbers), 0) >= MAX_CRASHES
        return len(self.split_suspects(unit, numbers, unfinished)) > 1

    def clear(self, unit: int, number: int) -> None:
        """Remove the notes that contain this job: it caused the crashes, not the jobs with it."""
        for path, jobs, _ in self._notes(unit):
            if number in jobs:
                path.unlink(missing_ok=True)
        _remove_if_empty(self.folder / str(unit))

    def forget(self, unit: int) -> None:
        """Remove all notes of a finished work unit."""
        shutil.rmtree(self.folder / str(unit), ignore_errors=True)

    def close(self) -> None:
        """Remove the folder if it is empty."""
        _remove_if_empty(self.folder)

    def has_notes(self, unit: int) -> bool:
        return (self.folder / str(unit)).is_dir()

    def note_names(self) -> set[str]:
        """Names of all notes, including those of live workers: new names tell the driver that its
        workers get as far as training.
        """
        return {
            name
            for unit in _list_names(self.folder)
            for name in _list_names(self.folder / unit)
            if name.endswith(".json")
        }

    def _notes(self, unit: int) -> list[tuple[Path, frozenset[int], int]]:
        notes: list[tuple[Path, frozenset[int], int]] = []
        if self.since is None:
            return notes
        for path in sorted((self.folder / str(unit)).glob("*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                if path.stat().st_mtime < self.since:  # from an earlier attempt at the sweep
                    path.unlink()
                else:
                    note = parse_json(path.read_bytes())
                    notes.append((path, frozenset(note["jobs"]), int(note["step"])))
        return notes

    def _counts(self, unit: int) -> dict[frozenset[int], int]:
        """How often each population crashed without a new checkpoint in between."""
        counts: dict[frozenset[int], int] = {}
        for (jobs, _), count in Counter(
            (jobs, step) for _, jobs, step in self._notes(unit)
        ).items():
            counts[jobs] = max(count, counts.get(jobs, 0))
        return counts

    def _suspects(self, unit: int) -> list[frozenset[int]]:
        """Populations that must contain a crashing job. A subset of one is a suspect after its
        first crash, since the search for the crashing job has begun.
        """
        suspects: list[frozenset[int]] = []
        for jobs, count in sorted(self._counts(unit).items(), key=lambda entry: -len(entry[0])):
            if count >= MAX_CRASHES or (
                len(jobs) > 1 and any(jobs < suspect for suspect in suspects)
            ):
                suspects.append(jobs)
        return suspects


def _list_names(folder: Path) -> list[str]:
    """Names in a folder that another process may remove meanwhile; pathlib's glob would raise."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _split_suspects(
    numbers: list[int], suspects: Sequence[set[int] | frozenset[int]]
) -> list[list[int]]:
    """Groups free of suspicion come first, so that they finish whatever happens to the others."""
    inside = [jobs for jobs in suspects if jobs <= set(numbers)]
    if not inside or len(numbers) == 1:
        return [numbers]
    smallest = min(inside, key=len)
    if rest := [number for number in numbers if number not in smallest]:
        return _split_suspects(rest, inside) + _split_suspects(
            [number for number in numbers if number in smallest], inside
        )
    middle = len(numbers) // 2
    return _split_suspects(numbers[:middle], inside) + _split_suspects(numbers[middle:], inside)
