"""A sweep from its jobs to its report: plan, train, collect, show."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlplab.errors import ConfigError, FolderError
from mlplab.runs import RunFolder, create
from mlplab.settings import Settings
from mlplab.sweeps.execution import engines
from mlplab.sweeps.execution.job_store import JobStore
from mlplab.sweeps.execution.progress import SweepProgress
from mlplab.sweeps.execution.runner import Runner
from mlplab.sweeps.execution.worker_pool import WorkerPool
from mlplab.sweeps.plan import plan as planning
from mlplab.sweeps.plan.plan import Options, Plan
from mlplab.sweeps.plan.plan_file import NAME, read_plan, write_plan
from mlplab.sweeps.report import cross_validation
from mlplab.sweeps.report.collect import collect
from mlplab.sweeps.report.results import Results
from mlplab.sweeps.report.write import write_results
from mlplab.terminal.output import note
from mlplab.training import DataCache


@dataclass(frozen=True)
class Sweep:
    """A finished, or interrupted, sweep."""

    folder: Path
    plan: Plan
    results: Results
    status: str  # done, failed (a job failed or diverged), interrupted
    signal: int = 0  # that interrupted it
    told: tuple[str, ...] = ()  # of a cross-validation: its metrics over the folds

    @property
    def counts(self) -> dict[str, int]:
        """Jobs by their status."""
        statuses = [job.status for job in self.results.jobs]
        return {status: statuses.count(status) for status in dict.fromkeys(statuses)}


def write_sweep_plan(
    folder: Path,
    settings: Sequence[Settings],
    options: Options,
    typed: Sequence[str] = (),
    plugins: Sequence[str] = (),
    extend: bool = False,
    quiet: bool = False,
) -> Plan:
    """Freeze the jobs in the folder's plan.yaml: a new folder, an empty one, or one that has a
    plan, whose jobs then keep their numbers.

    `extend`: jobs of the plan that is there stay in it even where the new ones lack them. Raises
    ConfigError or FolderError for a folder that holds something else, and MissingExtraError where
    the engine's package is not installed.
    """
    engines.need(options.engine)  # before a folder is made
    if (folder / NAME).is_file():
        with _changing(folder):
            old = read_plan(folder)
            known = {job.hash for job in old.jobs}
            if extend:
                settings = [
                    *(job.settings for job in old.jobs),
                    *(s for s in settings if planning.job_hash(s) not in known),
                ]
            plan = planning.make(settings, options, typed, plugins, old)
            if not quiet:
                _tell(plan, known)
            write_plan(folder, plan)
        return plan
    plan = planning.make(settings, options, typed, plugins)
    create_or_join(folder)
    with _changing(folder):
        if not (folder / NAME).is_file():
            write_plan(folder, plan)
            return plan
    # another process was first
    return write_sweep_plan(folder, settings, options, typed, plugins, extend, quiet)


def can_join(folder: Path) -> bool:
    """Whether the folder is a sweep's, or is about to become one: there is a plan in it, or nothing
    but the signs of somebody who makes it.
    """
    if not folder.is_dir():
        return False
    names = os.listdir(folder)
    if all(
        name in (".lock", "multirun.yaml", ".search") or name.startswith(".tmp-") for name in names
    ):
        return True
    return (folder / "search.yaml").is_file() or (
        folder / NAME
    ).is_file()  # asked last: a maker writes the plan before anything else, perhaps just now


def create_or_join(folder: Path) -> None:
    """Make the folder, where it is not one that another process, or Hydra's own sweeper, has just
    made for the same sweep.
    """
    try:
        create(folder).close()
    except FolderError:
        if not can_join(folder):
            raise


def _changing(folder: Path) -> RunFolder:
    """Own the folder's plan for a moment."""
    import time

    owner = RunFolder(folder)
    for _ in range(100):
        try:
            owner.lock()
            return owner
        except FolderError:
            time.sleep(0.1)
    owner.lock()
    return owner


def _tell(plan: Plan, known: set[str]) -> None:
    new = [job.number for job in plan.jobs if job.hash not in known]
    if new:
        note(
            f"{len(new)} new jobs join the {len(plan.jobs) - len(new)} that the folder's plan has"
            f" already: {_numbers(new)}"
        )
    if plan.removed_jobs:
        note(
            f"{len(plan.removed_jobs)} jobs of an earlier plan are not in this one, and are left as"
            f" they are: {_numbers(list(plan.removed_jobs.values()))}"
        )


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:10])) + (
        f" and {len(numbers) - 10} more" if len(numbers) > 10 else ""
    )


def train(plan: Plan, folder: Path, quiet: bool = False) -> Sweep:
    """Train what is missing of a plan, and write results.csv, summary.md and report.html. May run
    in several processes at once.
    """
    display = SweepProgress(plan, quiet)
    runner = make_executor(plan, folder, display)
    try:
        runner.run()
    finally:
        display.close()
    ended = write_reports(plan, folder, runner.status == "interrupted")
    return replace(
        ended,
        signal=runner.signals.received or 0,
        told=tuple(cross_validation.conclude(plan, ended.results, DataCache())),
    )


def make_executor(plan: Plan, folder: Path, display: SweepProgress) -> Runner | WorkerPool:
    """Who trains the plan: this process, or as many as its options name."""
    return (
        Runner(plan, folder, display) if plan.options.alone else WorkerPool(plan, folder, display)
    )


def write_reports(plan: Plan, folder: Path, interrupted: bool = False) -> Sweep:
    """Write the results of what is there."""
    ended = read_sweep(plan, folder, interrupted)
    write_results(ended.results)
    return ended


def read_sweep(plan: Plan, folder: Path, interrupted: bool = False) -> Sweep:
    """What is there, read and not written down."""
    results = collect(plan, folder)
    statuses = {job.status for job in results.jobs}
    status = "interrupted" if interrupted else "failed" if statuses - {"done", "pruned"} else "done"
    return Sweep(folder, plan, results, status)


def plan_from_existing(
    settings: Sequence[Settings], folder: Path, options: Options, typed: Sequence[str]
) -> Sweep:
    """The results of jobs that another sweeper and launcher have run in this folder, numbered in
    their order, and a plan for them.
    """
    plan = planning.make(settings, options, typed)
    write_plan(folder, plan)
    return write_reports(plan, folder)


def resume(folder: Path, quiet: bool = False) -> Sweep:
    """Finish what is missing in a sweep's folder; what is done is not touched. Raises ConfigError
    where the folder holds no sweep.
    """
    plan = read_plan(folder)
    JobStore(folder)
    if not plan.jobs:
        raise ConfigError(f"The plan of {folder} has no jobs.")
    return train(plan, folder, quiet)
