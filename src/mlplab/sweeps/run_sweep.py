"""A sweep from its jobs to its report: plan the jobs, train them, and write the results."""

from __future__ import annotations

import contextlib
import gc
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlplab import training
from mlplab.config.builder import Builder
from mlplab.config.composer import Composer
from mlplab.config.expand import expand
from mlplab.config.override_lines import key_of
from mlplab.errors import (
    ConfigError,
    IncompatibleSettingsError,
)
from mlplab.io.files import yaml_line
from mlplab.mirroring.process import checked_trackers, mirrored
from mlplab.network.initial_weights import InitialWeights
from mlplab.runs.initial_weights import with_initial_weights
from mlplab.runs.initial_weights_file import write_copy_of_sweep
from mlplab.runs.plan_text import NAME
from mlplab.runs.recipe_text import note_recipe
from mlplab.settings import Settings
from mlplab.sweeps.execution import engines
from mlplab.sweeps.execution.compute_log import ComputeLog
from mlplab.sweeps.execution.job_store import JobStore
from mlplab.sweeps.execution.progress import SweepProgress
from mlplab.sweeps.execution.runner import Runner
from mlplab.sweeps.execution.stores import open_store
from mlplab.sweeps.execution.worker_pool import WorkerPool
from mlplab.sweeps.folder import create_or_join, lock_plan
from mlplab.sweeps.plan import plan as planning
from mlplab.sweeps.plan.grouping import Representatives
from mlplab.sweeps.plan.hashing import Hasher
from mlplab.sweeps.plan.plan import Options, Plan
from mlplab.sweeps.plan.plan_file import read_plan, write_plan
from mlplab.sweeps.plan.tracked import FOLDERS, folders_reason
from mlplab.sweeps.report import cross_validation
from mlplab.sweeps.report.collect import collect
from mlplab.sweeps.report.conclusions import Conclusions
from mlplab.sweeps.report.group_events import write_tensorboard
from mlplab.sweeps.report.results import Results
from mlplab.sweeps.report.status import time_of_populations, write_end, write_start
from mlplab.sweeps.report.write import write_results
from mlplab.sweeps.source_job import open_source
from mlplab.terminal.output import announce, note
from mlplab.training import Callback, DataCache


@dataclass(frozen=True)
class Sweep:
    """The outcome of a sweep that has finished or was interrupted."""

    folder: Path
    plan: Plan
    results: Results
    status: str  # done, failed (a job failed, diverged or is missing), interrupted
    signal: int = 0  # the signal that interrupted it
    cross_validation_lines: tuple[str, ...] = ()  # metrics over the folds, as text
    conclusions: Conclusions | None = None  # of the reports that were written

    @property
    def counts(self) -> dict[str, int]:
        """Number of jobs with each status."""
        return Counter(job.status for job in self.results.jobs)


def write_sweep_plan(
    folder: Path,
    settings: Sequence[Settings],
    options: Options,
    overrides: Sequence[str] = (),
    plugins: Sequence[str] = (),
    extend: bool = False,
    quiet: bool = False,
    config_dirs: Sequence[str | Path] = (),
    written: Plan | None = None,
) -> Plan:
    """Write the jobs to the folder's plan.yaml and return the plan. The folder may be new, empty,
    or have a plan, whose jobs then keep their numbers.

    `extend` keeps all jobs of an existing plan, even those not in `settings`. `written` is the plan
    of the folder, if no other process can have changed it since it was written or read.

    Raises ConfigError or FolderError if the folder contains something else, and MissingExtraError
    if the engine's package is not installed.
    """
    engines.need(options.engine)  # before a folder is created
    settings, sources = _with_sources(settings, folder)
    checked_trackers(settings)
    if not (folder / NAME).is_file():
        plan = planning.make_plan(settings, options, overrides, plugins, None, config_dirs)
        create_or_join(folder)
        if not quiet and not options.jobs and (reason := folders_reason(settings)):
            note(f"each of the {len(settings)} jobs gets a folder, since {reason}")
    with lock_plan(folder):
        if (folder / NAME).is_file():  # also if another process was first
            old = written or read_plan(folder)
            old_hashes = {job.hash for job in old.jobs}
            if extend:
                hasher = Hasher()
                settings = [
                    *(job.settings for job in old.jobs),
                    *(s for s in settings if hasher.hash(s.config) not in old_hashes),
                ]
            plan = planning.make_plan(settings, options, overrides, plugins, old, config_dirs)
            if not quiet:
                _note_changes(plan, old_hashes)
        write_plan(folder, plan)
        for initial in sources:
            write_copy_of_sweep(initial, folder)
    return plan


