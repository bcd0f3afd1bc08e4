"""Trains the work units of a plan, one population after another, and writes a folder for each job.

A failing job does not affect the results of others: a population that raises, or does not fit into
memory, is halved until the failing job is alone.
"""

from __future__ import annotations

import contextlib
import gc
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from mlplab.errors import CheckpointError, StateError, failure_text, is_out_of_memory
from mlplab.runs.checkpoint_callback import CheckpointCallback
from mlplab.runs.checkpoints import Checkpoints, Saved, newest
from mlplab.runs.fingerprint import fingerprint_of_group
from mlplab.runs.record import write_data_report
from mlplab.runs.signals import Interrupted, Signals
from mlplab.sweeps.execution.crash_log import BEFORE_TRAINING, MAX_CRASHES, CrashLog
from mlplab.sweeps.execution.job_folders import JobFolders, write_failed
from mlplab.sweeps.execution.job_store import JobStore
from mlplab.sweeps.execution.progress import PopulationProgress, SweepProgress
from mlplab.sweeps.plan.plan import Job, Plan, WorkUnit
from mlplab.terminal.output import note
from mlplab.training import (
    Callback,
    DataCache,
    FrameRecorder,
    Group,
    Outcome,
    PreparedMember,
    Session,
    prepare_members,
    structure_key,
)
from mlplab.training.determinism import determinism

WAIT = 0.5
"""Seconds between two checks for work that other processes have left."""


class Stopped(Exception):
    """A job failed and `sweep.fail_fast` is set."""


