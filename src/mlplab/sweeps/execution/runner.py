"""Trains the work units of a plan, one after another, and stores the jobs that end.

A failing job does not affect the results of others: members that raise, or do not fit into memory,
are halved until the failing job is alone.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from mlplab.errors import CheckpointError, StateError, failure_text, is_out_of_memory
from mlplab.runs.checkpoints import Saved, newest
from mlplab.runs.compute_time import ComputeTime, Stopwatch
from mlplab.runs.initial_weights import with_initial_weights
from mlplab.runs.job_record import JobRecord
from mlplab.runs.record import write_data_report
from mlplab.runs.signals import Signals
from mlplab.sweeps.execution.compute_log import ComputeLog
from mlplab.sweeps.execution.crash_log import BEFORE_TRAINING, MAX_CRASHES, CrashLog
from mlplab.sweeps.execution.job_records import EndedJob, failed_record, job_records
from mlplab.sweeps.execution.job_store import JobStore
from mlplab.sweeps.execution.joint_training import JointTraining, Members
from mlplab.sweeps.execution.progress import SweepProgress
from mlplab.sweeps.execution.stores import open_store
from mlplab.sweeps.plan.plan import Job, Plan, WorkUnit
from mlplab.terminal.output import note
from mlplab.training import (
    Callback,
    DataCache,
    PreparedMember,
    prepare_members,
    session_key,
)
from mlplab.training.determinism import determinism

T = TypeVar("T")

WAIT = 0.5
"""Seconds between two checks for work that other processes have left."""


class Stopped(Exception):
    """A job failed and `sweep.fail_fast` is set."""


class Runner:
    """Trains the jobs of a sweep in this process; several processes may share a folder.

    `order` gives the positions of the work units to train and their order (default: all), `since`
    the time in seconds since 1970 after which a failed job is not retried. `callbacks` follow the
    training of each population. `job_store` is that of the folder, if it is open.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        display: SweepProgress,
        order: Sequence[int] | None = None,
        since: float | None = None,
        callbacks: Sequence[Callback] = (),
        job_store: JobStore | None = None,
    ) -> None:
        self.plan, self.display, self.since, self.callbacks = plan, display, since, callbacks
        self.work_units = (
            [plan.work_units[position] for position in order]
            if order is not None
            else list(plan.work_units)
        )
        self.job_store = job_store or open_store(plan, folder)
        self.crash_log = CrashLog(folder, since)
        self.compute_log = ComputeLog(folder)
        self.cache = DataCache()
        self.signals = Signals()
        self.status = "done"  # or interrupted
        self.data_reported = False
        self.single_reason = ""  # why the jobs of the current work unit train one by one

    def run(self) -> None:
        """Train until every job is stored. Ctrl-C ends it early with status `interrupted`, and
        the first failure ends it if `sweep.fail_fast` is set.
        """
        missing = self.job_store.missing(job.number for job in self.plan.jobs)
        self.display.start(len(self.plan.jobs) - len(missing))
        tried: set[int] = set()
        with self.at_work():
            while self._train_free_units(tried):
                self.display.wait()
                time.sleep(WAIT)
                self.signals.check()
            self._close_abandoned_units()
            self.job_store.close(self.plan)

    def _close_abandoned_units(self) -> None:
        """Remove checkpoints and notes of finished work units, and close them, after processes that
        were killed before they could do so.
        """
        for unit in self.work_units:
            is_left = (
                self.job_store.unit_checkpoints(unit.number).is_dir()
                or self.crash_log.has_notes(unit.number)
                or self.job_store.is_unit_open(unit.number)
            )
            if is_left and not self.job_store.missing(unit.jobs):
                with self.job_store.lock_work_unit(unit.number) as locked:
                    if locked:
                        self.job_store.forget(self.job_store.unit_checkpoints(unit.number))
                        self.crash_log.forget(unit.number)
                        self.job_store.close_unit(unit.number)
        if self.since is None:
            self.crash_log.close()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Handle signals and allow jobs to be stored; an interruption is recorded in `status`."""
        self.job_store.clean_stale_staging()
        try:
            with self.signals, self.job_store.writing():
                yield
        except KeyboardInterrupt:
            self.status = "interrupted"
        except Stopped:
            pass
        finally:
            self.compute_log.append()

    def _train_free_units(self, tried: set[int]) -> bool:
        """Train every work unit that no other process has locked; return whether some are still
        locked. Adds the numbers of the jobs to `tried`.
        """
        some_locked = False
        for unit in self.work_units:
            if not set(self._remaining(unit)) - tried:
                continue
            with self.job_store.lock_work_unit(unit.number) as locked:
                if not locked:
                    some_locked = True
                    continue
                self.signals.check()
                self.work_unit = unit
                self._resume_saved(tried)
                missing = [number for number in self._remaining(unit) if number not in tried]
                tried |= set(missing)
                if missing:
                    self._train_unit(unit, [self.plan.job(number) for number in missing])
                self.job_store.close_unit(unit.number)
        return some_locked

    def _remaining(self, unit: WorkUnit) -> list[int]:
        """Jobs of the work unit that are not finished and have not failed in a worker of this
        sweep's driver.
        """
        return self.job_store.missing(unit.jobs, self.since)

    def _resume_saved(self, tried: set[int]) -> None:
        """Finish groups of the current work unit that another process saved and abandoned."""
        resumed: list[tuple[Members, Saved]] = []
        for folder in self.job_store.unfinished_checkpoints(self.work_unit.number):
            try:
                saved, complaints = newest(folder)
                hashes = saved.manifest["jobs"] if saved is not None else {}
            except (CheckpointError, KeyError) as error:
                saved, complaints, hashes = None, [str(error)], {}
            for complaint in complaints:
                note(f"{complaint} Its steps are trained again.")
            planned = {str(job.number): job for job in self.plan.jobs}
            jobs = [
                planned[number]
                for number in hashes
                if number in planned and planned[number].hash == hashes[number]
            ]
            missing = self.job_store.missing(job.number for job in jobs)
            is_fatal = self.crash_log.is_fatal(
                self.work_unit.number,
                [job.number for job in jobs],
                self._remaining(self.work_unit),
            )
            if saved is None or len(jobs) < len(hashes) or not missing or is_fatal:
                self.job_store.forget(folder)
                continue
            members = [(job, member) for job in jobs if (member := self.member(job)) is not None]
            if len(members) == len(jobs):
                tried |= {job.number for job in jobs}
                resumed.append((members, saved))
        for together in _by_session(resumed, lambda one: one[0][0][1]):
            members = [pair for members, _ in together for pair in members]
            self.train_members(members, saved=together)

    def _train_unit(self, unit: WorkUnit, jobs: Sequence[Job]) -> None:
        """Train all jobs at once, except for groups suspected of containing a crashing job."""
        self.single_reason = self.plan.populations[unit.population].alone
        planned = {job.number: job for job in jobs}
        for numbers in self.crash_log.split_suspects(
            unit.number, list(planned), self._remaining(unit)
        ):
            if len(numbers) == 1 and self.crash_log.is_fatal(unit.number, numbers, numbers):
                self._give_up(planned[numbers[0]])
            else:
                self._prepare_and_train(unit, [planned[number] for number in numbers])

    def _prepare_and_train(self, unit: WorkUnit, jobs: Sequence[Job]) -> None:
        """Train the jobs whose data can be prepared; jobs of the eager engine whose data turns out
        to differ in shape train in separate populations.
        """
        members = []
        with self.crash_log.in_progress(unit.number, [job.number for job in jobs], BEFORE_TRAINING):
            for job in jobs:
                if (member := self.member(job)) is not None:
                    members.append((job, member))
        for together in _by_session(members, lambda pair: pair[1]):
            self.train_members(together)

    def _give_up(self, job: Job) -> None:
        self.crash_log.clear(self.work_unit.number, job.number)
        self._commit_failure(
            job,
            f"{MAX_CRASHES} workers died on this job alone; the sweep's workers.log says how they"
            " ended.",
            ComputeTime(),
        )

    def member(self, job: Job) -> PreparedMember | None:
        """Return the job with its data. If the data cannot be prepared, store the job as failed
        and return None.
        """
        stopwatch = Stopwatch()
        for _ in range(1 + self.plan.options.retries):
            try:
                member = prepare_members([with_initial_weights(job.settings)], self.cache)[0]
                self._report_data(member)
                return member
            except (Exception, SystemExit):
                trace = traceback.format_exc()
        self._commit_failure(job, trace, stopwatch.elapsed)
        return None

    def _report_data(self, member: PreparedMember) -> None:
        """Report once what was detected in a user's data file."""
        if not self.data_reported:
            self.data_reported = True
            write_data_report(self.job_store.folder, member, self.display.quiet)

    def train_members(
        self, members: Members, attempt: int = 0, saved: Sequence[tuple[Members, Saved]] = ()
    ) -> None:
        """Train members in one session, or continue what is saved of them, and store the jobs.

        Members of whom one raises are halved; a single job that raises is retried `sweep.retries`
        times and then written as failed. Raises Interrupted after a signal, and Stopped after a
        failure if `sweep.fail_fast` is set.
        """
        stopwatch = Stopwatch()
        training = JointTraining(
            self.job_store,
            self.work_unit.number,
            self.signals,
            self.display,
            self.callbacks,
            functools.partial(self.store, len(members)),
        )
        training.session.callbacks.append(self.compute_log)
        numbers = [job.number for job, _ in members]
        step = sum(one.step for _, one in saved)
        try:
            with (
                self.crash_log.in_progress(self.work_unit.number, numbers, step),
                determinism(members[0][1].settings.deterministic),
            ):
                for of_group, one in saved:
                    training.restore(of_group, one)
                if not saved:
                    training.add(members)
                training.run()
            return
        # a checkpoint of another version or machine
        except (CheckpointError, StateError) as error:
            note(str(error))
            training.forget()
            return self.train_members(members, attempt)
        except (Exception, SystemExit) as error:
            trace, out_of_memory = traceback.format_exc(), is_out_of_memory(error)
            if out_of_memory:  # the last line is the reason
                trace += failure_text(error)
            training.forget()
        if out_of_memory:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        missing = set(self.job_store.missing(numbers))
        self._isolate(
            [pair for pair in members if pair[0].number in missing],
            "out of memory" if out_of_memory else trace.strip().splitlines()[-1],
            trace,
            attempt,
            stopwatch,
        )

    def _isolate(
        self, members: Members, reason: str, trace: str, attempt: int, stopwatch: Stopwatch
    ) -> None:
        """Train members again of whom one raised."""
        if len(members) > 1:
            self.display.halve(len(members), reason)
            middle = len(members) // 2
            self.train_members(members[:middle])
            self.train_members(members[middle:])
        elif members and attempt < self.plan.options.retries:
            self.train_members(members, attempt + 1)
        elif members:
            self._commit_failure(members[0][0], trace, stopwatch.elapsed)

    def store(
        self, together: int, ended: Sequence[EndedJob], device: str, spent: ComputeTime
    ) -> None:
        """Store jobs that have ended, of so many that train together."""
        self._commit(job_records(ended, device, spent, together, self.single_reason))

    def _commit(self, records: Sequence[JobRecord]) -> None:
        for record in self.job_store.commit(records, self.work_unit.number, self.plan, self.cache):
            self.display.ended(record.number, record.status, str(record.summary["reason"]))
            self.compute_log.keep_up()

    def _commit_failure(self, job: Job, trace: str, spent: ComputeTime) -> None:
        self._commit([failed_record(job, trace, spent)])
        if self.plan.options.fail_fast:
            raise Stopped


def _by_session(items: Sequence[T], member_of: Callable[[T], PreparedMember]) -> list[list[T]]:
    """Group what can train in one session."""
    groups: dict[object, list[T]] = {}
    for item in items:
        groups.setdefault(session_key(member_of(item)), []).append(item)
    return list(groups.values())
