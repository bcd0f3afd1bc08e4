"""Trains the pieces of a plan, one population after another, and leaves a folder a job.

A failing job costs no other its result: a population that raises, or does not fit into memory, is
halved until the culprit is alone.
"""

from __future__ import annotations

import contextlib
import gc
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from mlplab.errors import CheckpointError, StateError
from mlplab.runs.checkpoint_callback import CheckpointCallback
from mlplab.runs.checkpoints import Checkpoints, Saved, newest
from mlplab.runs.fingerprint import fingerprint
from mlplab.runs.record import write_data_report
from mlplab.runs.signals import Interrupted, Signals
from mlplab.sweeps.execution.crash_log import BEFORE, LIMIT, CrashLog
from mlplab.sweeps.execution.job_folders import JobFolders, write_failed
from mlplab.sweeps.execution.job_store import JobStore
from mlplab.sweeps.execution.progress import SweepProgress
from mlplab.sweeps.plan.memory import is_out_of_memory
from mlplab.sweeps.plan.plan import Job, Plan, WorkUnit
from mlplab.terminal.output import note
from mlplab.training import (
    DataCache,
    FrameRecorder,
    Loop,
    Outcome,
    PreparedMember,
    build_population,
    prepare_members,
    structure_key,
)
from mlplab.training.determinism import determinism

WAIT = 0.5  # seconds between two looks at what other processes are doing


class Stopped(Exception):
    """sweep.fail_fast met a failure."""