class Runner:
    """Trains the jobs of a sweep in this process; several processes may share a folder.

    `order` gives the positions of the work units to train and their order (default: all), `since`
    the time in seconds since 1970 after which a failed job is not retried. `callbacks` follow the
    training of each population.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        display: SweepProgress,
        order: Sequence[int] | None = None,
        since: float | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.plan, self.display, self.since, self.callbacks = plan, display, since, callbacks
        self.work_units = (
            [plan.work_units[position] for position in order]
            if order is not None
            else list(plan.work_units)
        )
        self.job_store, self.crash_log = JobStore(folder), CrashLog(folder, since)
        self.cache = DataCache()
        self.signals = Signals()
        self.status = "done"  # or interrupted
        self.data_reported = False
        self.single_reason = ""  # why the jobs of the current work unit train one by one

    def run(self) -> None:
        """Train until every job has a folder. Ctrl-C ends it early with status `interrupted`, and
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
            self._remove_stale_checkpoints()

    def _remove_stale_checkpoints(self) -> None:
        """Remove checkpoints and notes of finished work units, left by processes that were killed
        before they could remove them.
        """
        for unit in self.work_units:
            has_files = self.job_store.unit_checkpoints(
                unit.number
            ).is_dir() or self.crash_log.has_notes(unit.number)
            if has_files and not self.job_store.missing(unit.jobs):
                with self.job_store.lock_work_unit(unit.number) as locked:
                    if locked:
                        self.job_store.forget(self.job_store.unit_checkpoints(unit.number))
                        self.crash_log.forget(unit.number)
        if self.since is None:
            self.crash_log.close()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Handle signals and provide a staging folder; an interruption is recorded in `status`."""
        self.job_store.clean_stale_staging()
        try:
            with self.signals, self.job_store.staging_dir() as self.staging_dir:
                yield
        except KeyboardInterrupt:
            self.status = "interrupted"
        except Stopped:
            pass

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
        return some_locked

    def _remaining(self, unit: WorkUnit) -> list[int]:
        """Jobs of the work unit that are not finished and have not failed in a worker of this
        sweep's driver.
        """
        return self.job_store.missing(unit.jobs, self.since)

    def _resume_saved(self, tried: set[int]) -> None:
        """Finish populations of the current work unit that another process saved and abandoned."""
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
                self.train_members(members, saved=saved)

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
        """Train the jobs whose data can be prepared; jobs whose data turns out to differ in shape
        train in separate populations.
        """
        groups: dict[object, list[tuple[Job, PreparedMember]]] = {}
        with self.crash_log.in_progress(unit.number, [job.number for job in jobs], BEFORE_TRAINING):
            for job in jobs:
                if (member := self.member(job)) is not None:
                    groups.setdefault(structure_key(member.settings, member.prepared), []).append(
                        (job, member)
                    )
        for members in groups.values():
            self.train_members(members)

    def _give_up(self, job: Job) -> None:
        self.crash_log.clear(self.work_unit.number, job.number)
        self._commit_failure(
            job,
            f"{MAX_CRASHES} workers died on this job alone; the sweep's workers.log says how they"
            " ended.",
            0.0,
        )

    def member(self, job: Job) -> PreparedMember | None:
        """Return the job with its data. If the data cannot be prepared, write a failed job's folder
        and return None.
        """
        started = time.monotonic()
        for _ in range(1 + self.plan.options.retries):
            try:
                member = prepare_members([job.settings], self.cache)[0]
                self._report_data(member)
                return member
            except (Exception, SystemExit):
                trace = traceback.format_exc()
        self._commit_failure(job, trace, time.monotonic() - started)
        return None

    def _report_data(self, member: PreparedMember) -> None:
        """Report once what was detected in a user's data file."""
        if not self.data_reported:
            self.data_reported = True
            write_data_report(self.job_store.folder, member, self.display.quiet)

    def train_members(
        self,
        members: Sequence[tuple[Job, PreparedMember]],
        attempt: int = 0,
        saved: Saved | None = None,
    ) -> None:
        """Train members as one population, from a checkpoint if given, and write their folders.

        A population that raises is halved; a single job that raises is retried `sweep.retries`
        times and then written as failed. Raises Interrupted after a signal, and Stopped after a
        failure if `sweep.fail_fast` is set.
        """
        started = time.monotonic()
        try:
            with (
                self.crash_log.in_progress(
                    self.work_unit.number,
                    [job.number for job, _ in members],
                    saved.step if saved is not None else 0,
                ),
                determinism(members[0][1].settings.deterministic),
            ):
                self._train_population(members, saved)
            return
        # a checkpoint of another version or machine
        except (CheckpointError, StateError) as error:
            note(str(error))
            self.job_store.forget(self._checkpoint_folder(members))
            return self.train_members(members, attempt)
        except (Exception, SystemExit) as error:
            trace, out_of_memory = traceback.format_exc(), is_out_of_memory(error)
            if out_of_memory:  # the last line is the reason
                trace += failure_text(error)
            self.job_store.forget(self._checkpoint_folder(members))
        if out_of_memory:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        if len(members) > 1:
            self.display.halve(
                len(members), "out of memory" if out_of_memory else trace.strip().splitlines()[-1]
            )
            middle = len(members) // 2
            self.train_members(members[:middle])
            self.train_members(members[middle:])
        elif attempt < self.plan.options.retries:
            self.train_members(members, attempt + 1)
        else:
            self._commit_failure(members[0][0], trace, time.monotonic() - started)

    def _checkpoint_folder(self, members: Sequence[tuple[Job, PreparedMember]]) -> Path:
        return self.job_store.checkpoints(self.work_unit.number, [job.number for job, _ in members])

    def _make_checkpointer(
        self,
        members: Sequence[tuple[Job, PreparedMember]],
        group: Group,
        recorder: FrameRecorder | None,
        saved: Saved | None,
    ) -> CheckpointCallback:
        """The callback that saves the population as a whole, restored from `saved` if given.
        Creates no files before the first checkpoint.
        """
        first = members[0][1].settings
        identity = {
            "jobs": {str(job.number): job.hash for job, _ in members},
            "data_hash": members[0][1].prepared.data_hash,
            "fingerprint": fingerprint_of_group(group, len(members)),
        }
        checkpointer = CheckpointCallback(
            Checkpoints(self._checkpoint_folder(members), identity, self.job_store.folder),
            first.tracking,
            self.signals,
            recorder,
        )
        if saved is not None:
            if saved.manifest["data_hash"] != identity["data_hash"]:
                raise CheckpointError(
                    f"The data of job {members[0][0].number} has changed since the checkpoint was"
                    " saved. The job is trained again from its start."
                )
            checkpointer.restore(group, saved)
            note(f"{len(members)} jobs resume at step {saved.step}")
        return checkpointer

    def _train_population(
        self, members: Sequence[tuple[Job, PreparedMember]], saved: Saved | None
    ) -> None:
        """Train one population, from the start or from `saved`, and write its folders. After a
        signal only the members that had already ended are written.
        """
        session = Session(fixed=True)
        group = session.add_group([member for _, member in members])
        progress = PopulationProgress(self.display, group)
        recorder = (
            FrameRecorder()
            if any(member.settings.tracking.level == "full" for _, member in members)
            else None
        )
        checkpointer = self._make_checkpointer(members, group, recorder, saved)
        recorders = [recorder] if recorder is not None else []
        session.callbacks += [progress, *recorders, checkpointer, *self.callbacks]
        interrupted = False
        try:
            session.run()
            # if killed while folders are written, the remaining ones come from the same population
            # and are bit-identical
            if len(members) > 1:
                checkpointer.save(session, group)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            checkpointer.close()
        outcomes = session.outcomes()
        writer = JobFolders(
            self.plan,
            [member for _, member in members],
            outcomes,
            str(session.device),
            checkpointer.elapsed,
            self.single_reason,
            recorder,
        )
        for k, ((job, _), outcome) in enumerate(zip(members, outcomes, strict=True)):
            if outcome.status != "interrupted":
                self.commit(writer, job, k, outcome)
        if interrupted:
            raise Interrupted(self.signals.received or 2)
        self.job_store.forget(self._checkpoint_folder(members))

    def commit(self, writer: JobFolders, job: Job, k: int, outcome: Outcome) -> None:
        """Write the folder of member k, which has ended, and move it to the job's path."""
        filled = self.staging_dir / str(job.number)
        writer.write(filled, job, k)
        if self.job_store.commit(filled, job.number):
            self.display.ended(job.number, outcome.status, outcome.reason)

    def _commit_failure(self, job: Job, trace: str, seconds: float) -> None:
        filled = self.staging_dir / str(job.number)
        write_failed(filled, self.plan, job, trace, seconds)
        if self.job_store.commit(filled, job.number):
            self.display.ended(job.number, "failed", trace.strip().splitlines()[-1])
        if self.plan.options.fail_fast:
            raise Stopped