def _with_sources(
    settings: Sequence[Settings], folder: Path
) -> tuple[Sequence[Settings], list[InitialWeights]]:
    """Return settings that read the weights that `init_from` names from the folder of their sweep,
    and these weights, of each source. Raises ConfigError for a source that is no run.
    """
    if not any(one.init_from for one in settings):
        return settings, []
    settings = [one if one.init_from is None else replace(one, folder=folder) for one in settings]
    weights = []
    for one in {one.init_from: one for one in settings}.values():
        open_source(one)
        weights.append(with_initial_weights(one).initial)
    return settings, [initial for initial in weights if initial is not None]


def _note_changes(plan: Plan, old_hashes: set[str]) -> None:
    new = [job.number for job in plan.jobs if job.hash not in old_hashes]
    if new:
        note(
            f"{len(new)} new jobs join the {len(plan.jobs) - len(new)} jobs of the folder's plan:"
            f" {_numbers(new)}"
        )
    if plan.removed_jobs:
        note(
            f"{len(plan.removed_jobs)} jobs of an earlier plan are not in this one and are left"
            f" unchanged: {_numbers([job.number for job in plan.removed_jobs.values()])}"
        )


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:10])) + (
        f" and {len(numbers) - 10} more" if len(numbers) > 10 else ""
    )


def check_callbacks(options: Options, callbacks: Sequence[Callback]) -> None:
    """Raise ConfigError for callbacks that would not be called, and IncompatibleSettingsError if
    other processes would train.
    """
    training.check_callbacks(callbacks)
    if callbacks and not options.single_process:
        raise IncompatibleSettingsError(
            "Callbacks are called in this process, but the jobs of this sweep would train in"
            f" others (sweep.workers={options.workers}, sweep.engine={options.engine}, or a time"
            " limit): set sweep.workers=1 and leave out sweep.engine and sweep.cluster, or leave"
            " out the callbacks."
        )


def train(
    plan: Plan, folder: Path, quiet: bool = False, callbacks: Sequence[Callback] = ()
) -> Sweep:
    """Train the missing jobs of a plan and write summary.json, results.csv, summary.md and
    report.html. Several processes may do this at once.
    """
    with mirrored(folder, checked_trackers(job.settings for job in plan.jobs)):
        return _train(plan, folder, quiet, callbacks)


def _train(plan: Plan, folder: Path, quiet: bool, callbacks: Sequence[Callback]) -> Sweep:
    job_store = open_store(plan, folder, repair=True)
    statuses = [job_store.status(job.number) or "missing" for job in plan.jobs]
    write_start(folder, plan.name, len(plan.jobs), statuses)
    if not quiet:
        announce(folder)
    ended = train_missing(plan, folder, quiet, callbacks, job_store)
    lines = cross_validation.conclude(plan, ended.results, DataCache())
    return replace(ended, cross_validation_lines=tuple(lines))


def train_missing(
    plan: Plan,
    folder: Path,
    quiet: bool = False,
    callbacks: Sequence[Callback] = (),
    job_store: JobStore | None = None,
) -> Sweep:
    """Train the missing jobs of a plan, and conclude the sweep. `job_store` is that of the folder,
    if it is open.
    """
    with _without_garbage_collection_of_plan():
        display = SweepProgress(plan, quiet)
        runner = make_executor(plan, folder, display, callbacks, job_store)
        try:
            runner.run()
        finally:
            display.close()
        ended = conclude(
            plan, folder, runner.status == "interrupted", runner.compute_log, runner.job_store
        )
    return replace(ended, signal=runner.signals.received or 0)


@contextlib.contextmanager
def _without_garbage_collection_of_plan() -> Iterator[None]:
    """Context in which the garbage collector leaves out what exists at its start: it would look
    again and again through the millions of objects of a large plan, which are in use to the end.
    """
    is_frozen = gc.get_freeze_count() > 0
    if not is_frozen:
        gc.freeze()
    try:
        yield
    finally:
        if not is_frozen:
            gc.unfreeze()


def make_executor(
    plan: Plan,
    folder: Path,
    display: SweepProgress,
    callbacks: Sequence[Callback] = (),
    job_store: JobStore | None = None,
) -> Runner | WorkerPool:
    """The executor of a plan: this process, or a pool of workers if its options ask for one."""
    return (
        Runner(plan, folder, display, callbacks=callbacks, job_store=job_store)
        if plan.options.single_process
        else WorkerPool(plan, folder, display, job_store)
    )


def conclude(
    plan: Plan,
    folder: Path,
    interrupted: bool = False,
    compute_log: ComputeLog | None = None,
    job_store: JobStore | None = None,
) -> Sweep:
    """Write summary.json and the reports of a sweep that has ended, and return it."""
    job_store = job_store or open_store(plan, folder)
    ended = write_reports(plan, folder, interrupted, job_store)
    if not interrupted:
        write_tensorboard(plan, ended.results, job_store)
    if compute_log is not None:
        compute_log.append()
    write_end(
        folder,
        plan.name,
        len(plan.jobs),
        _statuses(ended.results),
        populations=time_of_populations(plan, ended.results.jobs),
    )
    return ended


