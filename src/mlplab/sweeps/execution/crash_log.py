"""Jobs that take their worker along: told from the others by what the workers that died had under
way, and given up in the end.

A worker leaves a note of the population that it trains and takes it away however the training ends;
only a process that dies leaves it. A population that took three workers along, each before it was
saved anew, is halved, like one that raises, until the culprit is alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlplab.io.files import write_json
from mlplab.io.links import make_folder

LIMIT = 3
"""How many workers a population, or a job alone, may take along."""

BEFORE = -1
"""The step of jobs whose data are being made."""


class CrashLog:
    """The notes of a sweep. `since`: seconds since 1970, older notes mean nothing; None where this
    process has no driver, and leaves none.

    Whoever asks owns the piece: then no note of it is of a worker that lives.
    """

    def __init__(self, sweep: Path, since: float | None) -> None:
        self.folder, self.since = sweep / ".under-way", since

    @contextlib.contextmanager
    def in_progress(self, piece: int, numbers: Sequence[int], step: int) -> Iterator[None]:
        """While these jobs train, from a step on."""
        if self.since is None:
            yield
            return
        place = make_folder(self.folder / str(piece), self.folder.parent)
        note = place / f"{os.getpid()}-{os.urandom(4).hex()}.json"
        write_json(note, {"jobs": list(numbers), "step": step})
        try:
            yield
        finally:
            note.unlink(missing_ok=True)
            _drop(place)

    def parted(self, piece: int, numbers: Sequence[int], left: Sequence[int]) -> list[list[int]]:
        """These jobs as they may train together: apart from others those that a population that
        died must have its culprit among.

        `left`: all jobs of the piece that nobody has finished; those that are finished are
        innocent.
        """
        return _parted(
            list(numbers), [jobs for dead in self._dead(piece) if (jobs := dead & set(left))]
        )

    def fatal(self, piece: int, numbers: Sequence[int], left: Sequence[int]) -> bool:
        """Whether these took too many workers along to be trained together once more; one alone is
        given up then.
        """
        if len(numbers) == 1:
            return self._counts(piece).get(frozenset(numbers), 0) >= LIMIT
        return len(self.parted(piece, numbers, left)) > 1

    def explained(self, piece: int, number: int) -> None:
        """The job was the culprit: what died with it says nothing of the others."""
        for path, jobs, _ in self._notes(piece):
            if number in jobs:
                path.unlink(missing_ok=True)
        _drop(self.folder / str(piece))

    def forget(self, piece: int) -> None:
        """All notes of a piece; it is done."""
        shutil.rmtree(self.folder / str(piece), ignore_errors=True)

    def close(self) -> None:
        """Leave no empty folder; for whoever is the last."""
        _drop(self.folder)

    def known(self, piece: int) -> bool:
        """Whether there is anything to forget."""
        return (self.folder / str(piece)).is_dir()

    def names(self) -> set[str]:
        """Of all notes, also of workers that live: a driver sees by new ones that its workers come
        as far as training.
        """
        return {
            name
            for piece in _listed(self.folder)
            for name in _listed(self.folder / piece)
            if name.endswith(".json")
        }

    def _notes(self, piece: int) -> list[tuple[Path, frozenset[int], int]]:
        found: list[tuple[Path, frozenset[int], int]] = []
        if self.since is None:
            return found
        for path in sorted((self.folder / str(piece)).glob("*.json")):
            try:
                if path.stat().st_mtime < self.since:  # of an earlier attempt at the sweep
                    path.unlink()
                    continue
                note = json.loads(path.read_text(encoding="utf-8"))
                found.append((path, frozenset(note["jobs"]), int(note["step"])))
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return found

    def _counts(self, piece: int) -> dict[frozenset[int], int]:
        """How often a population died without having been saved anew."""
        found: dict[frozenset[int], int] = {}
        for (jobs, _), count in Counter(
            (jobs, step) for _, jobs, step in self._notes(piece)
        ).items():
            found[jobs] = max(count, found.get(jobs, 0))
        return found

    def _dead(self, piece: int) -> list[frozenset[int]]:
        """Populations that must hold a culprit. A part of one is believed at once: the culprit is
        being looked for.
        """
        dead: list[frozenset[int]] = []
        for jobs, count in sorted(self._counts(piece).items(), key=lambda entry: -len(entry[0])):
            if count >= LIMIT or (len(jobs) > 1 and any(jobs < other for other in dead)):
                dead.append(jobs)
        return dead


def _listed(folder: Path) -> list[str]:
    """What is in a folder that others may take away meanwhile, where pathlib's glob would raise."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _drop(folder: Path) -> None:
    """Take an empty folder away."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def _parted(numbers: list[int], dead: Sequence[set[int] | frozenset[int]]) -> list[list[int]]:
    """The innocent first, so that they are done whatever becomes of the others."""
    inside = [jobs for jobs in dead if jobs <= set(numbers)]
    if not inside or len(numbers) == 1:
        return [numbers]
    least = min(inside, key=len)
    if rest := [number for number in numbers if number not in least]:
        return _parted(rest, inside) + _parted(
            [number for number in numbers if number in least], inside
        )
    middle = len(numbers) // 2
    return _parted(numbers[:middle], inside) + _parted(numbers[middle:], inside)
