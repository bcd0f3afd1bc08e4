"""The job of a sweep whose weights a training starts from."""

from __future__ import annotations

from mlplab.config.run_dir import split_job
from mlplab.settings import Settings


def open_source(settings: Settings) -> None:
    """Make the folder of the job that `init_from` names, if it names one that is stored in a pack.

    Raises ConfigError if there is no such job, or it has not ended.
    """
    job = None if settings.init_from is None else split_job(settings.init_from)
    if job is not None:
        from mlplab.sweeps.open_job import open_job

        open_job(*job)
