"""Jobs of a sweep read back, wherever they are stored: as runs in memory, or to write folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlplab.errors import UnfinishedRunError
from mlplab.io.reading import reading
from mlplab.model.model import Model
from mlplab.runs.job_record import JobRecord
from mlplab.runs.run import Run, load
from mlplab.sweeps.execution.job_folders import JobFolders
from mlplab.sweeps.execution.job_store import JobStore
from mlplab.sweeps.execution.stores import PackStore
from mlplab.sweeps.plan.plan import Plan


def read_packed(
    plan: Plan, store: PackStore, numbers: Sequence[int]
) -> Iterator[tuple[JobRecord, JobFolders]]:
    """Yield packed jobs, each with what writes its folder and has its weights as nn.Sequential
    names them. Raises DamagedFileError.
    """
    for record in store.packs.records(numbers):
        path = store.packs.path(record.number)
        with reading(path, store.packs.remedy):  # also if the weights do not fit the plan
            folders = JobFolders(plan, [record])
        yield record, folders


def load_jobs(plan: Plan, store: JobStore, numbers: Sequence[int]) -> list[Run]:
    """Load jobs that have ended, in the order of the numbers. Raises UnfinishedRunError."""
    if not isinstance(store, PackStore):
        return [load(store.job_folder(number)) for number in numbers]
    runs = {}
    for record, folders in read_packed(plan, store, numbers):
        number = record.number
        if record.outcome is None:
            raise UnfinishedRunError(
                f"Job {number} of {store.folder} failed, and has no weights:"
                f" {record.summary['reason']}. `mlplab open {store.folder} {number}` shows more."
            )
        with reading(store.packs.path(number), store.packs.remedy):
            settings, preprocessing = folders.settings[number], folders.preprocessing(record)
            model = Model.of_state(settings, preprocessing, folders.best[number])
        runs[number] = Run(
            store.job_folder(number),
            settings,
            store.summary(number),
            record.outcome.history,
            model,
        )
    return [runs[number] for number in numbers]