class Runner:
    """One process's work on a sweep; several may share a folder."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        display: SweepProgress,
        order: Sequence[int] | None = None,
        since: float | None = None,
    ) -> None:
        self.plan, self.display, self.since = plan, display, since
        self.pieces = (
            [plan.pieces[place] for place in order] if order is not None else list(plan.pieces)
        )
        self.ledger, self.deaths = JobStore(folder), CrashLog(folder, since)
        self.cache = DataCache()
        self.signals = Signals()
        self.status = "done"  # or interrupted
        self.told = False
        self.alone = ""  # why the jobs at hand train one by one

    def run(self) -> None:
        """Until every job has a folder. Ctrl-C ends it early with status `interrupted`, fail_fast
        with the first failure.
        """
        self.display.start(
            len(self.plan.jobs) - len(self.ledger.missing(job.number for job in self.plan.jobs))
        )
        failed_since: set[int] = set()
        with self.at_work():
            while self._pass(failed_since):
                self.display.wait()
                time.sleep(WAIT)
                self.signals.check()
            self._tidy()

    def _tidy(self) -> None:
        """Checkpoints of populations all of whose jobs have their folders: of a process that was
        killed in between.
        """
        for piece in self.pieces:
            known = self.ledger.populations(piece.number).is_dir() or self.deaths.known(
                piece.number
            )
            if known and not self.ledger.missing(piece.jobs):
                with self.ledger.piece(piece.number) as ours:
                    if ours:
                        self.ledger.forget(self.ledger.populations(piece.number))
                        self.deaths.forget(piece.number)
        if self.since is None:
            self.deaths.close()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """With signals in our hands and a folder to fill jobs in; what ends it early is in
        `status`.
        """
        self.ledger.clean_stale_staging()
        try:
            with self.signals, self.ledger.staging_dir() as self.staging_dir:
                yield
        except KeyboardInterrupt:
            self.status = "interrupted"
        except Stopped:
            pass

    def _pass(self, failed_since: set[int]) -> bool:
        """Train every piece that nobody else has; whether others still have some."""
        others = False
        for piece in self.pieces:
            if not set(self._left(piece)) - failed_since:
                continue
            with self.ledger.piece(piece.number) as ours:
                if not ours:
                    others = True
                    continue
                self.signals.check()
                self.piece = piece
                self._go_on(failed_since)
                missing = [number for number in self._left(piece) if number not in failed_since]
                failed_since |= set(missing)
                if missing:
                    self._piece(piece, [self.plan.job(number) for number in missing])
        return others

    def _left(self, piece: WorkUnit) -> list[int]:
        """Its jobs that nobody has finished, nor another worker of ours found to fail."""
        return [
            number
            for number in self.ledger.missing(piece.jobs)
            if not self.ledger.failed_since(number, self.since)
        ]

    def _go_on(self, failed_since: set[int]) -> None:
        """Finish the populations of the piece at hand that were saved by a process that did not
        come to their end.
        """
        for place in self.ledger.unfinished_checkpoints(self.piece.number):
            try:
                saved, complaints = newest(place)
                hashes = saved.manifest["jobs"] if saved is not None else {}
            except (CheckpointError, KeyError) as error:
                saved, complaints, hashes = None, [str(error)], {}
            for complaint in complaints:
                note(f"{complaint} What it held is trained again.")
            planned = {str(job.number): job for job in self.plan.jobs}
            jobs = [
                planned[number]
                for number in hashes
                if number in planned and planned[number].hash == hashes[number]
            ]
            missing = self.ledger.missing(job.number for job in jobs)
            fatal = self.deaths.fatal(
                self.piece.number, [job.number for job in jobs], self._left(self.piece)
            )
            if saved is None or len(jobs) < len(hashes) or not missing or fatal:
                self.ledger.forget(place)
                continue
            members = [(job, member) for job in jobs if (member := self.member(job)) is not None]
            if len(members) == len(jobs):
                failed_since |= {job.number for job in jobs}
                self.together(members, saved=saved)

    def _piece(self, piece: WorkUnit, jobs: Sequence[Job]) -> None:
        """All at once, but for those among whom there is one that takes its worker along."""
        self.alone = self.plan.populations[piece.population].alone
        planned = {job.number: job for job in jobs}
        for numbers in self.deaths.parted(piece.number, list(planned), self._left(piece)):
            if len(numbers) == 1 and self.deaths.fatal(piece.number, numbers, numbers):
                self._give_up(planned[numbers[0]])
            else:
                self._part(piece, [planned[number] for number in numbers])

    def _part(self, piece: WorkUnit, jobs: Sequence[Job]) -> None:
        """Jobs whose data cannot be made fail by themselves; the others train together, or apart
        where their data differ in shape after all.
        """
        groups: dict[object, list[tuple[Job, PreparedMember]]] = {}
        with self.deaths.in_progress(piece.number, [job.number for job in jobs], BEFORE):
            for job in jobs:
                if (member := self.member(job)) is not None:
                    groups.setdefault(structure_key(member.settings, member.prepared), []).append(
                        (job, member)
                    )
        for members in groups.values():
            self.together(members)

    def _give_up(self, job: Job) -> None:
        self.deaths.explained(self.piece.number, job.number)
        self._failed(
            job,
            f"{LIMIT} workers died on this job alone; the sweep's workers.log says how they ended.",
            0.0,
        )

    def member(self, job: Job) -> PreparedMember | None:
        """The job with its data; None, and a folder that says why, where they cannot be made."""
        started = time.monotonic()
        for _ in range(1 + self.plan.options.retries):
            try:
                member = prepare_members([job.settings], self.cache)[0]
                self._tell(member)
                return member
            except (Exception, SystemExit):
                trace = traceback.format_exc()
        self._failed(job, trace, time.monotonic() - started)
        return None

    def _tell(self, member: PreparedMember) -> None:
        """What was found in a user's file, once."""
        if not self.told:
            self.told = True
            write_data_report(self.ledger.folder, member, self.display.quiet)

    def together(
        self,
        members: Sequence[tuple[Job, PreparedMember]],
        attempt: int = 0,
        saved: Saved | None = None,
    ) -> None:
        started = time.monotonic()
        try:
            with self.deaths.in_progress(
                self.piece.number,
                [job.number for job, _ in members],
                saved.step if saved is not None else 0,
            ):
                self._train(members, saved)
            return
        # of another version or machine: what it held is trained again
        except (CheckpointError, StateError) as error:
            note(str(error))
            self.ledger.forget(self._place(members))
            return self.together(members, attempt)
        except (Exception, SystemExit) as error:
            trace, full = traceback.format_exc(), is_out_of_memory(error)
            self.ledger.forget(self._place(members))
        if full:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        if len(members) > 1:
            self.display.halve(
                len(members), "out of memory" if full else trace.strip().splitlines()[-1]
            )
            middle = len(members) // 2
            self.together(members[:middle])
            self.together(members[middle:])
        elif attempt < self.plan.options.retries:
            self.together(members, attempt + 1)
        else:
            self._failed(members[0][0], trace, time.monotonic() - started)

    def _place(self, members: Sequence[tuple[Job, PreparedMember]]) -> Path:
        return self.ledger.checkpoints(self.piece.number, [job.number for job, _ in members])

    def _keeper(
        self,
        members: Sequence[tuple[Job, PreparedMember]],
        loop: Loop,
        recorder: FrameRecorder | None,
        saved: Saved | None,
    ) -> CheckpointCallback:
        """Saves the population as one; nothing lies on the disk before the first time."""
        first = members[0][1].settings
        identity = {
            "jobs": {str(job.number): job.hash for job, _ in members},
            "data_hash": members[0][1].prepared.data_hash,
            "fingerprint": fingerprint(loop.population.theta_KP.device, first.dtype, len(members)),
        }
        keeper = CheckpointCallback(
            Checkpoints(self._place(members), identity, self.ledger.folder),
            first.tracking,
            self.signals,
            recorder,
        )
        if saved is not None:
            if saved.manifest["data_hash"] != identity["data_hash"]:
                raise CheckpointError(
                    f"The data of job {members[0][0].number} changed since it was saved. It is"
                    " trained from its start."
                )
            keeper.restore(loop, saved)
            note(f"{len(members)} jobs go on at step {saved.step}")
        return keeper

    def _train(
        self, members: Sequence[tuple[Job, PreparedMember]], saved: Saved | None = None
    ) -> None:
        """One population, from its first step, or from where it was saved, to its folders. After a
        signal the members that had ended are kept.
        """
        with determinism(members[0][1].settings.deterministic):
            self._train_now(members, saved)

    def _train_now(
        self, members: Sequence[tuple[Job, PreparedMember]], saved: Saved | None
    ) -> None:
        population, _ = build_population([member for _, member in members])
        loop = Loop(population)
        recorder = (
            FrameRecorder()
            if any(member.settings.tracking.level == "full" for _, member in members)
            else None
        )
        if recorder is not None:
            loop.observers.append(recorder)
        last = max(population.early_stopping.last_step_K.tolist())
        loop.listener = lambda rows, names: self.display.progress(
            rows[-1].step / last * len(members)
        )
        loop.after_step = keeper = self._keeper(members, loop, recorder, saved)
        interrupted = False
        try:
            loop.run()
            # killed while folders are written, the rest comes from the same population, to the same
            # bits
            if len(members) > 1:
                keeper.save(loop)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            keeper.close()
        outcomes = loop.outcomes()
        device = str(population.theta_KP.device)
        writer = JobFolders(
            self.plan,
            [member for _, member in members],
            outcomes,
            device,
            keeper.elapsed,
            self.alone,
            recorder,
        )
        for k, ((job, _), outcome) in enumerate(zip(members, outcomes, strict=True)):
            if outcome.status != "interrupted":
                self.commit(writer, job, k, outcome)
        if interrupted:
            raise Interrupted(self.signals.received or 2)
        self.ledger.forget(self._place(members))

    def commit(self, writer: JobFolders, job: Job, k: int, outcome: Outcome) -> None:
        """The folder of a member that ended, put in its place."""
        filled = self.staging_dir / str(job.number)
        writer.write(filled, job, k)
        if self.ledger.commit(filled, job.number):
            self.display.ended(job.number, outcome.status, outcome.reason)

    def _failed(self, job: Job, trace: str, seconds: float) -> None:
        filled = self.staging_dir / str(job.number)
        write_failed(filled, job, trace, seconds)
        if self.ledger.commit(filled, job.number):
            self.display.ended(job.number, "failed", trace.strip().splitlines()[-1])
        if self.plan.options.fail_fast:
            raise Stopped
