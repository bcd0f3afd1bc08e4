"""The two ways in which a sweep stores its jobs: a folder for each, or many in one pack."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mlplab.io.links import make_folder, refuse_links_below
from mlplab.runs.job_record import JobRecord
from mlplab.runs.pack_reader import PackedHistories, read_histories
from mlplab.runs.packs import FOLDER, Packs
from mlplab.runs.run_index import summary_of
from mlplab.sweeps.execution.job_folders import JobFolders
from mlplab.sweeps.execution.job_store import Columns, JobStore
from mlplab.sweeps.plan.plan import Plan
from mlplab.sweeps.plan.tracked import PACKED
from mlplab.terminal.output import note
from mlplab.tracking import read_metrics
from mlplab.training import DataCache, History

MERGED_JOBS = 1024
"""Jobs up to which small packs are merged into one at the end of a sweep."""
MAX_UNMERGED = 16
"""Number of packs up to which those of different work units are left as they are."""


def open_store(plan: Plan, folder: Path, repair: bool = False) -> JobStore:
    """Return the jobs of a plan in the folder of its sweep.

    With `repair`, damaged packs are set aside, so that their jobs train again, as those of damaged
    folders do. Raises LinkError, and DamagedFileError for a pack that cannot be read.
    """
    if plan.options.jobs != PACKED:
        return FolderStore(folder)
    if repair:
        for path, error in Packs(folder).quarantine_damaged().items():
            note(f"{error.fault}. {_jobs_of(plan, path)} train again; it is kept as {path.name}.")
    return PackStore(folder)


def _jobs_of(plan: Plan, pack: Path) -> str:
    """The jobs that a pack has by its name."""
    number = pack.name.partition("-")[0]
    units = [unit for unit in plan.work_units if number == _prefix(unit.number)]
    jobs = sorted(units[0].jobs) if units else []
    if not jobs:
        return "Its jobs, unless another pack has them,"
    texts = f"job {jobs[0]}" if len(jobs) == 1 else f"{len(jobs)} jobs from {jobs[0]} to {jobs[-1]}"
    return f"Those of its work unit ({texts}) that no other pack has"


class FolderStore(JobStore):
    """Jobs in folders: one is written in a staging folder and then renamed, so that it is either
    complete or absent.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        refuse_links_below(make_folder(self.jobs), deep=False)
        self._staging: Path | None = None

    def refresh(self) -> None:
        """Folders are read when they are asked for."""

    def summary(self, number: int) -> dict[str, Any]:
        return summary_of(self.job_folder(number))

    def status(self, number: int) -> str | None:
        return self.summary(number).get("status")

    def ended(self, number: int) -> float | None:
        with contextlib.suppress(OSError):
            return (self.job_folder(number) / "summary.json").stat().st_mtime
        return None

    def history(self, number: int) -> Columns:
        path = self.job_folder(number) / "metrics.csv"
        return dict(read_metrics(path)) if path.is_file() else {}

    def histories(self, numbers: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        for number in numbers:
            if history := self.history(number):
                yield number, history

    def history_names(self, numbers: Iterable[int]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for _, one in self.histories(numbers) for name in one))

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        with self.staging_dir() as self._staging:
            yield

    def commit(
        self, records: Sequence[JobRecord], unit: int, plan: Plan, cache: DataCache
    ) -> Iterator[JobRecord]:
        assert self._staging is not None, "only within `writing`"
        folders = JobFolders(plan, records, cache)
        for record in records:
            filled = self._staging / str(record.number)
            folders.write(filled, record)
            if self._commit(filled, record.number):
                yield record

    def _commit(self, filled: Path, number: int) -> bool:
        """Return False if the job has been finished by another process."""
        if self.finished(number):
            return False
        try:
            self.move(filled, self.job_folder(number))
        except OSError:
            if self.finished(number):
                return False
            raise
        return True

    def close_unit(self, unit: int) -> None:
        """Folders of jobs stay as they are."""

    def is_unit_open(self, unit: int) -> bool:
        return False

    def close(self, plan: Plan) -> None:
        """Folders of jobs stay as they are."""


class PackStore(JobStore):
    """Jobs in packs: each call of `commit` writes one, and those of a work unit become one when it
    ends.
    """

    max_wait = 5.0  # what is stored before a work unit ends is read and written again

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for name in (FOLDER, "jobs"):
            refuse_links_below(folder / name, deep=False)
        self.packs = Packs(folder)
        self.packs.refresh()

    def refresh(self) -> None:
        self.packs.refresh()

    def summary(self, number: int) -> dict[str, Any]:
        return self.packs.summary(number)

    def status(self, number: int) -> str | None:
        return self.packs.status(number)

    def ended(self, number: int) -> float | None:
        return None if self.status(number) is None else self.packs.ended(number)

    def history(self, number: int) -> Columns:
        history = self._histories.read(number) if self.status(number) is not None else None
        return {} if history is None else _columns(history)

    def histories(self, numbers: Iterable[int]) -> Iterator[tuple[int, Columns]]:
        stored = (number for number in numbers if self.status(number) is not None)
        for number, history in read_histories(self.packs.by_pack(stored)):
            yield number, _columns(history)

    def history_names(self, numbers: Iterable[int]) -> tuple[str, ...]:
        return ("epoch", "step", *self.packs.history_names)

    @functools.cached_property
    def _histories(self) -> PackedHistories:
        return PackedHistories(self.packs.locate)

    def writing(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def commit(
        self, records: Sequence[JobRecord], unit: int, plan: Plan, cache: DataCache
    ) -> Iterator[JobRecord]:
        self.refresh()
        new = [record for record in records if not self.finished(record.number)]
        self.packs.write(new, _prefix(unit))
        yield from new

    def close_unit(self, unit: int) -> None:
        with self.lock_merging() as locked:
            if locked:  # else later: another process may merge the same packs
                self.packs.merge(_prefix(unit))

    def is_unit_open(self, unit: int) -> bool:
        return self.packs.has_several(_prefix(unit))

    def close(self, plan: Plan) -> None:
        """Merge small packs, and remove the locks, unless jobs are missing."""
        if self.missing(job.number for job in plan.jobs):
            return
        with self.lock_merging() as locked:
            if locked:
                self.packs.remove_superseded()
                if self.packs.count > MAX_UNMERGED:
                    self.packs.merge("", MERGED_JOBS)
        self.remove_locks(plan)

    def clean_stale_staging(self) -> None:
        super().clean_stale_staging()
        self.packs.remove_leftovers()


def _columns(history: History) -> Columns:
    return {"epoch": history.epoch, "step": history.step, **history.columns}


def _prefix(unit: int) -> str:
    """The start of the names of packs with jobs of a work unit."""
    return f"{unit:07d}"