def _statuses(results: Results) -> list[str]:
    return [job.status for job in results.jobs]


def write_reports(
    plan: Plan, folder: Path, interrupted: bool = False, job_store: JobStore | None = None
) -> Sweep:
    """Write the reports of the jobs that are stored, and return the sweep."""
    ended = read_sweep(plan, folder, interrupted, job_store)
    return replace(ended, conclusions=write_results(ended.results))


def read_sweep(
    plan: Plan, folder: Path, interrupted: bool = False, job_store: JobStore | None = None
) -> Sweep:
    """Read the results of the jobs that are stored, without writing anything."""
    results = collect(plan, folder, job_store)
    statuses = {job.status for job in results.jobs}
    status = "interrupted" if interrupted else "failed" if statuses - {"done", "pruned"} else "done"
    return Sweep(folder, plan, results, status)


def plan_from_existing(
    settings: Sequence[Settings], folder: Path, options: Options, overrides: Sequence[str]
) -> Sweep:
    """Write the plan and reports of jobs that another sweeper and launcher have run in this folder,
    numbered in the order of `settings`.
    """
    plan = planning.make_plan(settings, replace(options, jobs=FOLDERS), overrides)
    write_plan(folder, plan)
    return conclude(plan, folder)


def resume(folder: Path, quiet: bool = False, typed: Sequence[str] = ()) -> Sweep:
    """Train the missing jobs of a sweep's folder; finished jobs are left unchanged. `typed` is as
    in `options_to_resume`. Raises ConfigError if the folder is not a sweep.
    """
    plan = read_plan(folder)
    plan = replace(plan, options=options_to_resume(plan.options, typed, folder))
    if not plan.jobs:
        raise ConfigError(f"The plan of {folder} has no jobs.")
    return train(plan, folder, quiet)


EXECUTION_KEYS = ("sweep.workers", "sweep.engine", "sweep.cluster", "sweep.detach")
"""Keys that say in which processes and on which machines the jobs of a sweep run."""


def options_to_resume(stored: Options, typed: Sequence[str], folder: Path) -> Options:
    """Return the options of a folder with the processes and machines of the overrides `typed`.

    Those that the folder stores are not used, since its author must not decide where this user's
    processes start or which cluster they connect to: without `typed`, one process on this machine
    trains. Raises ConfigError for other keys.
    """
    for override in typed:
        key = key_of(override)
        if not any(key == name or key.startswith(f"{name}.") for name in EXECUTION_KEYS):
            raise ConfigError(
                f"`{override}`: the jobs of {folder} are frozen. Only"
                f" {', '.join(EXECUTION_KEYS)} may be given when a sweep is resumed."
            )
    if typed:
        chosen = SweepRequest(Composer(typed)).options
        return replace(
            stored,
            workers=chosen.workers,
            engine=chosen.engine,
            cluster=chosen.cluster,
            detach=chosen.detach,
        )
    local = stored.on_this_machine
    if local != stored:
        cluster = yaml_line(stored.cluster, str)
        overrides = [
            f"sweep.workers={stored.workers}",
            *([f"sweep.engine={stored.engine}"] if stored.engine != "local" else []),
            *([shlex.quote(f"sweep.cluster={cluster}")] if stored.cluster else []),
        ]
        note(
            "one process on this machine trains, since a folder does not decide where its jobs"
            f" run. To use what the sweep was started with: mlplab resume {folder}"
            f" {' '.join(overrides)}"
        )
    return local


class SweepRequest:
    """The jobs of a command line. Raises ConfigError if anything is wrong with any of them."""

    def __init__(self, composer: Composer, plugin_files: Sequence[str] = ()) -> None:
        self.composer, self.plugin_files = composer, tuple(plugin_files)
        self.jobs = expand(composer)
        builder = Builder()
        self.settings: list[Settings] = Representatives().with_auto_values(
            [builder.build(composer.compose(job)) for job in self.jobs]
        )
        first = self.jobs[0]
        self.first = composer.compose_with_folders(first, (*first, *composer.fixed))
        self.options = Options.of(self.first.sweep)

    def write_plan(self, folder: Path) -> Plan:
        """Write the jobs to the folder's plan.yaml and return the plan."""
        return write_sweep_plan(
            folder,
            self.settings,
            self.options,
            self.composer.overrides,
            self.plugin_files,
            config_dirs=self.composer.dirs,
        )

    def run(self, folder: Path, quiet: bool = False, callbacks: Sequence[Callback] = ()) -> Sweep:
        """Train all jobs in a folder, which may already hold some of them."""
        check_callbacks(self.options, callbacks)
        if not quiet:
            note_recipe(self.settings[0])
        return train(self.write_plan(folder), folder, quiet, callbacks)
